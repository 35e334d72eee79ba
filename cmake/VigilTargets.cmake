# How vigil's own targets are made: one library a folder, the same warnings and sanitizers everywhere.

option(VIGIL_FUZZ "Build the libFuzzer targets (needs clang)" OFF)

# Warnings and sanitizers, as an interface target that every target of ours links privately.
# Missing initializers are no mistake: options are structs with defaults, given by name.
add_library(vigil_flags INTERFACE)
target_compile_options(vigil_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wundef -Werror=return-type
  -Wno-missing-field-initializers>)
if(PROJECT_IS_TOP_LEVEL)
  target_compile_options(vigil_flags INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
if(VIGIL_SANITIZE)
  # -O1: the suites finish in minutes, and stacks keep their frames. Frame pointers make the reports' stacks whole.
  target_compile_options(vigil_flags INTERFACE
    -O1 -fsanitize=${VIGIL_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(vigil_flags INTERFACE -fsanitize=${VIGIL_SANITIZE})
  # Under a sanitizer g++ 12 takes members of std::function inside <regex> for uninitialized (gcc.gnu.org/PR105562).
  target_compile_options(vigil_flags INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()
if(VIGIL_FUZZ)
  # Tells the fuzzer which branches an input took; its main comes with the targets (tests/fuzz).
  target_compile_options(vigil_flags INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(vigil_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# vigil_library(NAME SOURCES file… [DEPENDS target…] [PRIVATE_DEPENDS target…])
# The static library of one folder, target vigil_NAME with alias vigil::NAME.
function(vigil_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;PRIVATE_DEPENDS" ${ARGN})
  add_library(vigil_${name} STATIC ${ARG_SOURCES})
  add_library(vigil::${name} ALIAS vigil_${name})
  target_include_directories(vigil_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(vigil_${name} PUBLIC ${ARG_DEPENDS} PRIVATE vigil_flags ${ARG_PRIVATE_DEPENDS})
endfunction()
