// Reserves: descriptors and memory that are kept back, so that the debug pages answer when the program
// has used up both. That is when somebody wants to read them.
//
//   Reserves reserves({.descriptors = 16, .memory_bytes = 2 << 20});
//   {
//     Reserves::Loan loan = reserves.lend_descriptors();   // free numbers, if the process had none
//     …                                                    // open, read, close
//   }                                                      // taken back
//
// Not a guarantee: between our closing a descriptor and the page's opening one, a thread of the
// program may take the number. There are several, and each page needs one or two at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>

#include "base/placeholder.h"

namespace vigil::endpoints {

struct ReservesOptions {
  std::size_t descriptors = 16;  // open on /dev/null meanwhile
  // Touched, so that the kernel has really given it. What a dump of some hundred threads takes. Not the
  // allocator's: no heap profile shows it, and a child of fork(2) has none of it.
  std::size_t memory_bytes = 2 * 1024 * 1024;
};

// Thread-safe.
class Reserves {
 public:
  // Takes what it can get.
  explicit Reserves(ReservesOptions options);
  ~Reserves();
  Reserves(const Reserves&) = delete;
  Reserves& operator=(const Reserves&) = delete;

  // Takes the descriptors back when it is destroyed. The reserves must outlive it.
  struct TakeBack {
    void operator()(Reserves* reserves) const { reserves->end_loan(); }
  };
  using Loan = std::unique_ptr<Reserves, TakeBack>;

  // If the process has no descriptor left (EMFILE, ENFILE), closes those kept back for as long as
  // the loan lasts; else the loan is empty. Loans at the same time share them. Cost without need:
  // two system calls.
  Loan lend_descriptors();

  // Gives the memory back to the system, after std::bad_alloc. false: it is gone already.
  bool release_memory();
  // Takes it again, if there is enough by now.
  void restock_memory();

  // For the metrics and tests.
  std::size_t descriptors_held() const;
  bool memory_held() const;

 private:
  void end_loan();

  const ReservesOptions options_;
  mutable std::mutex mutex_;
  Placeholders descriptors_;
  std::size_t loans_ = 0;   // guarded by mutex_
  void* memory_ = nullptr;  // guarded by mutex_; a mapping of options_.memory_bytes
};

}  // namespace vigil::endpoints
