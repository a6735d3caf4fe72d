/* The weights file, for whoever writes one: hash and header. Reading is the
 * runtime's business (llmopt_model_load). The layout is in
 * llmopt/Runtime/abi.h and docs/formats.md. */
#ifndef LLMOPT_WEIGHTS_H
#define LLMOPT_WEIGHTS_H

#include "llmopt/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* XXH64 in pieces: begin, update any number of times, finish. The state needs
 * no release and may be copied to branch off. */
typedef struct llmopt_hash {
  uint64_t lanes[4];
  uint64_t length;
  uint64_t seed;
  uint8_t pending[32];
} llmopt_hash;

LLMOPT_API void llmopt_hash_begin(llmopt_hash *hash, uint64_t seed);
LLMOPT_API void llmopt_hash_update(llmopt_hash *hash, const void *data, size_t size);
LLMOPT_API uint64_t llmopt_hash_finish(const llmopt_hash *hash);

/* The same over one piece. */
LLMOPT_API uint64_t llmopt_hash_bytes(const void *data, size_t size, uint64_t seed);

/* Fills every field, header_hash included. `data_offset` counts from the start
 * of the header. */
LLMOPT_API void llmopt_weights_header_init(llmopt_weights_header *header,
                                           const uint8_t build_id[LLMOPT_BUILD_ID_BYTES],
                                           uint64_t data_offset, uint64_t data_size,
                                           uint64_t data_hash);

#ifdef __cplusplus
}
#endif
#endif
