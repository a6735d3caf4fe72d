# Finds Debian's LLVM/MLIR 22, and gives the compiler's own libraries one way to
# be declared: llmopt_library(name sources... LINK libs...). All of them share
# one precompiled header and link libMLIR and libLLVM dynamically.
set(MLIR_DIR /usr/lib/llvm-22/lib/cmake/mlir CACHE PATH "MLIR's CMake package")
find_program(LLVM_TABLEGEN_EXE llvm-tblgen HINTS /usr/lib/llvm-22/bin REQUIRED)
set(LLVM_EXTERNAL_LIT /usr/lib/llvm-22/bin/lit CACHE FILEPATH "lit")
find_package(MLIR REQUIRED CONFIG)
if(NOT LLVM_PACKAGE_VERSION VERSION_GREATER_EQUAL 22)
  message(FATAL_ERROR "LLVM/MLIR 22 is needed, found ${LLVM_PACKAGE_VERSION}")
endif()
list(APPEND CMAKE_MODULE_PATH ${MLIR_CMAKE_DIR} ${LLVM_CMAKE_DIR})
include(TableGen)
include(AddLLVM)
include(AddMLIR)

# LLVM_DEFINITIONS is one string; its ABI macro is the compiler's default already.
separate_arguments(LLMOPT_LLVM_DEFINITIONS UNIX_COMMAND "${LLVM_DEFINITIONS}")
list(FILTER LLMOPT_LLVM_DEFINITIONS EXCLUDE REGEX "_GLIBCXX_USE_CXX11_ABI")

add_library(llmopt_mlir INTERFACE)
target_link_libraries(llmopt_mlir INTERFACE llmopt_compile MLIR LLVM)
target_include_directories(llmopt_mlir SYSTEM INTERFACE ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
target_compile_definitions(llmopt_mlir INTERFACE ${LLMOPT_LLVM_DEFINITIONS})
target_compile_options(llmopt_mlir INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fno-exceptions>)

file(WRITE ${CMAKE_BINARY_DIR}/pch/pch.cpp.in "")
configure_file(${CMAKE_BINARY_DIR}/pch/pch.cpp.in ${CMAKE_BINARY_DIR}/pch/pch.cpp COPYONLY)
add_library(llmopt_pch OBJECT ${CMAKE_BINARY_DIR}/pch/pch.cpp)
target_link_libraries(llmopt_pch PRIVATE llmopt_mlir)
target_precompile_headers(llmopt_pch PRIVATE ${PROJECT_SOURCE_DIR}/cmake/pch.h)

function(llmopt_library name)
  cmake_parse_arguments(ARG "NO_PCH" "" "LINK;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PUBLIC llmopt_mlir ${ARG_LINK})
  if(NOT ARG_NO_PCH)
    target_precompile_headers(${name} REUSE_FROM llmopt_pch)
  endif()
  if(ARG_DEPENDS)
    add_dependencies(${name} ${ARG_DEPENDS})
  endif()
endfunction()

function(llmopt_executable name)
  cmake_parse_arguments(ARG "NO_PCH" "" "LINK" ${ARGN})
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE llmopt_mlir ${ARG_LINK})
  if(NOT ARG_NO_PCH)
    target_compile_options(${name} PRIVATE -fPIC) # as the shared header was compiled
    target_precompile_headers(${name} REUSE_FROM llmopt_pch)
  endif()
endfunction()
