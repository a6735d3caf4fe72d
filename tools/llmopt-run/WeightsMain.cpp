// llmopt-weights: makes up the weights of a compiled model. A tool of its own, without
// any library, for machines that have nothing else.
#include "Failure.h"
#include "RandomWeights.h"

#include <cstdio>
#include <exception>

using namespace llmopt::run;

int main(int argc, char **argv) {
  auto report = [](int code, const char *message) {
    std::fprintf(stderr, "llmopt-weights: %s\n", message);
    return code;
  };
  uint64_t seed = 0;
  try {
    if (argc != 4 || !parseRandomWeights(argv[2], seed))
      return report(Usage, "expected llmopt-weights model.so random:<seed> model.weights");
    writeRandomWeights(argv[1], seed, argv[3]);
  } catch (const Failure &failure) {
    return report(failure.code, failure.message.c_str());
  } catch (const std::bad_alloc &) {
    return report(Environment, "out of memory");
  } catch (const std::exception &unexpected) {
    return report(OurBug, unexpected.what());
  }
  return Ok;
}
