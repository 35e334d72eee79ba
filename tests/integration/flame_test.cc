// The flame graph page in a real browser (headless Chromium, without a network).

#include <fstream>
#include <string>

#include "tests/support/catch.h"
#include "tests/support/demo.h"
#include "tests/support/go_pprof.h"

namespace vigil::test {
namespace {

// The page's DOM after its script and `script` have run.
std::string dom_of(std::string page, const std::string& script) {
  const TemporaryFolder folder;
  const std::string file = folder.path / "page.html";
  page.insert(page.rfind("</body>"), "<script>" + script + "</script>");
  std::ofstream(file) << page;
  const Finished chromium =
      run({"chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
           "--no-first-run", "--disable-background-networking", "--disable-component-update",
           "--disable-sync", "--user-data-dir=" + (folder.path / "chromium").string(),
           "--virtual-time-budget=5000", "--dump-dom", "file://" + file});
  INFO(chromium.err);
  CHECK(chromium.exit_status == 0);
  return chromium.out;
}

TEST_CASE("the flame graph draws, searches, zooms by click and by key, and changes its type") {
  Demo demo;
  REQUIRE(demo.get("/alloc?kb=131072").status == 200);
  const std::string page = demo.debug_get("/debug/pprof/heap?format=flame").body;
  const std::string dom = dom_of(page, R"js(
    addEventListener("error", event => document.body.setAttribute("data-error", event.message));
    const report = (key, value) => document.body.setAttribute("data-" + key, value);
    const detail = () => document.getElementById("detail").textContent;
    const key = name => document.getElementById("graph").dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
    setTimeout(() => {
      const canvas = document.getElementById("graph");
      report("first", detail());
      const pixel = canvas.getContext("2d").getImageData(canvas.width / 2, 5, 1, 1).data;
      report("drawn", pixel[3]);
      const search = document.getElementById("search");
      search.value = "demo::remember";
      search.dispatchEvent(new Event("input"));
      report("matched", document.getElementById("matched").textContent);
      search.value = "(";
      search.dispatchEvent(new Event("input"));
      report("wrong", search.className);
      search.value = "";
      search.dispatchEvent(new Event("input"));
      const box = canvas.getBoundingClientRect();
      canvas.dispatchEvent(new MouseEvent("click", { clientX: box.left + 20, clientY: box.top + 50, bubbles: true }));
      report("clicked", detail());
      report("reset", document.getElementById("reset").disabled);
      key("Home");
      report("home", detail());
      key("ArrowDown");
      key("ArrowDown");
      report("down", detail());
      key("ArrowUp");
      report("up", detail());
      const type = document.getElementById("type");
      type.value = "2";
      type.dispatchEvent(new Event("change"));
      key("Home");
      report("objects", detail());
    }, 500);
  )js");
  const auto reported = [&](const std::string& name) {
    const std::size_t at = dom.find(" data-" + name + "=\"");
    if (at == std::string::npos) return std::string("(none)");
    const std::size_t begin = dom.find('"', at) + 1;
    return dom.substr(begin, dom.find('"', begin) - begin);
  };
  INFO(dom.substr(dom.find("<body"), 1200));
  CHECK(reported("error") == "(none)");
  CHECK(reported("first").find("all — ") == 0);
  CHECK(reported("first").find("MiB (100.00 %)") != std::string::npos);
  CHECK(reported("drawn") == "255");
  CHECK(std::stod(reported("matched")) > 60);
  CHECK(std::stod(reported("matched")) <= 100);
  CHECK(reported("wrong") == "wrong");
  CHECK(reported("clicked").find("all — ") == std::string::npos);
  CHECK(reported("reset") == "false");
  CHECK(reported("home").find("all — ") == 0);
  CHECK(reported("down").find("all — ") == std::string::npos);
  CHECK(reported("up") != reported("down"));
  CHECK(reported("objects").find("inuse_objects (100.00 %)") != std::string::npos);
}

}  // namespace
}  // namespace vigil::test
