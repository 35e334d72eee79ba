#include "sampler/flame_page.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/text.h"
#include "sampler/profile_text.h"

namespace vigil::sampler {
namespace {

// What an application/json script element may hold without ending it: no '<' (https://html.spec.whatwg.org, "Restrictions
// for contents of script elements").
void append_json_string(std::string& out, std::string_view text) {
  std::string escaped;
  append_json_escaped(escaped, text);
  out += '"';
  for (const char c : escaped) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  out += '"';
}

class Strings {
 public:
  std::size_t number_of(const std::string& text) {
    const auto [it, is_new] = numbers_.try_emplace(text, texts_.size());
    if (is_new) texts_.push_back(text);
    return it->second;
  }
  const std::vector<std::string>& texts() const { return texts_; }

 private:
  std::unordered_map<std::string, std::size_t> numbers_;
  std::vector<std::string> texts_;
};

struct Node {
  std::size_t name = 0;
  std::size_t file = 0;
  std::vector<std::int64_t> values;
  std::map<std::size_t, std::size_t> children;  // by name, into Tree::nodes
};

class Tree {
 public:
  explicit Tree(const Profile& profile) : profile_(profile) {
    nodes_.push_back({strings_.number_of("all"),
                      strings_.number_of(""),
                      std::vector<std::int64_t>(profile.sample_types.size()),
                      {}});
    for (const ProfileSample& sample : profile.samples) add(sample);
  }

  std::string nodes_json() {
    std::string out;
    append(0, out);
    return out;
  }
  std::size_t left_out() const { return left_out_; }
  const Strings& strings() const { return strings_; }

 private:
  void add(const ProfileSample& sample) {
    std::size_t node = 0;
    add_values(node, sample);
    for (auto i = sample.locations.rbegin(); i != sample.locations.rend(); ++i) {
      const ProfileLocation& location = profile_.locations[index(*i)];
      if (location.lines.empty()) {
        node = step(node, module_offset_name(profile_, location), "", sample);
      }
      for (auto line = location.lines.rbegin(); line != location.lines.rend(); ++line) {
        const SourceFunction& function = profile_.functions[index(line->function)];
        node = step(node, function.name, function.file, sample);
      }
    }
  }

  std::size_t step(std::size_t parent, const std::string& name, const std::string& file,
                   const ProfileSample& sample) {
    const auto [it, is_new] =
        nodes_[parent].children.try_emplace(strings_.number_of(name), nodes_.size());
    const std::size_t child = it->second;
    if (is_new) {
      nodes_.push_back({strings_.number_of(name),
                        strings_.number_of(file),
                        std::vector<std::int64_t>(sample.values.size()),
                        {}});
    }
    add_values(child, sample);
    return child;
  }

  void add_values(std::size_t node, const ProfileSample& sample) {
    for (std::size_t i = 0; i < sample.values.size(); ++i) {
      nodes_[node].values[i] += std::max<std::int64_t>(sample.values[i], 0);
    }
  }

  bool too_small(const Node& node) const {
    const Node& root = nodes_.front();
    for (std::size_t i = 0; i < node.values.size(); ++i) {
      if (node.values[i] > 0 && node.values[i] >= root.values[i] / kFlameSmallestPart) return false;
    }
    return true;
  }

  // Depth: that of a stack with its inlined frames, some thousands at most.
  void append(std::size_t at, std::string& out) {
    const Node& node = nodes_[at];
    std::vector<std::size_t> shown;
    for (const auto& [name, child] : node.children) {
      if (too_small(nodes_[child])) {
        ++left_out_;
      } else {
        shown.push_back(child);
      }
    }
    if (!out.empty()) out += ',';
    out += std::to_string(node.name) + ',' + std::to_string(node.file) + ',' +
           std::to_string(shown.size());
    for (const std::int64_t value : node.values) out += ',' + std::to_string(value);
    for (const std::size_t child : shown) append(child, out);
  }

  const Profile& profile_;
  Strings strings_;
  std::vector<Node> nodes_;
  std::size_t left_out_ = 0;
};

void append_strings(std::string& out, const std::vector<std::string>& texts) {
  out += '[';
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i > 0) out += ',';
    append_json_string(out, texts[i]);
  }
  out += ']';
}

void append_types(std::string& out, const Profile& profile) {
  out += '[';
  for (std::size_t i = 0; i < profile.sample_types.size(); ++i) {
    out += i > 0 ? ",[" : "[";
    append_json_string(out, profile.sample_types[i].type);
    out += ',';
    append_json_string(out, profile.sample_types[i].unit);
    out += ']';
  }
  out += ']';
}

std::string program_of(const Profile& profile) {
  if (profile.mappings.empty()) return "";
  const std::string& path = profile.mappings.front().path;
  return path.substr(path.rfind('/') + 1);
}

}  // namespace

std::string flame_data(const Profile& profile) {
  Tree tree(profile);
  const std::string nodes = tree.nodes_json();
  const auto start =
      std::chrono::duration_cast<std::chrono::milliseconds>(profile.start.time_since_epoch())
          .count();
  std::string out = "{\"name\":";
  append_json_string(out, profile.name);
  out += ",\"program\":";
  append_json_string(out, program_of(profile));
  out += ",\"start_ms\":" + std::to_string(start);
  out += ",\"duration_ns\":" +
         std::to_string(
             std::chrono::duration_cast<std::chrono::nanoseconds>(profile.duration).count());
  out += ",\"types\":";
  append_types(out, profile);
  out += ",\"default\":" + std::to_string(default_column(profile));
  out += ",\"comments\":";
  append_strings(out, profile.comments);
  out += ",\"left_out\":" + std::to_string(tree.left_out());
  out += ",\"strings\":";
  append_strings(out, tree.strings().texts());
  out += ",\"nodes\":[" + nodes + "]}";
  return out;
}

std::string render_flame_page(const Profile& profile) {
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; script-src 'unsafe-inline'\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>";
  out += html_escaped(valid_utf8(profile.name)) + " · " +
         html_escaped(valid_utf8(program_of(profile)));
  out += "</title>\n<style>\n";
  out += flame::kStyle;
  out += "</style>\n</head>\n<body>\n";
  out += flame::kBody;
  out += "<script type=\"application/json\" id=\"data\">";
  out += flame_data(profile);
  out += "</script>\n<script>\n";
  out += flame::kScript;
  out += "</script>\n</body>\n</html>\n";
  return out;
}

}  // namespace vigil::sampler
