# Symbols, the profile model with its encoders and texts, the heap profile. Included by this folder's CMakeLists.txt.
target_sources(vigil_sampler PRIVATE
  allocator_frames.cc
  demangle.cc
  flame_page.cc
  flame_page_script.cc
  heap_collector.cc
  heap_profiler.cc
  libdw_api.cc
  legacy_profile.cc
  pprof_encoder.cc
  profile.cc
  profile_delta.cc
  profile_text.cc
  stack_text.cc
  symbolizer.cc
  symbolizer_debugfile.cc
  symbolizer_dwarf.cc
  symbolizer_module.cc
  tcmalloc_api.cc)

# libdw and tcmalloc give headers only: libdw is loaded at run time (libdw_api.h), tcmalloc is the program's
# (tcmalloc_api.h).
target_include_directories(vigil_sampler SYSTEM PRIVATE ${VIGIL_LIBDW_INCLUDE} ${VIGIL_PROTOZERO_INCLUDE})
target_link_libraries(vigil_sampler PRIVATE ZLIB::ZLIB ${CMAKE_DL_LIBS})
