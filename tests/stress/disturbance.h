// What a thread does to a program that is being profiled: one loop over one thing that profilers are
// known to stumble over, which checks each time that nobody has disturbed it in turn.
//
//   void throw_and_catch(Turn& turn) {
//     while (turn.goes_on()) turn.expect(caught_in_the_end(), "an exception was lost");
//   }
//
// The matrix (race_matrix.h) runs any number of them beside all collectors.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

namespace vigil::test {

// Where all disturbances meet, so that locks are contended too.
class Meeting {
 public:
  // Holds the lock for some hundred nanoseconds.
  void attend();

 private:
  std::mutex mutex_;
  std::uint64_t attended_ = 0;  // guarded by mutex_
};

// A thread's part in one run. goes_on() and expect() from that thread, the rest from any.
class Turn {
 public:
  Turn(const std::atomic<bool>& stop, Meeting& meeting) : stop_(stop), meeting_(meeting) {}

  // False when the run is over. Otherwise counts a round and goes to the meeting.
  bool goes_on();
  // Notes `what` if `holds` is false; the first is kept, all are counted.
  void expect(bool holds, std::string_view what);

  std::uint64_t rounds() const { return rounds_.load(); }
  std::uint64_t faults() const { return faults_.load(); }
  std::string first_fault() const;

 private:
  const std::atomic<bool>& stop_;
  Meeting& meeting_;
  std::atomic<std::uint64_t> rounds_{0};
  std::atomic<std::uint64_t> faults_{0};
  mutable std::mutex mutex_;
  std::string first_fault_;  // guarded by mutex_
};

struct Disturbance {
  std::string_view name;
  void (*run)(Turn& turn);
};

// All of them.
std::span<const Disturbance> disturbances();

// disturb_runtime.cc: the loader, the unwinder, the allocator, threads.
void open_and_close_libraries(Turn& turn);
void walk_the_loaders_list(Turn& turn);
void throw_and_catch(Turn& turn);
void allocate_all_sizes(Turn& turn);
void create_threads(Turn& turn);

// disturb_processes.cc
void fork_children(Turn& turn);
void vfork_and_exec(Turn& turn);

// disturb_stacks.cc: stacks that move, grow, or are left in the middle.
void switch_to_alternate_stack(Turn& turn);
void recurse_deeply(Turn& turn);
void jump_out(Turn& turn);
void jump_out_of_handler(Turn& turn);

// disturb_code.cc: code that no unwinder understands, and signals of the program's own.
void run_without_frame_pointer(Turn& turn);
void run_without_unwind_tables(Turn& turn);
void take_own_signals(Turn& turn);

}  // namespace vigil::test
