#include "sampler/frame_rules.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace vigil::sampler {
namespace {

constexpr std::size_t kWord = sizeof(std::uint64_t);
constexpr std::size_t kEntriesMin = 256;

using Place = WatchedStep::Place;

// The CFA's distance from rsp or rbp, whichever the step has computed it from.
std::optional<std::pair<FrameRule::Kind, std::int64_t>> base_of(const WatchedStep& step) {
  const Place return_address{Place::Kind::kMemory, step.sp_after - kWord};
  const Place rbp = step.places_before[kRbpIndex];
  // On a damaged stack one read could be either.
  if (rbp == return_address || !step.would_see_rbp) return std::nullopt;
  bool saw_return = false;
  const WatchedStep::Read* saw_rbp = nullptr;
  for (const WatchedStep::Read& read : step.reads) {
    if (read.place == return_address && read.value == step.pc_after) {
      saw_return = true;
    } else if (read.place == rbp) {
      saw_rbp = &read;
    } else {
      return std::nullopt;
    }
  }
  if (!saw_return) return std::nullopt;
  const bool from_rbp = saw_rbp != nullptr;
  const std::uint64_t base = from_rbp ? saw_rbp->value : step.sp_before;
  return std::pair(from_rbp ? FrameRule::Kind::kFromRbp : FrameRule::Kind::kFromSp,
                   static_cast<std::int64_t>(step.sp_after - base));
}

// In words below the CFA; 0 if the step has left it where it was. Nothing for any other place.
std::optional<std::int16_t> saved_at(const WatchedStep& step, std::size_t reg) {
  const Place& before = step.places_before[reg];
  const Place& after = step.places_after[reg];
  const std::uintptr_t cfa = step.sp_after;
  if (after == before) {
    // In the frame itself, where only a damaged stack has it before: saved there, or left there.
    const bool is_in_frame =
        before.kind == Place::Kind::kMemory && before.at >= step.sp_before && before.at < cfa;
    if (is_in_frame) return std::nullopt;
    return std::int16_t{0};
  }
  if (after.kind != Place::Kind::kMemory || after.at >= cfa) return std::nullopt;
  const std::uint64_t distance = cfa - after.at;
  constexpr std::uint64_t kMost = std::numeric_limits<std::int16_t>::max();
  if (distance % kWord != 0 || distance / kWord > kMost) return std::nullopt;
  return static_cast<std::int16_t>(distance / kWord);
}

}  // namespace

FrameRule rule_of(const WatchedStep& step) {
  if (!step.has_caller) {
    return {.kind = step.reads.empty() ? FrameRule::Kind::kNoCaller : FrameRule::Kind::kNotSimple};
  }
  // Downwards, or on the spot: a damaged stack, whose places are those of the frames before.
  if (step.sp_after <= step.sp_before) return {};
  const auto base = base_of(step);
  // A frame has a return address at least; one of gigabytes is a damaged stack.
  constexpr std::int64_t kOffsetMost = std::numeric_limits<std::int32_t>::max();
  if (!base || base->second < static_cast<std::int64_t>(kWord) || base->second > kOffsetMost) {
    return {};
  }
  FrameRule rule{.kind = base->first, .cfa_offset = static_cast<std::int32_t>(base->second)};
  for (std::size_t i = 0; i < kCalleeSaved.size(); ++i) {
    const auto saved = saved_at(step, i);
    if (!saved) return {};
    rule.saved[i] = *saved;
  }
  return rule;
}

bool follow(const FrameRule& rule, const StackCopy& copy, RegisterSet& registers) {
  const bool from_rbp = rule.kind == FrameRule::Kind::kFromRbp;
  if (!from_rbp && rule.kind != FrameRule::Kind::kFromSp) return false;
  if (from_rbp && !registers.knows(Register::kRbp)) return false;
  const std::uintptr_t base = from_rbp ? registers.get(Register::kRbp) : registers.sp();
  const std::uintptr_t cfa = base + static_cast<std::uintptr_t>(rule.cfa_offset);
  if (cfa <= registers.sp()) return false;
  const auto caller = copy.word_at(cfa - kWord);
  if (!caller) return false;
  RegisterSet found;
  found.set(Register::kRip, *caller);
  found.set(Register::kRsp, cfa);
  for (std::size_t i = 0; i < kCalleeSaved.size(); ++i) {
    const Register reg = kCalleeSaved[i];
    if (rule.saved[i] == 0) {
      if (registers.knows(reg)) found.set(reg, registers.get(reg));
      continue;
    }
    const auto value = copy.word_at(cfa - static_cast<std::size_t>(rule.saved[i]) * kWord);
    if (!value) return false;
    found.set(reg, *value);
  }
  registers = found;
  return true;
}

// A return address and an interrupted instruction may be one address, and mean two.
std::uint64_t FrameRules::key_of(FrameAddress pc) {
  return (pc.raw() << 1 | (pc.raw() - pc.lookup())) + 1;
}

std::size_t FrameRules::index_of(std::uint64_t key) const {
  const std::size_t mask = entries_.size() - 1;
  // Fibonacci hashing: the middle of the product.
  std::size_t at = (key * 0x9E3779B97F4A7C15u >> 32) & mask;
  while (entries_[at].key != 0 && entries_[at].key != key) at = (at + 1) & mask;
  return at;
}

const FrameRule* FrameRules::find(FrameAddress pc) const {
  if (size_ == 0) return nullptr;
  const Entry& entry = entries_[index_of(key_of(pc))];
  return entry.key != 0 ? &entry.rule : nullptr;
}

void FrameRules::grow() {
  std::vector<Entry> all(std::max(kEntriesMin, entries_.size() * 2));
  all.swap(entries_);
  for (const Entry& entry : all) {
    if (entry.key != 0) entries_[index_of(entry.key)] = entry;
  }
}

void FrameRules::keep(FrameAddress pc, const FrameRule& rule) {
  if (size_ >= rules_max_) clear();
  if (entries_.size() < 2 * (size_ + 1)) grow();
  const std::uint64_t key = key_of(pc);
  Entry& entry = entries_[index_of(key)];
  if (entry.key == 0) ++size_;
  entry = {key, rule};
}

void FrameRules::clear() {
  std::fill(entries_.begin(), entries_.end(), Entry{});
  size_ = 0;
}

}  // namespace vigil::sampler
