# What programs with vigil's libraries take from the distribution when they are linked, each as one target. Nothing is
# downloaded; scripts/lib.sh lists the packages.
#
# Read twice: by this build, and, installed, by vigilConfig.cmake for whoever links the installed libraries. So both link the
# same things in the same way, and paths of this machine stay out of the package. The targets are imported ones because
# CMake exports every other target that a library names.

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(ZLIB REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)

# find_package's targets belong to a folder, and are looked for again where a second folder wants vigil; ours are global.
if(TARGET vigil_libunwind)
  return()
endif()

# libunwind, static and hidden: the shared one exports the _Unwind_* names that C++ exceptions use and takes them over
# where it is loaded before libgcc_s.
find_library(VIGIL_LIBUNWIND_ARCH libunwind-x86_64.a REQUIRED)
find_library(VIGIL_LIBUNWIND libunwind.a REQUIRED)
# libgcc_s comes before it on the link line, or the program's own _Unwind_Resume is taken from libunwind.a while
# libstdc++ throws with libgcc_s's: the first exception that passes a destructor is then a segmentation fault (tried).
# Debian's archives are not position-independent (R_X86_64_32 in .rela.text of Ginit.o, Gglobal.o, …), so programs with
# them are linked without PIE, and they cannot go into a shared object.
add_library(vigil_libunwind INTERFACE IMPORTED GLOBAL)
target_link_libraries(vigil_libunwind INTERFACE gcc_s ${VIGIL_LIBUNWIND_ARCH} ${VIGIL_LIBUNWIND} lzma)
# Hides these two archives only: with ALL, tcmalloc's malloc would be hidden from shared libraries, and what libstdc++.so
# allocates in one heap the program frees in the other (tried: a crash before main's first line).
target_link_options(vigil_libunwind INTERFACE LINKER:--exclude-libs,libunwind-x86_64.a:libunwind.a
  $<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:-no-pie>)

# wslay has neither a CMake package nor a pkg-config file.
find_library(VIGIL_WSLAY wslay REQUIRED)
find_path(VIGIL_WSLAY_INCLUDE wslay/wslay.h REQUIRED)
add_library(vigil_wslay INTERFACE IMPORTED GLOBAL)
target_include_directories(vigil_wslay SYSTEM INTERFACE ${VIGIL_WSLAY_INCLUDE})
target_link_libraries(vigil_wslay INTERFACE ${VIGIL_WSLAY})

find_library(VIGIL_NGHTTP2 nghttp2 REQUIRED)
find_path(VIGIL_NGHTTP2_INCLUDE nghttp2/nghttp2.h REQUIRED)
add_library(vigil_nghttp2 INTERFACE IMPORTED GLOBAL)
target_link_libraries(vigil_nghttp2 INTERFACE ${VIGIL_NGHTTP2})

# tcmalloc, the allocator of our own executables: the static archive, because the shared one brings libunwind.so in.
# Not under a sanitizer, which needs its own allocator.
find_library(VIGIL_TCMALLOC libtcmalloc.a)
add_library(vigil_tcmalloc INTERFACE IMPORTED GLOBAL)
if(VIGIL_TCMALLOC AND NOT VIGIL_SANITIZE)
  # A target, not a path between flags, so that CMake puts libunwind behind it even where something else brought that too.
  add_library(vigil_tcmalloc_archive STATIC IMPORTED GLOBAL)
  set_target_properties(vigil_tcmalloc_archive PROPERTIES
    IMPORTED_LOCATION ${VIGIL_TCMALLOC}
    INTERFACE_LINK_LIBRARIES "vigil_libunwind;Threads::Threads")
  target_link_libraries(vigil_tcmalloc INTERFACE "$<LINK_LIBRARY:WHOLE_ARCHIVE,vigil_tcmalloc_archive>")
endif()
