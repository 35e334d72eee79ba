// What only the agent's start needs of the agent's code, out of the process's memory again.
#pragma once

namespace vigil::preload {

// Unmaps the pages of code and constants of this library, and of the libraries that read debug information and unwind for it,
// until somebody needs them: they are in the page cache, and come back by a minor fault of some 0.5 us for 64 KiB. Some 2.5 MiB
// of resident memory, most of which an idle agent never looks at again. What was written (relocated data) stays, and so does
// memory that the program has locked. A debugger's breakpoints in these files, set before, would be gone.
//
// To be called when the agent serves. Any thread; takes the loader's lock for reading the list of modules.
void let_go_of_start_pages() noexcept;

}  // namespace vigil::preload
