# libvigil_agent.so: the agent in one file that any program can be started with. Included by agent/CMakeLists.txt.
#
# Everything but the C library and libunwind's remote half (dlopen'ed when the agent starts, as libdw is) is inside and
# hidden: libstdc++ and libgcc too, for programs in C, and so that a program's own versions do not matter. The archives are
# named here one by one, instead of by their targets, because those bring the shared libraries of an executable.
set(VIGIL_AGENT_ARCHIVES
  vigil_agent vigil_endpoints vigil_http vigil_leakcheck vigil_leakwatch vigil_sampler vigil_base)
find_library(VIGIL_ZLIB_STATIC libz.a REQUIRED)

add_library(vigil-agent-so SHARED
  preload/armed.cc preload/c_interface.cc preload/entry.cc preload/fmt_here.cc preload/own_threads.cc preload/start_pages.cc
  ../sampler/libunwind_shared.cc ../server-core/without_http2.cc ../server-core/without_tls.cc)
set_target_properties(vigil-agent-so PROPERTIES
  OUTPUT_NAME vigil_agent
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib
  LINK_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/preload/exports.map;${CMAKE_CURRENT_SOURCE_DIR}/preload/interposed.list")
target_include_directories(vigil-agent-so PRIVATE ${PROJECT_SOURCE_DIR})
target_compile_definitions(vigil-agent-so PRIVATE VIGIL_VERSION="${PROJECT_VERSION}")
# Optimized in every preset: the jump to the program's main.
set_source_files_properties(preload/entry.cc PROPERTIES COMPILE_OPTIONS -O2)
add_dependencies(vigil-agent-so ${VIGIL_AGENT_ARCHIVES} vigil_malloc_interpose vigil_contention_hooks)
target_link_libraries(vigil-agent-so PRIVATE vigil_flags
  -Wl,--whole-archive $<TARGET_FILE:vigil_malloc_interpose> $<TARGET_FILE:vigil_contention_hooks> -Wl,--no-whole-archive
  -Wl,--start-group)
foreach(archive IN LISTS VIGIL_AGENT_ARCHIVES)
  target_link_libraries(vigil-agent-so PRIVATE $<TARGET_FILE:${archive}>)
  set_property(TARGET vigil-agent-so APPEND PROPERTY LINK_DEPENDS $<TARGET_FILE:${archive}>)
endforeach()
target_link_libraries(vigil-agent-so PRIVATE
  -Wl,--end-group vigil_llhttp ${VIGIL_ZLIB_STATIC})
target_link_options(vigil-agent-so PRIVATE
  -static-libstdc++ -static-libgcc
  LINKER:--version-script=${CMAKE_CURRENT_SOURCE_DIR}/preload/exports.map
  LINKER:--dynamic-list=${CMAKE_CURRENT_SOURCE_DIR}/preload/interposed.list
  LINKER:--wrap=pthread_create LINKER:-z,nodelete LINKER:-z,defs LINKER:-z,now LINKER:--gc-sections)
