// What we ask of gperftools' tcmalloc, without linking it: the references are weak.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "sampler/address.h"

namespace vigil::sampler::tcmalloc_api {

// Whether the program runs on it. Everything below may be called only then.
bool present();

// Mean bytes between samples, 0 for off. tcmalloc reads it at each sampling point, without an atomic of its own.
std::atomic_ref<std::int64_t> sample_parameter();

std::int64_t allocated_bytes();

// The bytes that an object of `bytes` takes: its size class; large objects as they are.
std::int64_t served_bytes(std::int64_t bytes);

struct Entry {
  std::int64_t count = 0;
  std::int64_t bytes = 0;  // of one object, as asked for
  Stack stack;             // at most 30 frames; kTruncated if there are as many
};

// The live sampled objects; `interval` becomes the sample parameter. nullopt: sampling is off.
std::optional<std::vector<Entry>> read_stack_traces(int& interval);

// Every growth of the page heap since the process began, newest first. nullopt: not kept.
std::optional<std::vector<Entry>> read_growth_stack_traces();

void release_free_memory();

}  // namespace vigil::sampler::tcmalloc_api
