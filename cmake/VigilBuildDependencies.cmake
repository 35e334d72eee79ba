# What only the compilation of vigil itself needs, beyond VigilDependencies.cmake: headers, and llhttp, which is compiled.

find_package(nlohmann_json REQUIRED)
find_path(VIGIL_PROTOZERO_INCLUDE protozero/pbf_writer.hpp REQUIRED)
find_path(VIGIL_LIBDW_INCLUDE elfutils/libdwfl.h REQUIRED)

# llhttp: the distribution's library where there is one, else the C sources that Debian's node-llhttp ships.
find_library(VIGIL_LLHTTP llhttp)
if(VIGIL_LLHTTP)
  add_library(vigil_llhttp INTERFACE)
  target_link_libraries(vigil_llhttp INTERFACE ${VIGIL_LLHTTP})
else()
  find_path(VIGIL_LLHTTP_SOURCE llhttp.c PATHS /usr/share/llhttp NO_DEFAULT_PATH REQUIRED)
  find_path(VIGIL_LLHTTP_INCLUDE llhttp.h PATHS /usr/share/include/llhttp NO_DEFAULT_PATH REQUIRED)
  add_library(vigil_llhttp STATIC
    ${VIGIL_LLHTTP_SOURCE}/llhttp.c ${VIGIL_LLHTTP_SOURCE}/api.c ${VIGIL_LLHTTP_SOURCE}/http.c)
  target_include_directories(vigil_llhttp SYSTEM PUBLIC $<BUILD_INTERFACE:${VIGIL_LLHTTP_INCLUDE}>)
  # The stricter of the two state machines in the file: line ends and URLs are checked.
  target_compile_definitions(vigil_llhttp PUBLIC LLHTTP_STRICT_MODE=1)
  # Optimized in every preset: at -O0 its state machine is what the tests would wait for.
  target_compile_options(vigil_llhttp PRIVATE -O2)
endif()
vigil_install(llhttp)
