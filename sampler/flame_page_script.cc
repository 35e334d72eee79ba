// The fixed parts of the flame graph page (flame_page.h): style, markup, script.
#include "sampler/flame_page.h"

namespace vigil::sampler::flame {

constinit const std::string_view kStyle = R"css(
:root {
  color-scheme: light dark;
  --paper: #fdfcfa; --ink: #1c1b19; --faint: #6f6b65; --line: #e2ddd5; --panel: #f5f2ec; --focus: #1f6feb;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #17181b; --ink: #e8e6e1; --faint: #9a968e; --line: #2f3136; --panel: #1f2125; --focus: #6ea8fe;
  }
}
* { box-sizing: border-box }
html, body { height: 100% }
body {
  margin: 0; display: flex; flex-direction: column;
  background: var(--paper); color: var(--ink); font: 14px/1.45 system-ui, sans-serif;
}
header {
  display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1rem;
  padding: .6rem 1rem; border-bottom: 1px solid var(--line); background: var(--panel);
}
h1 { font-size: 1rem; margin: 0; font-weight: 650 }
h1 small { font-weight: 400; color: var(--faint); font-size: .85rem; margin-left: .5rem }
.tools { display: flex; flex-wrap: wrap; gap: .5rem; margin-left: auto; align-items: center }
input, select, button {
  font: inherit; color: inherit; background: var(--paper);
  border: 1px solid var(--line); border-radius: 6px; padding: .25rem .55rem; min-height: 2rem;
}
input[type=search] { width: 15rem; max-width: 60vw }
input.wrong { border-color: #d1242f }
button { cursor: pointer }
button:disabled { opacity: .45; cursor: default }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 1px }
#matched { min-width: 6.5rem; font-variant-numeric: tabular-nums; color: var(--faint) }
main { flex: 1; overflow: auto; padding: .75rem 1rem; min-height: 8rem }
#graph { display: block; width: 100%; cursor: pointer; border-radius: 4px }
#empty { color: var(--faint); padding: 2rem 0; text-align: center }
footer {
  border-top: 1px solid var(--line); background: var(--panel); padding: .45rem 1rem;
  min-height: 4.2rem; font-variant-numeric: tabular-nums;
}
#detail { overflow-wrap: anywhere; font-weight: 600 }
#more, #notes { color: var(--faint); font-size: .85rem; overflow-wrap: anywhere }
#tip {
  position: fixed; pointer-events: none; display: none; max-width: min(34rem, 90vw); padding: .4rem .6rem;
  background: var(--panel); border: 1px solid var(--line); border-radius: 6px; overflow-wrap: anywhere;
  box-shadow: 0 4px 16px rgb(0 0 0 / .18); font-size: .85rem; z-index: 1;
}
#tip b { display: block }
kbd { border: 1px solid var(--line); border-radius: 4px; padding: 0 .3em; font-size: .8em }
)css";

constinit const std::string_view kBody = R"html(<header>
<h1 id="title"></h1>
<div class="tools">
<select id="type" aria-label="Sample type" hidden></select>
<input id="search" type="search" placeholder="Search (regular expression)" aria-label="Search" spellcheck="false">
<span id="matched" role="status"></span>
<button id="reset" type="button" disabled>Reset zoom</button>
</div>
</header>
<main id="main">
<canvas id="graph" tabindex="0" role="img" aria-label="Flame graph"></canvas>
<p id="empty" hidden>There is nothing in this profile.</p>
</main>
<footer>
<div id="detail" aria-live="polite"></div>
<div id="more"></div>
<div id="notes"></div>
</footer>
<div id="tip"></div>
<noscript>This page draws the flame graph with JavaScript.</noscript>
)html";

constinit const std::string_view kScript = R"js("use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = id => document.getElementById(id);
  const kRow = 20, kGap = 1, kNarrowest = 0.4, kTextMin = 26;

  // --- The tree: parallel arrays, nodes in preorder.
  const types = data.types.length, stride = 3 + types;
  const count = data.nodes.length / stride;
  const name = i => data.strings[data.nodes[i * stride]];
  const file = i => data.strings[data.nodes[i * stride + 1]];
  const value = i => data.nodes[i * stride + 3 + type];
  const parent = new Int32Array(count), depth = new Int32Array(count), children = [];
  (() => {
    const open = [];
    for (let i = 0; i < count; ++i) {
      while (open.length && open[open.length - 1].left === 0) open.pop();
      const top = open[open.length - 1];
      parent[i] = top ? top.node : -1;
      depth[i] = open.length;
      children.push([]);
      if (top) { --top.left; children[top.node].push(i); }
      open.push({ node: i, left: data.nodes[i * stride + 2] });
    }
  })();

  let type = data.default, root = 0, selected = -1, hovered = -1, pattern = null;
  let boxes = [];  // what is drawn: {node, x, y, w}
  let matches = new Uint8Array(count);

  // --- Numbers
  const round = (n, unit) => (n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2)) + " " + unit;
  function shown(n) {
    const unit = data.types[type][1];
    if (unit === "nanoseconds") {
      for (const [size, label] of [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]]) if (n >= size) return round(n / size, label);
      return n + " ns";
    }
    if (unit === "bytes") {
      for (const [size, label] of [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
        if (n >= size) return round(n / size, label);
      }
      return n + " B";
    }
    return n.toLocaleString("en") + " " + data.types[type][0];
  }
  const percent = (part, whole) => (whole > 0 ? (100 * part / whole).toFixed(2) : "0.00") + " %";
  const self = i => value(i) - children[i].reduce((sum, child) => sum + value(child), 0);

  // --- Colours: one hue a namespace; plain C in another corner of the circle.
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const hues = new Map();
  function hue(text) {
    let known = hues.get(text);
    if (known !== undefined) return known;
    const cut = text.search(/[<(]/) < 0 ? text : text.slice(0, text.search(/[<(]/));
    const scope = cut.includes("::") ? cut.slice(0, cut.lastIndexOf("::")) : "";
    let hash = 0;
    for (const c of scope || cut) hash = (hash * 31 + c.charCodeAt(0)) >>> 0;
    known = scope ? 8 + hash % 46 : 190 + hash % 36;
    hues.set(text, known);
    return known;
  }
  function paint(i) {
    const night = dark.matches;
    if (matches[i]) return night ? "hsl(292 55% 46%)" : "hsl(292 75% 74%)";
    const text = name(i);
    const saturation = i === 0 || text.startsWith("[") ? 0 : pattern ? 22 : night ? 56 : 72;
    const light = night ? (depth[i] % 2 ? 34 : 38) : (depth[i] % 2 ? 72 : 76);
    return `hsl(${hue(text)} ${saturation}% ${light}%)`;
  }

  // --- Layout and drawing
  const canvas = $("graph"), context = canvas.getContext("2d");
  let width = 0, height = 0;
  const ordered = i => children[i].filter(c => value(c) > 0).sort((a, b) => value(b) - value(a));
  function layout() {
    boxes = [];
    let deepest = 0;
    const lineage = [];
    for (let i = root; i >= 0; i = parent[i]) lineage.unshift(i);
    for (const i of lineage) boxes.push({ node: i, x: 0, y: depth[i] * kRow, w: width });
    const work = value(root) > 0 ? [{ node: root, x: 0, w: width }] : [];
    while (work.length) {
      const box = work.pop();
      deepest = Math.max(deepest, depth[box.node]);
      let x = box.x;
      for (const child of ordered(box.node)) {
        const w = box.w * value(child) / value(box.node);
        if (w < kNarrowest) break;
        boxes.push({ node: child, x, y: depth[child] * kRow, w });
        work.push({ node: child, x, w });
        x += w;
      }
    }
    height = (deepest + 1) * kRow;
  }
  function fitted(text, room) {
    if (context.measureText(text).width <= room) return text;
    let low = 0, high = text.length;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (context.measureText(text.slice(0, middle) + "…").width <= room) low = middle; else high = middle - 1;
    }
    return low > 1 ? text.slice(0, low) + "…" : "";
  }
  function outline(box, colour) {
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.strokeRect(box.x + 1, box.y + 1, Math.max(box.w - 2, 1), kRow - kGap - 2);
  }
  function draw() {
    const scale = devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
    canvas.style.height = height + "px";
    context.scale(scale, scale);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--ink"), focus = style.getPropertyValue("--focus");
    for (const box of boxes) {
      const above = depth[box.node] < depth[root];
      context.globalAlpha = above ? 0.55 : 1;
      context.fillStyle = paint(box.node);
      context.fillRect(box.x, box.y, Math.max(box.w - (box.w > 3 ? kGap : 0), 0.5), kRow - kGap);
      if (box.w > kTextMin) {
        context.fillStyle = ink;
        context.fillText(fitted(name(box.node), box.w - 9), box.x + 4, box.y + kRow / 2);
      }
      context.globalAlpha = 1;
    }
    for (const box of boxes) {
      if (box.node === hovered) outline(box, ink);
      if (box.node === selected) outline(box, focus);
    }
  }
  function refresh() {
    const nothing = !(value(0) > 0);
    $("empty").hidden = !nothing;
    canvas.hidden = nothing;
    $("reset").disabled = root === 0;
    width = canvas.parentElement.clientWidth - 2 * parseFloat(getComputedStyle($("main")).paddingLeft);
    layout();
    draw();
    describe(hovered >= 0 ? hovered : selected >= 0 ? selected : root);
  }

  // --- Details
  function describe(i) {
    $("detail").textContent = name(i) + " — " + shown(value(i)) + " (" + percent(value(i), value(0)) + ")";
    const parts = ["self " + shown(self(i)) + " (" + percent(self(i), value(0)) + ")"];
    if (root !== 0) parts.push(percent(value(i), value(root)) + " of the zoomed frame");
    if (file(i)) parts.push(file(i));
    $("more").textContent = parts.join(" · ");
  }
  function tip(event, i) {
    const box = $("tip");
    if (i < 0) { box.style.display = "none"; return; }
    const title = document.createElement("b");
    title.textContent = name(i);
    const line = document.createElement("span");
    line.textContent = shown(value(i)) + " · " + percent(value(i), value(0)) + " · self " + shown(self(i));
    box.replaceChildren(title, line);
    box.style.display = "block";
    const x = Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8);
    const below = event.clientY + 18;
    const y = below + box.offsetHeight > innerHeight ? event.clientY - box.offsetHeight - 10 : below;
    box.style.left = Math.max(4, x) + "px";
    box.style.top = Math.max(4, y) + "px";
  }
  const area = canvas.getBoundingClientRect.bind(canvas);
  function at(event) {
    const r = area(), x = event.clientX - r.left, y = event.clientY - r.top;
    const hit = boxes.find(b => x >= b.x && x < b.x + b.w && y >= b.y && y < b.y + kRow);
    return hit ? hit.node : -1;
  }
  canvas.addEventListener("mousemove", event => {
    const i = at(event);
    tip(event, i);
    if (i === hovered) return;
    hovered = i;
    draw();
    describe(i >= 0 ? i : selected >= 0 ? selected : root);
  });
  canvas.addEventListener("mouseleave", () => { hovered = -1; tip(null, -1); draw(); });

  // --- Zoom, selection, keyboard
  function zoom(i) { root = i; selected = i; hovered = -1; refresh(); matched(); }
  canvas.addEventListener("click", event => { const i = at(event); if (i >= 0) { tip(null, -1); zoom(i); } });
  $("reset").addEventListener("click", () => zoom(0));
  function select(i) {
    if (i === undefined || i < 0) return;
    selected = i;
    if (!boxes.some(box => box.node === i)) root = parent[i] < 0 ? 0 : parent[i];
    refresh();
  }
  function sibling(step) {
    if (selected <= 0) return;
    const all = ordered(parent[selected]);
    select(all[all.indexOf(selected) + step]);
  }
  canvas.addEventListener("keydown", event => {
    const act = {
      ArrowDown: () => select(selected < 0 ? root : ordered(selected)[0]),
      ArrowUp: () => select(selected < 0 ? root : parent[selected]),
      ArrowLeft: () => sibling(-1),
      ArrowRight: () => sibling(1),
      Enter: () => { if (selected >= 0) zoom(selected); },
      Home: () => zoom(0),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  addEventListener("keydown", event => {
    if (event.key === "/" && document.activeElement !== $("search")) {
      event.preventDefault();
      $("search").focus();
    } else if (event.key === "Escape") {
      if ($("search").value) { $("search").value = ""; search(); } else zoom(0);
      canvas.focus();
    }
  });

  // --- Search
  function matched() {
    if (!pattern) { $("matched").textContent = ""; return; }
    // A match below a match is in it already.
    let sum = 0;
    const work = [root];
    while (work.length) {
      const i = work.pop();
      if (matches[i]) sum += value(i); else work.push(...children[i]);
    }
    $("matched").textContent = percent(sum, value(root)) + " match";
  }
  function search() {
    const text = $("search").value;
    pattern = null;
    $("search").classList.remove("wrong");
    if (text) {
      try { pattern = new RegExp(text, "i"); } catch { $("search").classList.add("wrong"); }
    }
    const known = new Map();
    for (let i = 0; i < count; ++i) {
      const number = data.nodes[i * stride];
      if (!known.has(number)) known.set(number, pattern !== null && pattern.test(data.strings[number]));
      matches[i] = known.get(number) ? 1 : 0;
    }
    matches[0] = 0;
    draw();
    matched();
  }
  $("search").addEventListener("input", search);
  $("search").addEventListener("keydown", event => { if (event.key === "Enter") canvas.focus(); });

  // --- The page around it
  const title = [data.program];
  if (data.duration_ns > 0) title.push((data.duration_ns / 1e9).toFixed(data.duration_ns < 1e10 ? 1 : 0) + " s");
  if (data.start_ms > 0) title.push(new Date(data.start_ms).toISOString().replace("T", " ").slice(0, 19) + " UTC");
  $("title").textContent = data.name;
  const small = document.createElement("small");
  small.textContent = title.filter(Boolean).join(" · ");
  $("title").append(small);
  const notes = data.comments.slice();
  if (data.left_out > 0) notes.push(data.left_out + " frames too narrow to see are left out");
  $("notes").textContent = notes.join(" · ");
  if (types > 1) {
    $("type").hidden = false;
    data.types.forEach(([label, unit], i) => $("type").add(new Option(label + " (" + unit + ")", i, false, i === type)));
    $("type").addEventListener("change", event => { type = Number(event.target.value); refresh(); matched(); });
  }
  dark.addEventListener("change", draw);
  new ResizeObserver(refresh).observe($("main"));
  refresh();
})();
)js";

}  // namespace vigil::sampler::flame
