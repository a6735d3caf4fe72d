// The library as a file: what it needs, what it exports, how large it is.
#include "llmopt/runtime.h"

#include <cstdio>
#include <cstdlib>
#include <gtest/gtest.h>
#include <sstream>
#include <string>

#if !LLMOPT_SANITIZED

namespace {
std::string output(const std::string &command) {
  std::string text;
  FILE *pipe = popen(command.c_str(), "r");
  if (!pipe)
    return text;
  char buffer[4096];
  while (size_t n = fread(buffer, 1, sizeof(buffer), pipe))
    text.append(buffer, n);
  EXPECT_EQ(pclose(pipe), 0) << command;
  return text;
}
} // namespace

TEST(Library, NeedsNoCxxLibrary) {
  for (const char *file : {LLMOPT_RT_SHARED, LLMOPT_RT_STATIC}) {
    std::istringstream symbols(output(std::string("nm -u ") + file));
    std::string line;
    int count = 0;
    while (std::getline(symbols, line)) {
      ++count;
      for (const char *prefix : {" _ZSt", " _ZNSt", " _ZNKSt", " _Znw", " _Zna", " _Zdl", " _Zda", " _ZTV", " _ZTI",
                                 " __gxx", " __cxa_throw", " __cxa_guard", " __cxa_pure", " __cxa_begin", " abort",
                                 " exit", " printf", " puts", " __assert"})
        EXPECT_EQ(line.find(prefix), std::string::npos) << file << ": " << line;
    }
    EXPECT_GT(count, 20) << file;
  }
  std::string needed = output("readelf -d " LLMOPT_RT_SHARED);
  EXPECT_EQ(needed.find("libstdc++"), std::string::npos) << needed;
  EXPECT_NE(needed.find("libc.so"), std::string::npos) << needed;
}

TEST(Library, ExportsOnlyItsInterface) {
  std::istringstream symbols(output("nm -D --defined-only --format=posix " LLMOPT_RT_SHARED));
  std::string line;
  int count = 0;
  while (std::getline(symbols, line)) {
    ++count;
    EXPECT_EQ(line.rfind("llmopt_", 0), 0u) << line;
  }
  EXPECT_GT(count, 20);
}

TEST(Library, IsSmall) {
  std::istringstream sizes(output("size " LLMOPT_RT_SHARED " | tail -1"));
  long text = 0;
  sizes >> text;
  EXPECT_GT(text, 10000);
  EXPECT_LE(text, 150 * 1024);
}

TEST(Library, HeadersCompileAlone) {
  const std::string flags = " -Wall -Wextra -Werror -pedantic -fsyntax-only "
                            "-I" LLMOPT_SOURCE_DIR "/include "
                            "-I" LLMOPT_SOURCE_DIR "/runtime/include ";
  for (const char *header : {"llmopt/runtime.h", "llmopt/weights.h", "llmopt/Runtime/abi.h"})
    for (const char *language : {"cc -x c -std=c11", "c++ -x c++ -std=c++17"})
      output(std::string("echo '#include \"") + header + "\"' | " + language + flags + "-");
}

TEST(Library, ExampleBuildsWithTheLibraryAlone) {
  output("cc -std=c11 -Wall -Wextra -Werror -I" LLMOPT_SOURCE_DIR "/include "
         "-I" LLMOPT_SOURCE_DIR "/runtime/include " LLMOPT_SOURCE_DIR "/examples/c/classify.c " LLMOPT_RT_STATIC
         " -lpthread -ldl -o /dev/null");
}
#endif
