# Run by CPack on what is about to be packed (CPACK_PRE_BUILD_SCRIPTS).
file(GLOB_RECURSE archives ${CPACK_TEMPORARY_DIRECTORY}/*.a ${CPACK_TEMPORARY_DIRECTORY}/*.o)
if(archives)
  find_program(VIGIL_STRIP strip REQUIRED)
  execute_process(COMMAND ${VIGIL_STRIP} --strip-debug --enable-deterministic-archives ${archives}
    COMMAND_ERROR_IS_FATAL ANY)
endif()
