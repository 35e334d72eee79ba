#include "sampler/profile_delta.h"

#include <cassert>
#include <string_view>
#include <utility>

namespace vigil::sampler {

StackProfile subtract(StackProfile later, StackProfile earlier, Duration elapsed) {
  assert(later.sample_types == earlier.sample_types);
  std::vector<std::int64_t> factors;
  for (const ValueType& type : later.sample_types) {
    factors.push_back(std::string_view(type.type).starts_with("inuse_") ? 0 : -1);
  }
  later.samples.reserve(later.samples.size() + earlier.samples.size());
  for (StackSample& sample : earlier.samples) {
    for (std::size_t i = 0; i < factors.size(); ++i) sample.values[i] *= factors[i];
    later.samples.push_back(std::move(sample));
  }
  later.made_up_frames.merge(earlier.made_up_frames);
  const std::int64_t sign = later.counter_span == CounterSpan::kSinceStart ? -1 : 1;
  for (const auto& [counter, count] : earlier.counters) later.counters[counter] += sign * count;
  later.duration = elapsed;
  return later;
}

}  // namespace vigil::sampler
