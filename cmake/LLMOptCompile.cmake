# Compile settings shared by every target of the project.
add_library(llmopt_compile INTERFACE)
target_compile_options(llmopt_compile INTERFACE -Wall -Wextra -Wno-unused-parameter)
target_include_directories(llmopt_compile INTERFACE
  ${PROJECT_SOURCE_DIR}/include ${PROJECT_BINARY_DIR}/include)
if(LLMOPT_SANITIZE)
  target_compile_options(llmopt_compile INTERFACE
    -fsanitize=${LLMOPT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
  target_link_options(llmopt_compile INTERFACE -fsanitize=${LLMOPT_SANITIZE})
endif()

find_program(LLMOPT_CCACHE ccache)
if(LLMOPT_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${LLMOPT_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER
    ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${LLMOPT_CCACHE})
endif()
