#include "sampler/labels.h"

#include <algorithm>
#include <atomic>

#include "base/text.h"
#include "sampler/slot_edge.h"
#include "sampler/thread_work.h"

namespace vigil {
namespace sampler {
namespace {

constinit std::atomic<std::uint64_t> g_dropped{0};

void drop_one() { g_dropped.fetch_add(1, std::memory_order_relaxed); }

// The proto's readers keep this prefix for themselves.
bool is_key(std::string_view key) {
  return !key.empty() && key.size() <= kLabelKeyBytesMax && !key.starts_with("pprof::");
}

std::string_view cut(std::string_view value) {
  if (value.size() <= kLabelValueBytesMax) return value;
  std::size_t end = kLabelValueBytesMax;
  // Not inside a character: continuation bytes are 10xxxxxx.
  while (end > 0 && (static_cast<unsigned char>(value[end]) & 0xC0) == 0x80) --end;
  return value.substr(0, end);
}

void set_label(LabelSet& set, std::string_view key, std::string_view value) {
  if (!is_key(key)) return drop_one();
  const auto at =
      std::lower_bound(set.pairs.begin(), set.pairs.end(), key,
                       [](const auto& pair, std::string_view k) { return pair.first < k; });
  if (at != set.pairs.end() && at->first == key) {
    at->second = cut(value);
  } else if (set.pairs.size() < kLabelsMax) {
    set.pairs.emplace(at, key, cut(value));
  } else {
    drop_one();
  }
}

LabelsRef merged(const LabelSet* outer, LabelList labels) {
  auto* set = new LabelSet;
  LabelsRef owner = LabelsRef::adopt(set);
  set->pairs.reserve((outer == nullptr ? 0 : outer->pairs.size()) + labels.size());
  if (outer != nullptr) set->pairs = outer->pairs;
  for (const auto& [key, value] : labels) set_label(*set, key, value);
  release_to_slots(owner.counted());
  return owner;
}

}  // namespace

const std::string* LabelSet::find(std::string_view key) const {
  for (const auto& pair : pairs) {
    if (pair.first == key) return &pair.second;
  }
  return nullptr;
}

LabelsRef LabelsRef::share(sigsafe::CountedLabels* labels) {
  if (labels != nullptr) labels->references.fetch_add(1, std::memory_order_relaxed);
  return LabelsRef(labels);
}

LabelsRef::~LabelsRef() {
  if (labels_ == nullptr) return;
  if (labels_->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    delete static_cast<LabelSet*>(labels_);
  }
}

std::uint64_t labels_dropped() { return g_dropped.load(std::memory_order_relaxed); }

}  // namespace sampler

CarriedLabels CarriedLabels::current() {
  CarriedLabels carried;
  carried.labels_ =
      sampler::LabelsRef::share(sampler::sigsafe::t_work.labels.load(std::memory_order_relaxed));
  carried.task_ = sampler::sigsafe::t_work.read_task();
  return carried;
}

LabelScope::LabelScope(LabelList labels) {
  using sampler::LabelSet;
  const auto* outer =
      static_cast<const LabelSet*>(sampler::sigsafe::t_work.labels.load(std::memory_order_relaxed));
  enter(sampler::merged(outer, labels));
}

LabelScope::LabelScope(const CarriedLabels& carried) : has_task_(true) {
  enter(carried.labels_);
  sampler::sigsafe::WorkCell& work = sampler::sigsafe::t_work;
  outer_task_ = work.read_task();
  sampler::detail::write_mark(work, carried.task_.name, carried.task_.task,
                              carried.task_.started_ns);
}

void LabelScope::enter(sampler::LabelsRef labels) {
  if (!sampler::sigsafe::t_work.is_listed) sampler::list_this_thread();
  outer_ = sampler::exchange_labels(std::move(labels));
}

LabelScope::~LabelScope() {
  if (has_task_) {
    sampler::detail::write_mark(sampler::sigsafe::t_work, outer_task_.name, outer_task_.task,
                                outer_task_.started_ns);
  }
  sampler::exchange_labels(std::move(outer_));
}

}  // namespace vigil
