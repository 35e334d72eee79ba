#include "server-core/router.h"

#include <algorithm>
#include <functional>
#include <unordered_map>

#include "server-core/request_log.h"
#include "server-core/url.h"

namespace vigil::http {
namespace {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>()(text);
  }
};

struct Segment {
  enum class Kind : std::uint8_t {
    kLiteral,   // text is decoded; empty for {$}
    kWildcard,  // text is the name
    kTail,      // text is the name, empty for a trailing slash
  };
  Kind kind;
  std::string text;
};

struct Pattern {
  std::string method;  // empty: every method
  std::vector<Segment> segments;
};

// How two sets of requests lie to each other.
enum class Relation : std::uint8_t { kEqual, kFirstInSecond, kSecondInFirst, kOverlap, kDisjoint };

Error bad_pattern(std::string_view pattern, std::string_view why) {
  return Error(ErrorCode::kInvalidArgument,
               "pattern \"" + std::string(pattern) + "\": " + std::string(why));
}

bool is_wildcard_name(std::string_view name) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  return !name.empty() && letter(name.front()) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

Result<Segment> parse_segment(std::string_view text, std::string_view pattern, bool last) {
  const bool braced = !text.empty() && text.front() == '{';
  if (!braced) {
    if (text.find_first_of("{}") != std::string_view::npos) {
      return bad_pattern(pattern, "a wildcard is a whole segment");
    }
    if (text.empty() && !last) return bad_pattern(pattern, "empty segment");
    if (text.empty()) return Segment{Segment::Kind::kTail, ""};
    Segment segment{Segment::Kind::kLiteral, ""};
    if (!append_percent_decoded(segment.text, text)) return bad_pattern(pattern, "broken escape");
    return segment;
  }
  if (text.back() != '}') return bad_pattern(pattern, "a wildcard is a whole segment");
  std::string_view name = text.substr(1, text.size() - 2);
  if (name == "$") {
    if (!last) return bad_pattern(pattern, "{$} must be last");
    return Segment{Segment::Kind::kLiteral, ""};
  }
  const bool tail = name.ends_with("...");
  if (tail) name.remove_suffix(3);
  if (tail && !last) return bad_pattern(pattern, "{name...} must be last");
  if (!is_wildcard_name(name)) return bad_pattern(pattern, "invalid wildcard name");
  return Segment{tail ? Segment::Kind::kTail : Segment::Kind::kWildcard, std::string(name)};
}

Result<Pattern> parse_pattern(std::string_view text) {
  Pattern pattern;
  std::string_view path = text;
  if (const std::size_t space = text.find(' '); space != std::string_view::npos) {
    pattern.method = text.substr(0, space);
    if (!is_header_name(pattern.method)) return bad_pattern(text, "invalid method");
    path = text.substr(std::min(text.find_first_not_of(' ', space), text.size()));
  }
  if (path.empty() || path.front() != '/') return bad_pattern(text, "the path must begin with /");
  if (!is_clean_path(path)) return bad_pattern(text, "the path is not clean");
  path.remove_prefix(1);
  std::size_t wildcards = 0;
  while (true) {
    const std::size_t slash = path.find('/');
    const bool last = slash == std::string_view::npos;
    Result<Segment> segment = parse_segment(path.substr(0, slash), text, last);
    if (!segment) return std::move(segment).error();
    if (segment->kind != Segment::Kind::kLiteral && ++wildcards > Request::kPathValuesMax) {
      return bad_pattern(text, "too many wildcards");
    }
    for (const Segment& other : pattern.segments) {
      if (segment->kind != Segment::Kind::kLiteral && other.kind != Segment::Kind::kLiteral &&
          other.text == segment->text) {
        return bad_pattern(text, "a wildcard's name is used twice");
      }
    }
    pattern.segments.push_back(*std::move(segment));
    if (last) return pattern;
    path.remove_prefix(slash + 1);
  }
}

Relation combine(Relation a, Relation b) {
  if (a == Relation::kDisjoint || b == Relation::kDisjoint) return Relation::kDisjoint;
  if (a == Relation::kEqual) return b;
  if (b == Relation::kEqual || a == b) return a;
  return Relation::kOverlap;
}

Relation compare_methods(const std::string& a, const std::string& b) {
  if (a == b) return Relation::kEqual;
  if (b.empty() || (a == "HEAD" && b == "GET")) return Relation::kFirstInSecond;
  if (a.empty() || (a == "GET" && b == "HEAD")) return Relation::kSecondInFirst;
  return Relation::kDisjoint;
}

Relation compare_segments(const Segment& a, const Segment& b) {
  const bool a_literal = a.kind == Segment::Kind::kLiteral;
  const bool b_literal = b.kind == Segment::Kind::kLiteral;
  if (a_literal && b_literal) return a.text == b.text ? Relation::kEqual : Relation::kDisjoint;
  if (a_literal) return a.text.empty() ? Relation::kDisjoint : Relation::kFirstInSecond;
  if (b_literal) return b.text.empty() ? Relation::kDisjoint : Relation::kSecondInFirst;
  return Relation::kEqual;
}

Relation compare_paths(const std::vector<Segment>& a, const std::vector<Segment>& b) {
  Relation relation = Relation::kEqual;
  for (std::size_t i = 0;; ++i) {
    if (i == a.size() || i == b.size()) {
      return a.size() == b.size() ? relation : Relation::kDisjoint;
    }
    const bool a_tail = a[i].kind == Segment::Kind::kTail;
    const bool b_tail = b[i].kind == Segment::Kind::kTail;
    if (a_tail && b_tail) return relation;
    if (a_tail) return combine(relation, Relation::kSecondInFirst);
    if (b_tail) return combine(relation, Relation::kFirstInSecond);
    relation = combine(relation, compare_segments(a[i], b[i]));
    if (relation == Relation::kDisjoint) return relation;
  }
}

struct Route {
  std::string text;
  Pattern pattern;
  Handler handler;
  leakwatch::TaskLabel label;
  HandlerProfile profile;
};

// The routes of one path, by method.
struct Leaf {
  std::vector<Route*> routes;

  Route* find(std::string_view method) const {
    Route* found = nullptr;
    for (Route* route : routes) {
      if (route->pattern.method == method) return route;
      const bool get_for_head = method == "HEAD" && route->pattern.method == "GET";
      if (get_for_head || (route->pattern.method.empty() && found == nullptr)) found = route;
    }
    return found;
  }
};

struct Node {
  std::unordered_map<std::string, std::unique_ptr<Node>, StringHash, std::equal_to<>> literals;
  std::unique_ptr<Node> wildcard;
  Leaf here;  // the path ends with this segment
  Leaf tail;  // …or goes on with "/" and anything

  Node& child(const Segment& segment) {
    std::unique_ptr<Node>& slot =
        segment.kind == Segment::Kind::kWildcard ? wildcard : literals[segment.text];
    if (slot == nullptr) slot = std::make_unique<Node>();
    return *slot;
  }
};

// One look-up. Depth first, the more specific branch first: as no two patterns conflict, the first
// one that fits is the most specific.
class Search {
 public:
  explicit Search(std::string_view method) : method_(method) {}

  // `rest`: the path's text behind the slash that follows `node`.
  Route* find(const Node& node, std::string_view rest) {
    const std::size_t slash = rest.find('/');
    const std::string_view segment = rest.substr(0, slash);
    const bool last = slash == std::string_view::npos;
    const std::string_view behind = last ? std::string_view() : rest.substr(slash + 1);
    const auto descend = [&](const Node& child) {
      return last ? take(child.here) : find(child, behind);
    };
    if (const Node* child = literal_child(node, segment)) {
      if (Route* route = descend(*child)) return route;
    }
    if (node.wildcard != nullptr && !segment.empty()) {
      if (Route* route = descend(*node.wildcard)) return route;
    }
    return take(node.tail);
  }

  // Methods of the leaves that fit but for the method.
  const std::vector<const Leaf*>& other_methods() const { return other_methods_; }

 private:
  static const Node* literal_child(const Node& node, std::string_view segment) {
    if (node.literals.empty()) return nullptr;
    std::string decoded;
    if (segment.find('%') != std::string_view::npos) {
      append_percent_decoded(decoded, segment);
      segment = decoded;
    }
    const auto child = node.literals.find(segment);
    return child == node.literals.end() ? nullptr : child->second.get();
  }

  Route* take(const Leaf& leaf) {
    Route* route = leaf.find(method_);
    if (route == nullptr && !leaf.routes.empty()) other_methods_.push_back(&leaf);
    return route;
  }

  std::string_view method_;
  std::vector<const Leaf*> other_methods_;
};

void fill_path_values(const Route& route, Request& request) {
  std::string_view rest = request.raw_path().substr(1);
  for (const Segment& segment : route.pattern.segments) {
    if (segment.kind == Segment::Kind::kTail) {
      if (!segment.text.empty()) request.add_path_value(segment.text, rest);
      return;
    }
    const std::size_t slash = rest.find('/');
    if (segment.kind == Segment::Kind::kWildcard) {
      request.add_path_value(segment.text, rest.substr(0, slash));
    }
    rest.remove_prefix(slash == std::string_view::npos ? rest.size() : slash + 1);
  }
}

void redirect(ResponseWriter& response, const Request& request, std::string_view raw_path) {
  std::string location(raw_path);
  if (!request.raw_query().empty()) location.append("?").append(request.raw_query());
  const bool safe = request.method() == "GET" || request.method() == "HEAD";
  response.headers().set("Location", location);
  // 308 keeps the method and the body; for GET the older code is what every client knows.
  write_error(response, safe ? 301 : 308);
}

void answer_wrong_method(ResponseWriter& response, const std::vector<const Leaf*>& leaves) {
  std::vector<std::string_view> methods;
  for (const Leaf* leaf : leaves) {
    for (const Route* route : leaf->routes) {
      methods.push_back(route->pattern.method);
      if (route->pattern.method == "GET") methods.push_back("HEAD");
    }
  }
  std::sort(methods.begin(), methods.end());
  methods.erase(std::unique(methods.begin(), methods.end()), methods.end());
  std::string allow;
  for (std::string_view method : methods) {
    if (!allow.empty()) allow += ", ";
    allow += method;
  }
  response.headers().set("Allow", allow);
  write_error(response, 405);
}

}  // namespace

struct Router::Tree {
  leakwatch::TaskRegistry& registry;
  Node root;
  std::vector<std::unique_ptr<Route>> routes;
};

Router::Router(leakwatch::TaskRegistry& registry)
    : tree_(std::make_shared<Tree>(Tree{registry, {}, {}})) {}

Result<void> Router::handle(std::string_view pattern, Handler handler) {
  Result<Pattern> parsed = parse_pattern(pattern);
  if (!parsed) return std::move(parsed).error();
  for (const auto& other : tree_->routes) {
    const Relation relation = combine(compare_methods(parsed->method, other->pattern.method),
                                      compare_paths(parsed->segments, other->pattern.segments));
    if (relation == Relation::kEqual || relation == Relation::kOverlap) {
      return bad_pattern(pattern, "conflicts with \"" + other->text +
                                      "\": neither is more specific than the other");
    }
  }
  auto route = std::make_unique<Route>();
  route->text = pattern;
  route->pattern = *std::move(parsed);
  route->handler = std::move(handler);
  route->label = tree_->registry.intern(pattern);

  Node* node = &tree_->root;
  bool tail = false;
  for (const Segment& segment : route->pattern.segments) {
    tail = segment.kind == Segment::Kind::kTail;
    if (!tail) node = &node->child(segment);
  }
  (tail ? node->tail : node->here).routes.push_back(route.get());
  tree_->routes.push_back(std::move(route));
  return {};
}

void Router::operator()(ResponseWriter& response, Request& request) const {
  if (request.raw_path() == "*") return response.status(200);  // OPTIONS *: no handler's business
  if (!is_clean_path(request.path())) {
    return redirect(response, request, percent_encoded_path(cleaned_path(request.path())));
  }
  Search search(request.method());
  Route* route = search.find(tree_->root, request.raw_path().substr(1));
  if (route != nullptr) {
    fill_path_values(*route, request);
    // The label's text, which lives as long as the process: a trace keeps it.
    request.set_route(route->label.text());
    const leakwatch::TaskRequest about{.method = request.method(),
                                       .target = request.target(),
                                       .request_id = request_id(request),
                                       .peer = {},
                                       .descriptor = request.descriptor()};
    const leakwatch::Task task(tree_->registry, route->label,
                               {.now = request.start_time(), .request = &about});
    if (request.enter_route(route->profile, task.id()) == RouteAdmission::kBusy) {
      response.headers().set("Retry-After", "1");
      return write_error(response, 503, "no thread is free");
    }
    return route->handler(response, request);
  }
  if (!search.other_methods().empty()) return answer_wrong_method(response, search.other_methods());
  const std::string with_slash = std::string(request.raw_path()) + "/";
  Search subtree(request.method());
  if (subtree.find(tree_->root, std::string_view(with_slash).substr(1)) != nullptr) {
    return redirect(response, request, with_slash);
  }
  write_error(response, 404);
}

std::vector<RouteStats> Router::stats() const {
  std::vector<RouteStats> stats;
  for (const auto& route : tree_->routes) {
    stats.push_back({route->text, route->profile.metrics.read()});
  }
  return stats;
}

std::vector<std::string> Router::patterns() const {
  std::vector<std::string> patterns;
  for (const auto& route : tree_->routes) patterns.push_back(route->text);
  return patterns;
}

}  // namespace vigil::http
