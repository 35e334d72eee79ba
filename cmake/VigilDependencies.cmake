# What we take from the distribution, each as one target. Nothing is downloaded; scripts/lib.sh lists the packages.

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(ZLIB REQUIRED)
find_path(VIGIL_PROTOZERO_INCLUDE protozero/pbf_writer.hpp REQUIRED)
find_path(VIGIL_LIBDW_INCLUDE elfutils/libdwfl.h REQUIRED)

# libunwind, static and hidden: the shared one exports the _Unwind_* names that C++ exceptions use and takes them over
# where it is loaded before libgcc_s.
find_library(VIGIL_LIBUNWIND_ARCH libunwind-x86_64.a REQUIRED)
find_library(VIGIL_LIBUNWIND libunwind.a REQUIRED)
add_library(vigil_libunwind INTERFACE)
target_link_libraries(vigil_libunwind INTERFACE ${VIGIL_LIBUNWIND_ARCH} ${VIGIL_LIBUNWIND} lzma)
target_link_options(vigil_libunwind INTERFACE LINKER:--exclude-libs,ALL)

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
  target_include_directories(vigil_llhttp SYSTEM PUBLIC ${VIGIL_LLHTTP_INCLUDE})
  # The stricter of the two state machines in the file: line ends and URLs are checked.
  target_compile_definitions(vigil_llhttp PUBLIC LLHTTP_STRICT_MODE=1)
  # Optimized in every preset: at -O0 its state machine is what the tests would wait for.
  target_compile_options(vigil_llhttp PRIVATE -O2)
endif()

# tcmalloc, the allocator of our own executables: the static archive, because the shared one brings libunwind.so in.
# Not under a sanitizer, which needs its own allocator.
find_library(VIGIL_TCMALLOC libtcmalloc.a)
add_library(vigil_tcmalloc INTERFACE)
if(VIGIL_TCMALLOC AND NOT VIGIL_SANITIZE)
  target_link_libraries(vigil_tcmalloc INTERFACE
    -Wl,--whole-archive ${VIGIL_TCMALLOC} -Wl,--no-whole-archive vigil_libunwind Threads::Threads)
endif()
