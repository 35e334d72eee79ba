// The labels of a sample, from what its thread worked on. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sampler/stack_profile.h"
#include "sampler/thread_work.h"

namespace vigil::sampler {

// Which labels samples carry: route, method, state and the program's own unless told otherwise. The
// task's id is left out by default: it makes every request a group of its own, in the profile and
// in every database that it is sent to.
struct LabelChoice {
  enum class Kind : std::uint8_t {
    kUsual,  // all but `task`
    kAll,    // with `task`, a number
    kNone,
    kOnly,  // those in `keys`
  };
  Kind kind = Kind::kUsual;
  std::vector<std::string> keys = {};
};

// `route` and `method` of the task, `state` if it is not empty, the program's own, and `task` if it
// is chosen; ascending. A program's own route and method replace the task's; its own `state` and
// `task` are left out, because those two are ours.
std::vector<Label> work_labels(const ThreadWork& work, std::string_view state,
                               const LabelChoice& choice);

// Whether `routes` has the program's own route, else the task's route or whole name. An empty list
// has all.
bool is_on_route(const ThreadWork& work, std::span<const std::string> routes);

}  // namespace vigil::sampler
