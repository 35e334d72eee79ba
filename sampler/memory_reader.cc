#include "sampler/memory_reader.h"

#include <cstring>
#include <new>

#include "sampler/sigsafe/self_memory.h"

namespace vigil::sampler {

std::size_t read_memory_prefix(std::uintptr_t address, std::span<std::byte> into) noexcept {
  return sigsafe::copy_memory(address, into.data(), into.size());
}

bool read_memory(std::uintptr_t address, std::span<std::byte> into) noexcept {
  return read_memory_prefix(address, into) == into.size();
}

// Does not throw: libunwind calls this with a lock of its own, which an exception would leave taken.
const PageCache::Page* PageCache::page_at(std::uintptr_t page_address) noexcept try {
  if (last_page_ != nullptr && last_address_ == page_address) return last_page_;
  auto found = pages_.find(page_address);
  if (found == pages_.end()) {
    auto page = std::make_unique<Page>();
    if (!read_memory(page_address, page->bytes)) return nullptr;
    if (pages_.size() >= pages_max_) clear();
    found = pages_.emplace(page_address, std::move(page)).first;
  }
  last_address_ = page_address;
  last_page_ = found->second.get();
  return last_page_;
} catch (const std::bad_alloc&) {
  return nullptr;
}

std::optional<std::uint64_t> PageCache::read_word(std::uintptr_t address) noexcept {
  constexpr std::size_t kWord = sizeof(std::uint64_t);
  if (address > UINTPTR_MAX - kWord) return std::nullopt;
  const std::uintptr_t page_address = address / kPageBytes * kPageBytes;
  const std::size_t offset = address - page_address;
  std::uint64_t word = 0;
  auto* out = reinterpret_cast<std::byte*>(&word);
  const Page* page = page_at(page_address);
  if (page == nullptr) return std::nullopt;
  const std::size_t first = std::min(kWord, kPageBytes - offset);
  std::memcpy(out, page->bytes + offset, first);
  if (first < kWord) {
    const Page* next = page_at(page_address + kPageBytes);
    if (next == nullptr) return std::nullopt;
    std::memcpy(out + first, next->bytes, kWord - first);
  }
  return word;
}

void PageCache::clear() {
  pages_.clear();
  last_page_ = nullptr;
}

}  // namespace vigil::sampler
