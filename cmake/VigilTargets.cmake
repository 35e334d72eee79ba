# How vigil's own targets are made: one library a folder, the same warnings and sanitizers everywhere.

option(VIGIL_FUZZ "Build the libFuzzer targets (needs clang)" OFF)
option(VIGIL_COVERAGE "Count which lines and branches run (gcov)" OFF)

# Warnings and sanitizers, as an interface target that every target of ours links privately.
# Missing initializers are no mistake: options are structs with defaults, given by name.
add_library(vigil_flags INTERFACE)
target_compile_options(vigil_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wundef -Werror=return-type
  -Wno-missing-field-initializers>)
if(PROJECT_IS_TOP_LEVEL)
  target_compile_options(vigil_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
# With a precompiled header g++ 12 says of std::string's operator+, where it is inlined, that it writes out of bounds or over
# itself (in proc_thread.cc, libdw_api.cc, lock_graph.cc: it does not); without one the same is silent.
# -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON has these warnings, and the address sanitizer looks at what happens.
if(NOT CMAKE_DISABLE_PRECOMPILE_HEADERS)
  target_compile_options(vigil_flags INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:
    -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow -Wno-stringop-overread>)
endif()
if(VIGIL_SANITIZE)
  # -O1: the suites finish in minutes, and stacks keep their frames. Frame pointers make the reports' stacks whole.
  target_compile_options(vigil_flags INTERFACE
    -O1 -fsanitize=${VIGIL_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  # UBSan's vptr check asks the kernel through a pipe of its own whether an object can be read, and takes "no descriptor left",
  # which some tests are about, for no (IsAccessibleMemoryRange() in compiler-rt's sanitizer_posix_libcdep.cpp,
  # https://github.com/llvm/llvm-project/blob/main/compiler-rt/lib/sanitizer_common/sanitizer_posix_libcdep.cpp).
  target_compile_options(vigil_flags INTERFACE -fno-sanitize=vptr)
  target_link_options(vigil_flags INTERFACE -fsanitize=${VIGIL_SANITIZE})
  # Under a sanitizer g++ 12 takes members of std::function inside <regex> for uninitialized (gcc.gnu.org/PR105562).
  target_compile_options(vigil_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()
if(VIGIL_COVERAGE)
  # Atomic: threads and signal handlers count too.
  target_compile_options(vigil_flags INTERFACE -Og --coverage -fprofile-update=atomic)
  target_link_options(vigil_flags INTERFACE --coverage)
endif()
if(VIGIL_FUZZ)
  # Tells the fuzzer which branches an input took; its main comes with the targets (tests/fuzz).
  target_compile_options(vigil_flags INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(vigil_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# vigil_precompile(TARGET [HEADER…]): much of a file's time in the compiler goes into the headers of the standard library and
# of fmt. vigil_base compiles those that most files include once, and TARGET, which has its flags, takes them from there; with
# further headers it compiles its own. A file includes what it needs all the same: scripts/tidy, and
# -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON, compile without.
function(vigil_precompile target)
  if(target STREQUAL vigil_base OR ARGN)
    target_precompile_headers(${target} PRIVATE
      <algorithm> <array> <atomic> <chrono> <condition_variable> <functional> <map> <memory> <mutex> <optional> <span>
      <stop_token> <string> <string_view> <thread> <unordered_map> <utility> <vector> <fmt/core.h> ${ARGN})
  else()
    target_precompile_headers(${target} REUSE_FROM vigil_base)
  endif()
endfunction()

# vigil_library(NAME SOURCES file… [DEPENDS target…] [PRIVATE_DEPENDS target…] [PRECOMPILE header…])
# The static library of one folder, target vigil_NAME with alias vigil::NAME.
function(vigil_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;PRIVATE_DEPENDS;PRECOMPILE" ${ARGN})
  add_library(vigil_${name} STATIC ${ARG_SOURCES})
  add_library(vigil::${name} ALIAS vigil_${name})
  target_compile_features(vigil_${name} PUBLIC cxx_std_20)
  target_include_directories(vigil_${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/vigil>)
  target_link_libraries(vigil_${name} PUBLIC ${ARG_DEPENDS} PRIVATE $<BUILD_INTERFACE:vigil_flags> ${ARG_PRIVATE_DEPENDS})
  vigil_precompile(vigil_${name} ${ARG_PRECOMPILE})
  vigil_install(${name})
endfunction()

# vigil_install(NAME): target vigil_NAME is installed, and is vigil::NAME for who finds the package (VigilInstall.cmake).
function(vigil_install name)
  if(VIGIL_INSTALL)
    set_target_properties(vigil_${name} PROPERTIES EXPORT_NAME ${name})
    install(TARGETS vigil_${name} EXPORT vigil-targets
      ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev
      OBJECTS DESTINATION ${CMAKE_INSTALL_LIBDIR}/vigil COMPONENT dev)
  endif()
endfunction()
