#include "sampler/profile_text.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "base/text.h"

namespace vigil::sampler {
namespace {

// Go's names of the heap columns.
struct HeapColumns {
  std::size_t inuse_objects;
  std::size_t inuse_bytes;
  std::size_t alloc_objects;
  std::size_t alloc_bytes;
};

std::optional<std::size_t> find_column(const Profile& profile, std::string_view type) {
  for (std::size_t i = 0; i < profile.sample_types.size(); ++i) {
    if (profile.sample_types[i].type == type) return i;
  }
  return std::nullopt;
}

std::optional<HeapColumns> heap_columns(const Profile& profile) {
  if (profile.name != "heap" && profile.name != "allocs") return std::nullopt;
  const auto objects = find_column(profile, "inuse_objects");
  const auto bytes = find_column(profile, "inuse_space");
  if (!objects || !bytes) return std::nullopt;
  return HeapColumns{*objects, *bytes, find_column(profile, "alloc_objects").value_or(*objects),
                     find_column(profile, "alloc_space").value_or(*bytes)};
}

// Objects and bytes as the sampler saw them.
struct Sampled {
  std::int64_t objects = 0;
  std::int64_t bytes = 0;
};

// The inverse of the scaling (heap_profiler.h): an object of s bytes stood for 1 / (1 - e^(-s/R))
// of its size. The average size of a sample survived the scaling but for rounding.
Sampled unscaled(std::int64_t objects, std::int64_t bytes, std::int64_t interval) {
  if (objects == 0 || bytes == 0 || interval <= 1) return {objects, bytes};
  const auto size = std::llround(static_cast<double>(bytes) / static_cast<double>(objects));
  const double probability =
      1 - std::exp(-static_cast<double>(size) / static_cast<double>(interval));
  const auto sampled = std::llround(static_cast<double>(objects) * probability);
  return {sampled, sampled * size};
}

struct HeapRow {
  Sampled inuse;
  Sampled alloc;
};

HeapRow heap_row(const Profile& profile, const ProfileSample& sample, const HeapColumns& columns) {
  const auto& v = sample.values;
  return {unscaled(v[columns.inuse_objects], v[columns.inuse_bytes], profile.period),
          unscaled(v[columns.alloc_objects], v[columns.alloc_bytes], profile.period)};
}

std::string heap_numbers(const HeapRow& row) {
  return std::to_string(row.inuse.objects) + ": " + std::to_string(row.inuse.bytes) + " [" +
         std::to_string(row.alloc.objects) + ": " + std::to_string(row.alloc.bytes) + "] @";
}

void append_stack(std::string& out, const Profile& profile, const ProfileSample& sample) {
  for (const LocationIndex i : sample.locations) {
    out += ' ';
    out += hex_address(profile.locations[index(i)].address);
  }
  out += '\n';
}

void append_labels(std::string& out, const ProfileSample& sample) {
  if (sample.labels.empty()) return;
  out += "# labels: {";
  std::string_view separator;
  for (const Label& label : sample.labels) {
    out += separator;
    out += '"';
    append_json_escaped(out, label.key);
    out += "\":\"";
    append_json_escaped(out, label.unit.empty() ? label.text : std::to_string(label.number));
    out += '"';
    separator = ", ";
  }
  out += "}\n";
}

// Names come from files that anybody may have written: they must not end a line.
std::string one_line(std::string_view text) {
  std::string out = valid_utf8(text);
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return out;
}

void append_location(std::string& out, const Profile& profile, const ProfileLocation& location) {
  const std::string head = "#\t" + hex_address(location.address) + "\t";
  if (location.lines.empty()) {
    out += head + one_line(module_offset_name(profile, location)) + "\n";
    return;
  }
  for (const ProfileLine& line : location.lines) {
    const SourceFunction& function = profile.functions[index(line.function)];
    out += head + one_line(function.name) + "+" + hex_address(location.function_offset);
    if (!function.file.empty()) {
      out += "\t" + one_line(function.file) + ":" + std::to_string(line.line);
    }
    out += '\n';
  }
}

// Columns of "mutex" and "block" (contention_profiler.h).
constexpr std::size_t kContentions = 0;
constexpr std::size_t kDelay = 1;

bool is_contention(const Profile& profile) {
  return (profile.name == "mutex" || profile.name == "block") && profile.sample_types.size() == 2;
}

// Largest first, by the column that leads the row; equal ones in the profile's order.
std::vector<const ProfileSample*> by_count(const Profile& profile) {
  std::vector<const ProfileSample*> samples;
  for (const ProfileSample& sample : profile.samples) samples.push_back(&sample);
  const std::size_t column = is_contention(profile) ? kDelay : 0;
  std::stable_sort(samples.begin(), samples.end(), [column](const auto* a, const auto* b) {
    return a->values[column] > b->values[column];
  });
  return samples;
}

std::string contention_numbers(const ProfileSample& sample) {
  return std::to_string(sample.values[kDelay]) + " " + std::to_string(sample.values[kContentions]) +
         " @";
}

// Cycles of a clock that ticks once a nanosecond: readers divide by this rate.
constexpr std::string_view kCyclesPerSecond = "cycles/second=1000000000\n";

std::string header(const Profile& profile, const std::optional<HeapColumns>& heap) {
  if (is_contention(profile)) {
    return (profile.name == "mutex" ? "--- mutex:\n" : "--- contention:\n") +
           std::string(kCyclesPerSecond) + (profile.name == "mutex" ? "sampling period=1\n" : "");
  }
  if (!heap) {
    std::int64_t total = 0;
    for (const ProfileSample& sample : profile.samples) total += sample.values.front();
    return one_line(profile.name) + " profile: total " + std::to_string(total) + "\n";
  }
  HeapRow total;
  for (const ProfileSample& sample : profile.samples) {
    const HeapRow row = heap_row(profile, sample, *heap);
    total.inuse.objects += row.inuse.objects;
    total.inuse.bytes += row.inuse.bytes;
    total.alloc.objects += row.alloc.objects;
    total.alloc.bytes += row.alloc.bytes;
  }
  return "heap profile: " + heap_numbers(total) + " heap/" + std::to_string(2 * profile.period) +
         "\n";
}

void append_comments(std::string& out, const Profile& profile) {
  for (const std::string& comment : profile.comments) out += "# " + one_line(comment) + "\n";
}

std::string folded_name(std::string_view name) {
  std::string out = one_line(name);
  std::replace(out.begin(), out.end(), ';', ':');
  return out;
}

std::string folded_stack(const Profile& profile, const ProfileSample& sample) {
  std::string out;
  const auto append = [&out](std::string_view name) {
    if (!out.empty()) out += ';';
    out += folded_name(name);
  };
  for (auto i = sample.locations.rbegin(); i != sample.locations.rend(); ++i) {
    const ProfileLocation& location = profile.locations[index(*i)];
    if (location.lines.empty()) append(module_offset_name(profile, location));
    for (auto line = location.lines.rbegin(); line != location.lines.rend(); ++line) {
      append(profile.functions[index(line->function)].name);
    }
  }
  return out;
}

}  // namespace

std::string render_debug_text(const Profile& profile) {
  const std::optional<HeapColumns> heap = heap_columns(profile);
  std::string out = header(profile, heap);
  for (const ProfileSample* sample : by_count(profile)) {
    if (heap) {
      out += heap_numbers(heap_row(profile, *sample, *heap));
    } else if (is_contention(profile)) {
      out += contention_numbers(*sample);
    } else {
      out += std::to_string(sample->values.front()) + " @";
    }
    append_stack(out, profile, *sample);
    append_labels(out, *sample);
    for (const LocationIndex i : sample->locations) {
      append_location(out, profile, profile.locations[index(i)]);
    }
    out += '\n';
  }
  append_comments(out, profile);
  return out;
}

std::size_t default_column(const Profile& profile) {
  return find_column(profile, profile.default_sample_type)
      .value_or(profile.sample_types.size() - 1);
}

std::string render_folded(const Profile& profile, std::size_t column) {
  if (column >= profile.sample_types.size()) column = default_column(profile);
  std::map<std::string, std::int64_t> stacks;
  for (const ProfileSample& sample : profile.samples) {
    stacks[folded_stack(profile, sample)] += sample.values[column];
  }
  std::string out;
  for (const auto& [stack, value] : stacks) {
    if (value != 0) out += stack + " " + std::to_string(value) + "\n";
  }
  append_comments(out, profile);
  return out;
}

}  // namespace vigil::sampler
