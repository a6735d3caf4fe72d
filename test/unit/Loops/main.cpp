#include "llmopt/CodeGen/CPU/Link.h"

#include <gtest/gtest.h>

int main(int argc, char **argv) {
  if (auto code = llmopt::cpu::runLinkerChild(argc, argv))
    return *code;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
