// A descriptor that only keeps a number, to be given up when one is needed and there is no other.
#pragma once

#include "base/fd.h"

namespace vigil {

// Opens /dev/null. Unset, with errno, if there is no descriptor left. Thread-safe.
UniqueFd take_placeholder();

// Closes it, unless its number stands for another file by now: a program that has closed all
// descriptors that it did not open may have come to use it itself. Thread-safe.
void drop_placeholder(UniqueFd placeholder);

}  // namespace vigil
