#include "sampler/legacy_profile.h"

#include <cmath>
#include <cstdint>
#include <optional>

#include <fmt/core.h>

#include "base/text.h"

namespace vigil::sampler {
namespace {

constexpr std::string_view kMappedLibraries = "\nMAPPED_LIBRARIES:\n";

void append_word(std::string& out, std::uint64_t word) {
  for (int byte = 0; byte < 8; ++byte) out += static_cast<char>(word >> (8 * byte) & 0xff);
}

void append_addresses(std::string& out, const StackSample& sample) {
  for (const FrameAddress& frame : sample.stack.frames) {
    out += ' ';
    out += hex_address(frame.raw());
  }
  out += '\n';
}

struct Counted {
  std::int64_t objects = 0;
  std::int64_t bytes = 0;

  Counted& operator+=(const Counted& other) {
    objects += other.objects;
    bytes += other.bytes;
    return *this;
  }
};

struct Row {
  Counted inuse;
  Counted alloc;
};

std::string row_numbers(const Row& row) {
  return fmt::format("{}: {} [{}: {}] @", row.inuse.objects, row.inuse.bytes, row.alloc.objects,
                     row.alloc.bytes);
}

std::optional<std::size_t> column(const StackProfile& profile, std::string_view type) {
  for (std::size_t i = 0; i < profile.sample_types.size(); ++i) {
    if (profile.sample_types[i].type == type) return i;
  }
  return std::nullopt;
}

std::int64_t object_bytes(const StackSample& sample) {
  for (const Label& label : sample.labels) {
    if (label.key == "bytes") return label.number;
  }
  return 0;
}

// Objects and bytes of one pair of columns. All objects of a sample have one size, which it carries as a label: with it
// the scaling (heap_profiler.h) is undone without a rounding error.
class HeapPair {
 public:
  HeapPair(const StackProfile& profile, std::string_view objects, std::string_view bytes)
      : objects_(column(profile, objects)),
        bytes_(column(profile, bytes)),
        interval_(profile.period) {}

  bool present() const { return objects_ && bytes_; }

  Counted sampled(const StackSample& sample) const {
    const std::int64_t objects = sample.values[*objects_];
    const std::int64_t size = object_bytes(sample);
    if (interval_ <= 1 || size <= 0) return {objects, sample.values[*bytes_]};
    const double probability =
        1 - std::exp(-static_cast<double>(size) / static_cast<double>(interval_));
    const std::int64_t sampled = std::llround(static_cast<double>(objects) * probability);
    return {sampled, sampled * size};
  }

 private:
  std::optional<std::size_t> objects_;
  std::optional<std::size_t> bytes_;
  std::int64_t interval_;
};

template <typename RowOf>
std::string render_rows(const StackProfile& profile, std::string_view kind, std::string_view maps,
                        RowOf row_of) {
  Row total;
  std::string rows;
  for (const StackSample& sample : profile.samples) {
    const Row row = row_of(sample);
    total.inuse += row.inuse;
    total.alloc += row.alloc;
    // The readers' row has an address at least; the total keeps what has none.
    if (sample.stack.frames.empty()) continue;
    rows += row_numbers(row);
    append_addresses(rows, sample);
  }
  std::string out = fmt::format("heap profile: {} {}\n", row_numbers(total), kind);
  out += rows;
  out += kMappedLibraries;
  out += maps;
  return out;
}

}  // namespace

std::string encode_legacy_cpu(const StackProfile& profile, std::string_view maps) {
  std::string out;
  const auto period_us = static_cast<std::uint64_t>(profile.period / 1000);
  for (const std::uint64_t word :
       {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{0}, period_us, std::uint64_t{0}}) {
    append_word(out, word);
  }
  for (const StackSample& sample : profile.samples) {
    if (sample.stack.frames.empty() || sample.values.front() <= 0) continue;
    append_word(out, static_cast<std::uint64_t>(sample.values.front()));
    append_word(out, sample.stack.frames.size());
    for (const FrameAddress& frame : sample.stack.frames) append_word(out, frame.raw());
  }
  for (const std::uint64_t word : {0, 1, 0}) append_word(out, word);
  out += maps;
  return out;
}

std::string render_legacy_heap(const StackProfile& profile, std::string_view maps) {
  const HeapPair inuse(profile, "inuse_objects", "inuse_space");
  const HeapPair alloc(profile, "alloc_objects", "alloc_space");
  return render_rows(profile, fmt::format("heap_v2/{}", profile.period), maps,
                     [&](const StackSample& sample) {
                       const Counted live = inuse.sampled(sample);
                       return Row{live, alloc.present() ? alloc.sampled(sample) : live};
                     });
}

std::string render_legacy_growth(const StackProfile& profile, std::string_view maps) {
  return render_rows(profile, "growthz", maps, [](const StackSample& sample) {
    const Counted grown{sample.values.at(0), sample.values.at(1)};
    return Row{grown, grown};
  });
}

std::string render_legacy_contention(const StackProfile& profile, std::string_view maps) {
  std::string out = "--- contention:\ncycles/second=1000000000\nsampling period=1\n";
  for (const StackSample& sample : profile.samples) {
    if (sample.stack.frames.empty()) continue;
    out += fmt::format("{} {} @", sample.values.at(1), sample.values.at(0));
    append_addresses(out, sample);
  }
  out += kMappedLibraries;
  out += maps;
  return out;
}

}  // namespace vigil::sampler
