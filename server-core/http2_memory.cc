#include "server-core/http2_memory.h"

#include <cstdlib>
#include <limits>
#include <utility>

namespace vigil::http {

Http2Memory::~Http2Memory() {
  for (Block* block = ring_.next; block != &ring_;) std::free(std::exchange(block, block->next));
}

// A block with its place in the ring, or that there was no memory for it.
void* Http2Memory::keep(void* memory) noexcept {
  if (memory == nullptr) {
    failed_ = true;
    return nullptr;
  }
  auto* const block = static_cast<Block*>(memory);
  *block = {ring_.next, &ring_};
  ring_.next->previous = block;
  ring_.next = block;
  return block + 1;
}

void Http2Memory::leave_ring(const Block& block) noexcept {
  block.next->previous = block.previous;
  block.previous->next = block.next;
}

void* Http2Memory::allocate(std::size_t size) noexcept {
  return keep(std::malloc(sizeof(Block) + size));
}

void* Http2Memory::allocate_zeroed(std::size_t count, std::size_t size) noexcept {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max() - sizeof(Block);
  if (size != 0 && count > kMost / size) return keep(nullptr);
  return keep(std::calloc(1, sizeof(Block) + count * size));
}

// What cannot grow stays as it is, and in the ring.
void* Http2Memory::reallocate(void* bytes, std::size_t size) noexcept {
  if (bytes == nullptr) return allocate(size);
  Block* const block = static_cast<Block*>(bytes) - 1;
  leave_ring(*block);
  void* const grown = std::realloc(block, sizeof(Block) + size);
  if (grown != nullptr) return keep(grown);
  (void)keep(block);
  return keep(nullptr);
}

void Http2Memory::release(void* bytes) noexcept {
  if (bytes == nullptr) return;
  Block* const block = static_cast<Block*>(bytes) - 1;
  leave_ring(*block);
  std::free(block);
}

}  // namespace vigil::http
