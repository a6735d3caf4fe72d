/* The public interface of the llmopt runtime: load a compiled model, bind the
 * shapes of its inputs, run it. C11, and C++17 alike.
 *
 *   llmopt_model_load -> llmopt_session_create -> llmopt_session_bind
 *                     -> llmopt_session_run, as often as needed
 *
 * Errors. Every call that can fail returns a llmopt_status and takes, last, an
 * optional `llmopt_error` of the caller, which receives one line of text. On
 * failure no out parameter is touched. The library never aborts, exits or
 * prints.
 *
 * Ownership. `_load` and `_create` give an object that the caller releases with
 * the matching `_destroy`; `_destroy(NULL)` does nothing. A session holds its
 * model: the two may be destroyed in any order. Every `const char *` handed out
 * belongs to the model and lives as long as the model or one of its sessions.
 * Inputs, outputs and options stay the caller's; nothing is kept after a call.
 *
 * Options and info structs begin with `struct_size = sizeof(the struct)`; a
 * zeroed rest means defaults; NULL options mean defaults. Later versions only
 * append fields.
 *
 * Threads. A model may be used by any number of threads at once. A session may
 * be used by one thread at a time (a second one gets LLMOPT_BUSY); several
 * sessions of one model run side by side and share its weights. Neither
 * survives a fork() in the child.
 *
 * An artefact is code: loading one gives it the rights of the process.
 */
#ifndef LLMOPT_RUNTIME_H
#define LLMOPT_RUNTIME_H

#include "llmopt/Runtime/abi.h"

#include <stddef.h>
#include <stdint.h>

#define LLMOPT_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef enum llmopt_status {
  LLMOPT_OK = 0,
  LLMOPT_INVALID_ARGUMENT = 1, /* NULL, unknown option, index out of range, unaligned pointer */
  LLMOPT_NOT_FOUND = 2,        /* a file is missing */
  LLMOPT_BAD_MODEL = 3,        /* not an artefact of llmopt, damaged, or of another ABI version */
  LLMOPT_BAD_WEIGHTS = 4,      /* weights truncated, damaged, or of another build */
  LLMOPT_UNSUPPORTED_CPU = 5,  /* the artefact needs a machine or a CPU feature that is not here */
  LLMOPT_SHAPE_MISMATCH = 6,   /* shape, element type or size of an input or output */
  LLMOPT_NOT_BOUND = 7,        /* run before bind */
  LLMOPT_BUSY = 8,             /* the session is in use by another thread */
  LLMOPT_OUT_OF_MEMORY = 9,
  LLMOPT_IO_ERROR = 10,        /* the operating system refused: permissions, disk, threads */
  LLMOPT_INTERNAL = 11,        /* a defect of the runtime */
  LLMOPT_BAD_VALUE = 12,       /* a value of an input: a token id outside of the vocabulary */
  LLMOPT_NO_DEVICE = 13,       /* no CUDA driver, no device, or none that the model has code for */
  LLMOPT_DEVICE_ERROR = 14     /* the device or its driver failed */
} llmopt_status;

/* One line, lower case, no final period, always NUL-terminated; longer texts are cut. */
typedef struct llmopt_error {
  char message[512];
} llmopt_error;

typedef struct llmopt_model llmopt_model;
typedef struct llmopt_session llmopt_session;

/* "invalid argument" for LLMOPT_INVALID_ARGUMENT; never NULL. */
LLMOPT_API const char *llmopt_status_name(llmopt_status status);

/* "0.1.0" */
LLMOPT_API const char *llmopt_runtime_version(void);

/* ---- Element types ------------------------------------------------------ */

/* Bytes of one element; 0 for an unknown type. */
LLMOPT_API size_t llmopt_dtype_size(uint32_t dtype);

/* "f32", "i64", "bool"; "unknown" for an unknown type. */
LLMOPT_API const char *llmopt_dtype_name(uint32_t dtype);

/* ---- Models -------------------------------------------------------------- */

typedef enum llmopt_load_mode {
  LLMOPT_LOAD_MAP = 0, /* weights are mapped: fast, shared between processes; the
                          file must not be truncated while the model lives */
  LLMOPT_LOAD_COPY = 1 /* weights are read into private memory */
} llmopt_load_mode;

typedef struct llmopt_load_options {
  size_t struct_size;
  const char *weights_path; /* NULL: the tail of the artefact where there is one,
                               else <stem>.weights beside it */
  uint32_t load_mode;       /* llmopt_load_mode */
  uint32_t check_hash;      /* non-zero: hash all weights now, not only their header */
} llmopt_load_options;

/* Loads a compiled model. The file is checked (format, machine, truncation, ABI
 * version, CPU features, tables) before any of its kernels can run. */
LLMOPT_API llmopt_status llmopt_model_load(const char *path, const llmopt_load_options *options,
                                           llmopt_model **model, llmopt_error *error);

typedef struct llmopt_create_options {
  size_t struct_size;
  const char *weights_path; /* a weights file, or NULL */
  const void *weights_data; /* or the weight data itself, 64-byte aligned; it stays
                               the caller's and must outlive model and sessions */
  uint64_t weights_size;    /* bytes at weights_data */
  uint32_t load_mode;
  uint32_t check_hash;
} llmopt_create_options;

/* The same for a model that is linked into the program or was compiled in
 * process; `desc` must outlive the model and its sessions. */
LLMOPT_API llmopt_status llmopt_model_create(const llmopt_model_desc *desc,
                                             const llmopt_create_options *options,
                                             llmopt_model **model, llmopt_error *error);

/* Of a model that was compiled with -train: "gradients" or "evaluate", a model of its own
 * with the same weights, that is destroyed as any other (llmopt_training in abi.h says
 * what goes in and out; llmopt/train.h is the way to train). */
LLMOPT_API llmopt_status llmopt_model_get_entry(llmopt_model *model, const char *name, llmopt_model **entry,
                                                llmopt_error *error);

LLMOPT_API void llmopt_model_destroy(llmopt_model *model);

/* Hashes all weights and compares with the hash in their header. Weights given
 * as `weights_data` have no header and pass. */
LLMOPT_API llmopt_status llmopt_model_check(const llmopt_model *model, llmopt_error *error);

typedef struct llmopt_model_info {
  size_t struct_size;
  const char *name;
  const char *compiler;
  const char *target;
  const char *cpu_features; /* what the artefact requires */
  const char *metadata;     /* JSON */
  const char *path;         /* resolved; "" for a model made from a descriptor */
  const char *weights_path; /* resolved; "" without a weights file */
  uint8_t build_id[LLMOPT_BUILD_ID_BYTES];
  uint32_t num_inputs;
  uint32_t num_outputs;
  uint32_t num_symbols;
  uint32_t num_steps;
  uint32_t num_weights;
  uint32_t reserved;
  uint64_t weights_size; /* bytes */
  const char *architectures; /* of GPUs that it has code for: "sm_80,compute_80"; "" on CPUs */
  uint32_t num_library_steps; /* products that cuBLASLt computes on GPUs where it was measured to be
                                 faster, if it is installed */
  uint32_t reserved2;
} llmopt_model_info;

LLMOPT_API llmopt_status llmopt_model_get_info(const llmopt_model *model, llmopt_model_info *info,
                                               llmopt_error *error);

/* Element type and shape. In a declaration a dimension that depends on symbols is -1. */
typedef struct llmopt_tensor_type {
  uint32_t dtype; /* llmopt_dtype */
  uint32_t rank;
  int64_t dims[LLMOPT_MAX_RANK];
} llmopt_tensor_type;

LLMOPT_API llmopt_status llmopt_model_get_input(const llmopt_model *model, uint32_t index,
                                                const char **name, llmopt_tensor_type *type,
                                                llmopt_error *error);
LLMOPT_API llmopt_status llmopt_model_get_output(const llmopt_model *model, uint32_t index,
                                                 const char **name, llmopt_tensor_type *type,
                                                 llmopt_error *error);

/* The index of a name, LLMOPT_NONE where there is no such name. */
LLMOPT_API uint32_t llmopt_model_find_input(const llmopt_model *model, const char *name);
LLMOPT_API uint32_t llmopt_model_find_output(const llmopt_model *model, const char *name);

/* Writes "i64[batch, sequence]" into `text`; returns the length it needs without
 * the NUL, as snprintf does; 0 for an index out of range. */
LLMOPT_API size_t llmopt_model_format_input(const llmopt_model *model, uint32_t index, char *text,
                                            size_t capacity);
LLMOPT_API size_t llmopt_model_format_output(const llmopt_model *model, uint32_t index, char *text,
                                             size_t capacity);

/* The name of a shape symbol; NULL for an index out of range. Behind the
 * `num_symbols` of the model's info come those that count data. */
LLMOPT_API const char *llmopt_model_get_symbol(const llmopt_model *model, uint32_t index);

/* The shape of an input for given values of all symbols. */
LLMOPT_API llmopt_status llmopt_model_evaluate_input(const llmopt_model *model,
                                                     const int64_t *symbol_values,
                                                     size_t num_symbols, uint32_t index,
                                                     llmopt_tensor_type *type, llmopt_error *error);

typedef struct llmopt_weight_info {
  size_t struct_size;
  const char *name;
  const char *recipe; /* NULL where the bytes are canonical */
  const void *data;   /* read only */
  uint64_t size;      /* bytes */
  llmopt_tensor_type type;
} llmopt_weight_info;

LLMOPT_API llmopt_status llmopt_model_get_weight(const llmopt_model *model, uint32_t index,
                                                 llmopt_weight_info *info, llmopt_error *error);

/* ---- Sessions ------------------------------------------------------------ */

typedef struct llmopt_session_options {
  size_t struct_size;
  uint32_t num_threads; /* 0: one per CPU this process may use */
  uint32_t profile;     /* non-zero: take the time of every step */
  uint64_t cache_capacity; /* tokens that the caches have room for; 0: as many as the
                              model can make use of, 2048 where that is not known */
  /* Of models that run on a device. */
  uint32_t device_pointers;   /* non-zero: `data` of inputs and outputs are addresses of device
                                 memory in the device's primary context. They stay the
                                 caller's, and no work of the caller on them may be under way
                                 during a run, which is over when run returns */
  uint32_t no_device_graphs;  /* non-zero: launch kernels one by one, record no CUDA graphs */
  uint32_t no_device_overlap; /* non-zero: a kernel starts when the one in front is done (else,
                                 on devices that can, before, and waits for it) */
  uint32_t poison; /* non-zero, on CPUs, to check a plan: memory of intermediate values is NaN
                      before a run, and again as soon as no step needs them */
} llmopt_session_options;

/* Creates the worker threads (num_threads - 1 of them; none for one thread). For a
 * model that runs on a device: opens the CUDA driver and its first device with the
 * first session, and copies the weights there, which all sessions share. */
LLMOPT_API llmopt_status llmopt_session_create(llmopt_model *model,
                                               const llmopt_session_options *options,
                                               llmopt_session **session, llmopt_error *error);
LLMOPT_API void llmopt_session_destroy(llmopt_session *session);

/* Fixes the shapes of all inputs, in the model's order, and lays out memory for
 * them. A `dtype` of 0 is not checked. Binding the same shapes again costs
 * nothing; on failure the former binding stays. */
LLMOPT_API llmopt_status llmopt_session_bind(llmopt_session *session,
                                             const llmopt_tensor_type *inputs, size_t num_inputs,
                                             llmopt_error *error);

/* The type of an output: behind bind, the largest that it can be for these shapes,
 * for which run needs room; behind run, that of this run. They differ only where a
 * shape depends on the data: the count of NonZero, outputs of branches and loops. */
LLMOPT_API llmopt_status llmopt_session_get_output_type(const llmopt_session *session,
                                                        uint32_t index, llmopt_tensor_type *type,
                                                        llmopt_error *error);

typedef struct llmopt_input {
  const void *data; /* aligned to its element type; may be NULL for an empty tensor */
  size_t size;      /* bytes that may be read */
} llmopt_input;

typedef struct llmopt_output {
  void *data;  /* aligned to its element type; overlaps no input and no other output */
  size_t size; /* bytes that may be written */
} llmopt_output;

/* Runs the model: no allocation, no system call that can fail. Row-major,
 * contiguous data. The floating-point control state of the calling thread is
 * set for the run and restored. Of an output whose size depends on data only the
 * first bytes are written. A failure that depends on data (LLMOPT_SHAPE_MISMATCH)
 * leaves outputs undefined. */
LLMOPT_API llmopt_status llmopt_session_run(llmopt_session *session, const llmopt_input *inputs,
                                            size_t num_inputs, const llmopt_output *outputs,
                                            size_t num_outputs, llmopt_error *error);

/* A model that was compiled with -kv-cache keeps the keys and values of past
 * tokens in its sessions: each run adds its tokens behind those, so the shapes
 * change and bind comes before every run. Keeps the first `tokens` of every
 * sequence; 0 starts anew, and only then may the batch size change. */
LLMOPT_API llmopt_status llmopt_session_truncate(llmopt_session *session, uint64_t tokens, llmopt_error *error);

typedef struct llmopt_session_info {
  size_t struct_size;
  uint32_t num_threads;
  uint32_t bound;             /* 1 after a successful bind */
  uint64_t arena_size;        /* bytes the present binding needs for intermediate values */
  uint64_t arena_lower_bound; /* bytes live at the fullest step: no layout needs less */
  uint64_t arena_capacity;    /* bytes allocated; grows, never shrinks */
  uint64_t scratch_size;      /* bytes of thread-private memory, all threads */
  uint64_t cache_tokens;      /* tokens in the caches of past keys and values */
  uint64_t cache_capacity;    /* tokens they have room for; 0: the model keeps none */
  uint64_t cache_size;        /* bytes allocated for them */
} llmopt_session_info;

LLMOPT_API llmopt_status llmopt_session_get_info(const llmopt_session *session,
                                                 llmopt_session_info *info, llmopt_error *error);

typedef struct llmopt_step_profile {
  size_t struct_size;
  const char *name; /* the ONNX nodes it computes */
  uint64_t runs;
  uint64_t total_ns; /* 0 without the `profile` option */
  uint64_t last_ns;
  int64_t tiles; /* under the present binding */
  const char *provider; /* of the last run: "cuBLASLt", or "" for code of the model */
} llmopt_step_profile;

LLMOPT_API llmopt_status llmopt_session_get_profile(const llmopt_session *session, uint32_t step,
                                                    llmopt_step_profile *profile,
                                                    llmopt_error *error);
LLMOPT_API void llmopt_session_reset_profile(llmopt_session *session);

#ifdef __cplusplus
}
#endif
#endif
