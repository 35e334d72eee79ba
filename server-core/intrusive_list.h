// IntrusiveList: objects in a row, linked through two of their own members, so that putting one in
// cannot fail for want of memory.
//
//   using ConnectionList =
//       IntrusiveList<Connection, &Connection::queue_next, &Connection::queue_previous>;
#pragma once

namespace vigil::http {

// An object is in one list at a time that uses the same members. Owns nothing. Not thread-safe.
template <typename T, T* T::*kNext, T* T::*kPrevious>
class IntrusiveList {
 public:
  bool empty() const { return first_ == nullptr; }
  // nullptr if there is none.
  T* front() const { return first_; }

  void push_back(T& object) {
    object.*kNext = nullptr;
    object.*kPrevious = last_;
    (last_ != nullptr ? last_->*kNext : first_) = &object;
    last_ = &object;
  }

  // nullptr if there is none.
  T* pop_front() {
    T* object = first_;
    if (object != nullptr) remove(*object);
    return object;
  }

  // `object` must be in this list.
  void remove(T& object) {
    T* next = object.*kNext;
    T* previous = object.*kPrevious;
    (previous != nullptr ? previous->*kNext : first_) = next;
    (next != nullptr ? next->*kPrevious : last_) = previous;
  }

 private:
  T* first_ = nullptr;
  T* last_ = nullptr;
};

}  // namespace vigil::http
