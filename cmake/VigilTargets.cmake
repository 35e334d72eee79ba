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
if(VIGIL_SANITIZE)
  # -O1: the suites finish in minutes, and stacks keep their frames. Frame pointers make the reports' stacks whole.
  target_compile_options(vigil_flags INTERFACE
    -O1 -fsanitize=${VIGIL_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
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

# vigil_library(NAME SOURCES file… [DEPENDS target…] [PRIVATE_DEPENDS target…])
# The static library of one folder, target vigil_NAME with alias vigil::NAME.
function(vigil_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;PRIVATE_DEPENDS" ${ARGN})
  add_library(vigil_${name} STATIC ${ARG_SOURCES})
  add_library(vigil::${name} ALIAS vigil_${name})
  target_compile_features(vigil_${name} PUBLIC cxx_std_20)
  target_include_directories(vigil_${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/vigil>)
  target_link_libraries(vigil_${name} PUBLIC ${ARG_DEPENDS} PRIVATE $<BUILD_INTERFACE:vigil_flags> ${ARG_PRIVATE_DEPENDS})
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
