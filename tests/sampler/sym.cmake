# Tests of symbols, profile model, encoders and heap profile. Included by this folder's CMakeLists.txt.

add_library(vigil_pprof_checker STATIC
  ${PROJECT_SOURCE_DIR}/tests/support/pprof_checker.cc ${PROJECT_SOURCE_DIR}/tests/support/pprof_reader.cc)
target_link_libraries(vigil_pprof_checker PUBLIC vigil::base PRIVATE vigil_flags ZLIB::ZLIB)
target_include_directories(vigil_pprof_checker SYSTEM PRIVATE ${VIGIL_PROTOZERO_INCLUDE})

vigil_test(pprof-checker LABEL unit
  SOURCES pprof_checker_test.cc
  DEPENDS vigil_pprof_checker)

vigil_test(profile LABEL unit
  SOURCES allocator_frames_test.cc demangle_test.cc flame_page_test.cc legacy_profile_test.cc pprof_encoder_test.cc
          profile_delta_test.cc profile_test.cc profile_text_test.cc
  DEPENDS vigil::sampler vigil_pprof_checker)

# The same library in the states that a distribution's packaging leaves behind. Without a sanitizer: the copies are only
# looked at. -O1 -g: lines that a test can count on.
set(fixture_dir ${PROJECT_BINARY_DIR}/fixtures)
function(vigil_symbol_fixture name)
  add_library(${name} MODULE ${PROJECT_SOURCE_DIR}/tests/fixtures/symbol_fixture.cc)
  target_compile_options(${name} PRIVATE -O1 -g)
  target_compile_definitions(${name} PRIVATE ${ARGN})
  target_link_options(${name} PRIVATE -Wl,--build-id=sha1)
  set_target_properties(${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${fixture_dir})
endfunction()
vigil_symbol_fixture(symbol_fixture)
vigil_symbol_fixture(symbol_fixture_other VIGIL_FIXTURE_OTHER)  # the same names at other addresses

add_custom_command(
  OUTPUT ${fixture_dir}/libsymbol_fixture_bare.so ${fixture_dir}/libsymbol_fixture_link.so
         ${fixture_dir}/libsymbol_fixture_noaranges.so
         ${fixture_dir}/symbol_fixture.debug ${fixture_dir}/symbol_fixture_other.debug
  DEPENDS symbol_fixture symbol_fixture_other
  WORKING_DIRECTORY ${fixture_dir}
  COMMAND ${CMAKE_OBJCOPY} --only-keep-debug libsymbol_fixture.so symbol_fixture.debug
  COMMAND ${CMAKE_OBJCOPY} --only-keep-debug libsymbol_fixture_other.so symbol_fixture_other.debug
  COMMAND ${CMAKE_OBJCOPY} --strip-all libsymbol_fixture.so libsymbol_fixture_bare.so
  COMMAND ${CMAKE_OBJCOPY} --strip-all --add-gnu-debuglink=symbol_fixture.debug
          libsymbol_fixture.so libsymbol_fixture_link.so
  COMMAND ${CMAKE_OBJCOPY} --remove-section=.debug_aranges
          libsymbol_fixture.so libsymbol_fixture_noaranges.so
  VERBATIM)
add_custom_target(symbol_fixtures DEPENDS ${fixture_dir}/libsymbol_fixture_bare.so)

vigil_test(symbols AS_SHIPPED LABEL unit
  SOURCES stack_text_test.cc symbolizer_test.cc symbolizer_files_test.cc
  DEPENDS vigil::sampler ${CMAKE_DL_LIBS})
# Whatever the build type: the tests ask for their own lines.
# Definitions of a source's own do not go with the shared precompiled header.
set_source_files_properties(symbolizer_files_test.cc PROPERTIES
  COMPILE_DEFINITIONS VIGIL_FIXTURE_DIR="${fixture_dir}" SKIP_PRECOMPILE_HEADERS ON)
add_dependencies(test-symbols symbol_fixtures)

vigil_test(heap-profiler AS_SHIPPED LABEL unit
  SOURCES heap_profiler_test.cc heap_recorder_test.cc
  DEPENDS vigil::sampler)

# The same tests over each allocator.
if(NOT VIGIL_SANITIZE)
  vigil_test_objects(vigil_heap_accuracy SOURCES heap_accuracy_test.cc DEPENDS vigil::sampler)
endif()

# The live sampler needs tcmalloc, which a sanitizer replaces.
if(VIGIL_TCMALLOC AND NOT VIGIL_SANITIZE)
  vigil_test(heap-tcmalloc AS_SHIPPED LABEL integration
    SOURCES heap_tcmalloc_test.cc
    DEPENDS vigil::sampler vigil::tcmalloc_samples)
  vigil_test(heap-accuracy-tcmalloc AS_SHIPPED SERIAL LABEL integration
    DEPENDS vigil_heap_accuracy vigil::tcmalloc_samples)
endif()

# malloc is ours, over glibc's.
if(NOT VIGIL_SANITIZE)
  vigil_test(heap-accuracy-glibc AS_SHIPPED SERIAL LABEL integration
    DEPENDS vigil_heap_accuracy vigil::malloc_interpose)
endif()

# The same in front of jemalloc, as a program links it.
find_library(VIGIL_JEMALLOC jemalloc)
if(VIGIL_JEMALLOC AND NOT VIGIL_SANITIZE)
  vigil_test(heap-accuracy-jemalloc AS_SHIPPED SERIAL LABEL integration
    SOURCES heap_jemalloc_test.cc
    DEPENDS vigil_heap_accuracy vigil::malloc_interpose ${VIGIL_JEMALLOC} ${CMAKE_DL_LIBS})
  # Nothing of ours refers to it: it is there for malloc's sake.
  target_link_options(test-heap-accuracy-jemalloc PRIVATE -Wl,--no-as-needed)
endif()

# The real client reads what we write.
vigil_test(pprof-client LABEL integration
  SOURCES pprof_client_test.cc
  DEPENDS vigil::sampler vigil_pprof_checker vigil_test_subprocess)
