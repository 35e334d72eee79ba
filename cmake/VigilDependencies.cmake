# What we take from the distribution, each as one target. Nothing is downloaded; scripts/lib.sh lists the packages.

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(ZLIB REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)
find_path(VIGIL_PROTOZERO_INCLUDE protozero/pbf_writer.hpp REQUIRED)
find_path(VIGIL_LIBDW_INCLUDE elfutils/libdwfl.h REQUIRED)

# libunwind, static and hidden: the shared one exports the _Unwind_* names that C++ exceptions use and takes them over
# where it is loaded before libgcc_s.
find_library(VIGIL_LIBUNWIND_ARCH libunwind-x86_64.a REQUIRED)
find_library(VIGIL_LIBUNWIND libunwind.a REQUIRED)
# libgcc_s comes before it on the link line, or the program's own _Unwind_Resume is taken from libunwind.a while
# libstdc++ throws with libgcc_s's: the first exception that passes a destructor is then a segmentation fault (tried).
# Debian's archives are not position-independent (R_X86_64_32 in .rela.text of Ginit.o, Gglobal.o, …), so programs with
# them are linked without PIE, and they cannot go into a shared object.
add_library(vigil_libunwind INTERFACE)
target_link_libraries(vigil_libunwind INTERFACE gcc_s ${VIGIL_LIBUNWIND_ARCH} ${VIGIL_LIBUNWIND} lzma)
# Hides these two archives only: with ALL, tcmalloc's malloc would be hidden from shared libraries, and what libstdc++.so
# allocates in one heap the program frees in the other (tried: a crash before main's first line).
target_link_options(vigil_libunwind INTERFACE LINKER:--exclude-libs,libunwind-x86_64.a:libunwind.a
  $<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:-no-pie>)

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

# wslay has neither a CMake package nor a pkg-config file.
find_library(VIGIL_WSLAY wslay REQUIRED)
find_path(VIGIL_WSLAY_INCLUDE wslay/wslay.h REQUIRED)
add_library(vigil_wslay INTERFACE)
target_include_directories(vigil_wslay SYSTEM INTERFACE ${VIGIL_WSLAY_INCLUDE})
target_link_libraries(vigil_wslay INTERFACE ${VIGIL_WSLAY})

find_library(VIGIL_NGHTTP2 nghttp2 REQUIRED)
find_path(VIGIL_NGHTTP2_INCLUDE nghttp2/nghttp2.h REQUIRED)
add_library(vigil_nghttp2 INTERFACE)
target_link_libraries(vigil_nghttp2 INTERFACE ${VIGIL_NGHTTP2})

# tcmalloc, the allocator of our own executables: the static archive, because the shared one brings libunwind.so in.
# Not under a sanitizer, which needs its own allocator.
find_library(VIGIL_TCMALLOC libtcmalloc.a)
add_library(vigil_tcmalloc INTERFACE)
if(VIGIL_TCMALLOC AND NOT VIGIL_SANITIZE)
  # A target, not a path between flags, so that CMake puts libunwind behind it even where something else brought that too.
  add_library(vigil_tcmalloc_archive STATIC IMPORTED)
  set_target_properties(vigil_tcmalloc_archive PROPERTIES
    IMPORTED_LOCATION ${VIGIL_TCMALLOC}
    INTERFACE_LINK_LIBRARIES "vigil_libunwind;Threads::Threads")
  target_link_libraries(vigil_tcmalloc INTERFACE "$<LINK_LIBRARY:WHOLE_ARCHIVE,vigil_tcmalloc_archive>")
endif()
