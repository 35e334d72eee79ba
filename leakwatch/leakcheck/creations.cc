#include "leakwatch/leakcheck/creations.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <unwind.h>

#include <array>
#include <atomic>
#include <cerrno>

#include "sampler/descriptor_status.h"

// Defined by vigil::creation_stacks.
extern "C" __attribute__((weak)) void vigil_creation_stacks_are_linked() noexcept;

namespace vigil::leakwatch {
namespace {

struct Record {
  std::atomic<std::uint64_t> ticket{0};
  std::atomic<std::uint64_t> key{0};  // kind and id; 0: nothing
  std::atomic<std::uint64_t> serial{0};
  std::atomic<std::uint64_t> device{0};
  std::atomic<std::uint64_t> inode{0};
  std::atomic<ScopeId> scope{ScopeId::kNone};
  std::atomic<std::uint32_t> count{0};
  std::atomic<bool> complete{false};
  std::array<std::atomic<std::uintptr_t>, kCreationFramesMax> return_addresses{};
};

constexpr std::size_t kWays = 8;
constexpr std::size_t kSets = kCreationRecords / kWays;

constinit std::array<Record, kCreationDescriptorsMax> descriptors{};
constinit std::array<Record, kCreationRecords> others{};
constinit std::atomic<std::uint64_t> next_serial{1};
constinit std::atomic<pid_t> owner{0};
constinit thread_local bool noting = false;

struct ErrnoGuard {
  const int saved = errno;
  ~ErrnoGuard() { errno = saved; }
};

bool is_descriptor(ResourceKind kind) {
  return kind == ResourceKind::kDescriptor || kind == ResourceKind::kSocket;
}

// A descriptor is one thing, whether it is a socket or not.
std::uint64_t key_of(ResourceKind kind, std::uint64_t id) {
  const auto number =
      static_cast<std::uint64_t>(is_descriptor(kind) ? ResourceKind::kDescriptor : kind);
  return (id << 4) | (number + 1);
}

Record* set_of(std::uint64_t key) {
  constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15u;
  return &others[((key * kGolden) >> 40) % kSets * kWays];
}

// The record of `key`; null if it has none.
Record* find_record(ResourceKind kind, std::uint64_t id) {
  const std::uint64_t key = key_of(kind, id);
  if (is_descriptor(kind)) {
    if (id >= descriptors.size()) return nullptr;
    return descriptors[id].key.load(std::memory_order_acquire) == key ? &descriptors[id] : nullptr;
  }
  Record* const set = set_of(key);
  for (std::size_t i = 0; i < kWays; ++i) {
    if (set[i].key.load(std::memory_order_acquire) == key) return &set[i];
  }
  return nullptr;
}

// Threads and processes end without telling us.
bool may_be_replaced(const Record& record) {
  const std::uint64_t key = record.key.load(std::memory_order_relaxed);
  if (key == 0) return true;
  const auto kind = static_cast<ResourceKind>((key & 15) - 1);
  const auto id = static_cast<long>(key >> 4);
  if (kind == ResourceKind::kThread) {
    return ::syscall(SYS_tgkill, owner.load(std::memory_order_relaxed), id, 0) != 0;
  }
  if (kind == ResourceKind::kProcess) return ::kill(static_cast<pid_t>(id), 0) != 0;
  return false;
}

Record* place_for(ResourceKind kind, std::uint64_t id) {
  if (is_descriptor(kind)) return id < descriptors.size() ? &descriptors[id] : nullptr;
  if (Record* known = find_record(kind, id)) return known;
  Record* const set = set_of(key_of(kind, id));
  Record* oldest = set;
  for (std::size_t i = 0; i < kWays; ++i) {
    if (may_be_replaced(set[i])) return &set[i];
    if (set[i].serial.load(std::memory_order_relaxed) <
        oldest->serial.load(std::memory_order_relaxed)) {
      oldest = &set[i];
    }
  }
  return oldest;
}

struct Walk {
  Creator& creator;
  int skip;
};

_Unwind_Reason_Code note_frame(_Unwind_Context* context, void* argument) {
  Walk& walk = *static_cast<Walk*>(argument);
  if (walk.skip-- > 0) return _URC_NO_REASON;
  if (walk.creator.count == kCreationFramesMax) return _URC_NORMAL_STOP;
  const std::uintptr_t address = _Unwind_GetIP(context);
  if (address == 0) {
    walk.creator.complete = true;
    return _URC_NORMAL_STOP;
  }
  walk.creator.return_addresses[walk.creator.count++] = address;
  return _URC_NO_REASON;
}

bool table_is_ours() {
  const pid_t pid = ::getpid();
  pid_t none = 0;
  return owner.compare_exchange_strong(none, pid) || none == pid;
}

void store_file_identity(Record& record, ResourceKind kind, std::uint64_t id) {
  struct stat status {};
  if (!is_descriptor(kind) || ::fstat(static_cast<int>(id), &status) != 0) return;
  record.device.store(status.st_dev, std::memory_order_release);
  record.inode.store(status.st_ino, std::memory_order_release);
}

bool is_same_file(const Record& record, ResourceKind kind, std::uint64_t id) {
  if (!is_descriptor(kind)) return true;
  const auto status = sampler::descriptor_status(static_cast<int>(id));
  return status && record.device.load(std::memory_order_acquire) == status->st_dev &&
         record.inode.load(std::memory_order_acquire) == status->st_ino;
}

}  // namespace

__attribute__((noinline)) void capture_creator(Creator& creator, int own_frames) noexcept {
  creator.scope = current_scope();
  if (noting) return;  // created by the walk itself
  const ErrnoGuard keep;
  noting = true;
  Walk walk{creator, own_frames};
  if (_Unwind_Backtrace(note_frame, &walk) == _URC_END_OF_STACK) creator.complete = true;
  noting = false;
}

void note_creation(ResourceKind kind, std::uint64_t id, const Creator& creator) noexcept {
  const ErrnoGuard keep;
  if (!table_is_ours()) return;
  Record* const record = place_for(kind, id);
  if (record == nullptr) return;
  const std::uint64_t before = record->ticket.load(std::memory_order_relaxed);
  std::uint64_t expected = before;
  // Taken by a slower thread: this creation then has no record.
  if (before % 2 != 0 || !record->ticket.compare_exchange_strong(expected, before + 1)) return;
  record->key.store(key_of(kind, id), std::memory_order_release);
  record->serial.store(next_serial.fetch_add(1, std::memory_order_relaxed),
                       std::memory_order_release);
  record->scope.store(creator.scope, std::memory_order_release);
  store_file_identity(*record, kind, id);
  for (std::uint32_t i = 0; i < creator.count; ++i) {
    record->return_addresses[i].store(creator.return_addresses[i], std::memory_order_release);
  }
  record->count.store(creator.count, std::memory_order_release);
  record->complete.store(creator.complete, std::memory_order_release);
  record->ticket.store(before + 2, std::memory_order_release);
}

__attribute__((noinline)) void note_creation(ResourceKind kind, std::uint64_t id,
                                             int own_frames) noexcept {
  Creator creator;
  capture_creator(creator, own_frames + 1);
  note_creation(kind, id, creator);
}

void forget_creation(ResourceKind kind, std::uint64_t id) noexcept {
  const ErrnoGuard keep;
  if (!table_is_ours()) return;
  Record* const record = find_record(kind, id);
  if (record == nullptr) return;
  std::uint64_t before = record->ticket.load(std::memory_order_relaxed);
  if (before % 2 != 0 || !record->ticket.compare_exchange_strong(before, before + 1)) return;
  record->key.store(0, std::memory_order_release);
  record->ticket.store(before + 2, std::memory_order_release);
}

void adopt_creations_after_fork() noexcept { owner.store(::getpid(), std::memory_order_relaxed); }

bool creations_are_noted() noexcept { return vigil_creation_stacks_are_linked != nullptr; }

std::optional<Creation> find_creation(ResourceKind kind, std::uint64_t id) {
  const Record* const record = find_record(kind, id);
  if (record == nullptr) return std::nullopt;
  const std::uint64_t before = record->ticket.load(std::memory_order_acquire);
  if (before == 0 || before % 2 != 0 || !is_same_file(*record, kind, id)) return std::nullopt;
  Creation creation;
  creation.serial = record->serial.load(std::memory_order_acquire);
  creation.scope = record->scope.load(std::memory_order_acquire);
  const std::uint32_t count = record->count.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < count && i < kCreationFramesMax; ++i) {
    creation.stack.frames.push_back(sampler::FrameAddress::return_address(
        record->return_addresses[i].load(std::memory_order_acquire)));
  }
  creation.stack.end = record->complete.load(std::memory_order_acquire)
                           ? sampler::StackEnd::kComplete
                           : sampler::StackEnd::kTruncated;
  const bool mine = record->key.load(std::memory_order_acquire) == key_of(kind, id);
  if (!mine || record->ticket.load(std::memory_order_acquire) != before) return std::nullopt;
  return creation;
}

}  // namespace vigil::leakwatch
