/* Classifies one sequence of token ids with a compiled BERT-like model.
 *
 *   cc -O2 examples/c/classify.c -Iinclude -Iruntime/include build/lib/libllmopt_rt.a -o classify
 *   ./classify model.so 101 2023 2003 2307 102
 *
 * Every i64 input has the shape [1, tokens]: the ids go to "input_ids", ones to
 * "attention_mask", zeros to the others (token types). */
#include "llmopt/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_INPUTS = 4, MAX_TOKENS = 512, MAX_CLASSES = 1000 };

static int64_t tokens[MAX_INPUTS][MAX_TOKENS];
static float logits[MAX_CLASSES];
static llmopt_error error;

static void check(llmopt_status status) {
  if (status == LLMOPT_OK)
    return;
  fprintf(stderr, "classify: %s\n", error.message);
  exit(1);
}

int main(int argc, char **argv) {
  int count = argc - 2;
  if (count < 1 || count > MAX_TOKENS)
    return fprintf(stderr, "usage: classify model.so id id ...\n"), 2;

  llmopt_model *model;
  llmopt_session *session;
  check(llmopt_model_load(argv[1], NULL, &model, &error));
  check(llmopt_session_create(model, NULL, &session, &error));

  llmopt_tensor_type types[MAX_INPUTS];
  llmopt_input inputs[MAX_INPUTS];
  uint32_t n = 0;
  const char *name;
  for (; n < MAX_INPUTS && llmopt_model_get_input(model, n, &name, &types[n], NULL) == LLMOPT_OK; ++n) {
    for (int t = 0; t < count; ++t)
      tokens[n][t] = strcmp(name, "input_ids") == 0 ? atoll(argv[t + 2]) : strcmp(name, "attention_mask") == 0;
    types[n] = (llmopt_tensor_type){LLMOPT_I64, 2, {1, count}};
    inputs[n] = (llmopt_input){tokens[n], sizeof(tokens[n])};
  }
  check(llmopt_session_bind(session, types, n, &error));
  llmopt_output output = {logits, sizeof(logits)};
  check(llmopt_session_run(session, inputs, n, &output, 1, &error));

  llmopt_tensor_type type;
  check(llmopt_session_get_output_type(session, 0, &type, &error));
  for (int64_t c = 0; c < type.dims[type.rank - 1]; ++c)
    printf("class %lld: %g\n", (long long)c, logits[c]);
  llmopt_session_destroy(session);
  llmopt_model_destroy(model);
  return 0;
}
