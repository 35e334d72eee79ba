# cmake --install and CPack. Two components, each a Debian package:
#   agent   vigil-agent: libvigil_agent.so, vigil, vigil-leakcheck; for machines that run servers
#   dev     libvigil-dev: static libraries, headers, vigilConfig.cmake, pkg-config files; for machines that build them
# Every path in the installed files is relative to them: cmake --install build --prefix ANYWHERE.

include(CMakePackageConfigHelpers)
set(VIGIL_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/vigil)
set(VIGIL_INCLUDE_DIR ${CMAKE_INSTALL_INCLUDEDIR}/vigil)

# One folder below include/, so that #include "server-core/server.h" is what it is in the tree.
foreach(folder base sampler leakwatch server-core endpoints agent)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${folder} DESTINATION ${VIGIL_INCLUDE_DIR} COMPONENT dev
    FILES_MATCHING PATTERN "*.h"
    PATTERN version.h EXCLUDE PATTERN command EXCLUDE PATTERN demo EXCLUDE PATTERN preload EXCLUDE
    REGEX "/agent/leakcheck$" EXCLUDE)
endforeach()

install(EXPORT vigil-targets FILE vigilTargets.cmake NAMESPACE vigil:: DESTINATION ${VIGIL_CMAKE_DIR} COMPONENT dev)
configure_package_config_file(
  ${CMAKE_CURRENT_LIST_DIR}/vigilConfig.cmake.in ${PROJECT_BINARY_DIR}/cmake/vigilConfig.cmake
  INSTALL_DESTINATION ${VIGIL_CMAKE_DIR})
# Before 1.0 a minor version may break its users, as 0.1 and 0.2 are not one another's.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cmake/vigilConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(
  FILES ${PROJECT_BINARY_DIR}/cmake/vigilConfig.cmake ${PROJECT_BINARY_DIR}/cmake/vigilConfigVersion.cmake
    ${CMAKE_CURRENT_LIST_DIR}/VigilDependencies.cmake
  DESTINATION ${VIGIL_CMAKE_DIR} COMPONENT dev)

# pkg-config's files find the prefix from where they are.
file(RELATIVE_PATH VIGIL_PC_TO_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
set(VIGIL_PC_LLHTTP -lvigil_llhttp)
if(VIGIL_LLHTTP)
  set(VIGIL_PC_LLHTTP -lllhttp)
endif()
foreach(name leakwatch server agent)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/vigil-${name}.pc.in ${PROJECT_BINARY_DIR}/cmake/vigil-${name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/cmake/vigil-${name}.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)
endforeach()

if(TARGET vigil-agent-so)
  install(TARGETS vigil-agent-so LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT agent)
  # Its C interface, for programs that open it at run time and include nothing else of vigil.
  install(FILES ${PROJECT_SOURCE_DIR}/agent/vigil_agent.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT agent)
endif()
foreach(program vigil-command vigil-leakcheck)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT agent)
  endif()
endforeach()
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE
  DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/vigil-agent RENAME copyright COMPONENT agent)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE
  DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/libvigil-dev RENAME copyright COMPONENT dev)

# cd build/release && cpack: two .deb files.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VENDOR vigil)
set(CPACK_PACKAGE_CONTACT "the vigil project <vigil@localhost>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_COMPONENTS_ALL agent dev)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_STRIP_FILES ON)
# CPack strips programs and shared libraries; this strips the debug information of the static ones.
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/strip_archives.cmake)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION devel)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER ${CPACK_PACKAGE_CONTACT})
set(CPACK_COMPONENT_AGENT_DESCRIPTION "diagnostics for running C++ servers
 libvigil_agent.so gives a server that it is preloaded into a debug listener with
 profiles, stack dumps and a watchdog for stuck handlers. vigil(1) starts programs
 with it and reads it; vigil-leakcheck finds what a server does not end.")
set(CPACK_COMPONENT_DEV_DESCRIPTION "HTTP server core and diagnostics for C++ servers (development)
 Static libraries and headers: the HTTP server, the debug listener, and the
 registry and watchdog of tasks. For CMake (find_package) and pkg-config.")
set(CPACK_DEBIAN_AGENT_PACKAGE_NAME vigil-agent)
set(CPACK_DEBIAN_AGENT_PACKAGE_SHLIBDEPS ON)
# Opened at run time: unwinding and symbols.
set(CPACK_DEBIAN_AGENT_PACKAGE_DEPENDS "libunwind8, libdw1")
set(CPACK_DEBIAN_DEV_PACKAGE_NAME libvigil-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS
  "libfmt-dev, libunwind-dev, liblzma-dev, zlib1g-dev, libssl-dev, libnghttp2-dev, libwslay-dev, libdw1")
set(CPACK_DEBIAN_DEV_PACKAGE_RECOMMENDS libgoogle-perftools-dev)
include(CPack)
