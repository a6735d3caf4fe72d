/* The contract between code that llmopt generates and the runtime that runs it.
 *
 * An artefact (model.so) exports one function, `llmopt_model_v1`, that returns
 * a pointer to a constant `llmopt_model_desc`. Everything the runtime needs is
 * reachable from it; the artefact imports nothing. The same tables are written
 * as LLVM constants by the CPU back end and as C text by the CUDA back end.
 *
 * Rules that both sides rely on
 *  - This header is C11, has no dependencies beyond <stdint.h>, and is the only
 *    thing compiler and runtime share.
 *  - Structs only grow at the end; `struct_size` is the size the artefact was
 *    compiled with, and a reader never looks beyond it.
 *  - Sizes, counts and strides that depend on batch or sequence are *size
 *    expressions* over named symbols. They are evaluated once, when shapes are
 *    bound; while a model runs only those that depend on data (see
 *    llmopt_data_symbol).
 *  - Names are UTF-8, NUL-terminated and owned by the artefact.
 */
#ifndef LLMOPT_RUNTIME_ABI_H
#define LLMOPT_RUNTIME_ABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LLMOPT_ABI_VERSION 2u
#define LLMOPT_MAX_RANK 16
#define LLMOPT_BUILD_ID_BYTES 16
#define LLMOPT_NONE UINT32_MAX

/* Element types. The values are part of the file formats; never renumber. */
typedef enum llmopt_dtype {
  LLMOPT_F32 = 1,
  LLMOPT_F64 = 2,
  LLMOPT_F16 = 3,
  LLMOPT_BF16 = 4,
  LLMOPT_I8 = 5,
  LLMOPT_U8 = 6,
  LLMOPT_I16 = 7,
  LLMOPT_U16 = 8,
  LLMOPT_I32 = 9,
  LLMOPT_U32 = 10,
  LLMOPT_I64 = 11,
  LLMOPT_U64 = 12,
  LLMOPT_BOOL = 13, /* one byte, 0 or 1 */
  /* Narrower than a byte or floats of eight bits. Every element takes one byte,
   * its bits at the low end; signed integers are sign extended. */
  LLMOPT_I4 = 14,
  LLMOPT_U4 = 15,
  LLMOPT_I2 = 16,
  LLMOPT_U2 = 17,
  LLMOPT_F8E4M3FN = 18,
  LLMOPT_F8E4M3FNUZ = 19,
  LLMOPT_F8E5M2 = 20,
  LLMOPT_F8E5M2FNUZ = 21,
  LLMOPT_F8E8M0 = 22,
  LLMOPT_F4E2M1 = 23
} llmopt_dtype;

/* Size expressions: postfix code over int64, one stack, all arithmetic checked
 * for overflow by the evaluator (which then reports a shape error). */
typedef enum llmopt_expr_op {
  LLMOPT_EXPR_CONST = 0,    /* push `value` */
  LLMOPT_EXPR_SYMBOL = 1,   /* push the bound value of symbol `value` */
  LLMOPT_EXPR_ADD = 2,
  LLMOPT_EXPR_MUL = 3,
  LLMOPT_EXPR_FLOORDIV = 4, /* rounds towards negative infinity */
  LLMOPT_EXPR_CEILDIV = 5,
  LLMOPT_EXPR_MOD = 6,      /* floor modulo, sign of the divisor */
  LLMOPT_EXPR_MIN = 7,
  LLMOPT_EXPR_MAX = 8
} llmopt_expr_op;

typedef struct llmopt_expr_insn {
  int64_t op; /* llmopt_expr_op */
  int64_t value;
} llmopt_expr_insn;

/* expr_code[first .. first + count) */
typedef struct llmopt_expr {
  uint32_t first;
  uint32_t count;
} llmopt_expr;

/* A model input or output. Dimensions are indices into `exprs`; for an input
 * dimension that is exactly one symbol, binding defines that symbol; any other
 * input dimension is checked against its expression. Every symbol is defined by
 * an input, counts data, or belongs to the session (past_symbol, capacity_symbol).
 * An output whose buffer is not its own OUTPUT buffer (an input, a
 * weight, a value that is returned twice) is copied after the last step; where
 * that is an ARENA buffer it lives until the last step. */
typedef struct llmopt_tensor_desc {
  const char *name;
  uint32_t dtype; /* llmopt_dtype */
  uint32_t rank;
  uint32_t dims[LLMOPT_MAX_RANK];
  uint32_t buffer; /* index into `buffers` */
} llmopt_tensor_desc;

/* Where the bytes of a value live. */
typedef enum llmopt_buffer_kind {
  LLMOPT_BUFFER_ARENA = 1,    /* `size` bytes, live from `first_step` to `last_step` inclusive */
  LLMOPT_BUFFER_WEIGHT = 2,   /* `offset` in the weights, `size` bytes */
  LLMOPT_BUFFER_INPUT = 3,    /* the caller's pointer for input `index` */
  LLMOPT_BUFFER_OUTPUT = 4,   /* the caller's pointer for output `index` */
  LLMOPT_BUFFER_CONSTANT = 5, /* `data` in the artefact, read only */
  LLMOPT_BUFFER_VIEW = 6,     /* buffer `index` displaced by `offset` bytes */
  LLMOPT_BUFFER_CACHE = 7,    /* cache `index` of the session */
  LLMOPT_BUFFER_ZERO = 8      /* `size` bytes that are zero when a step starts and that it leaves
                                 zero: all of these buffers are the same memory */
} llmopt_buffer_kind;

typedef struct llmopt_buffer {
  uint32_t kind;   /* llmopt_buffer_kind */
  uint32_t index;  /* INPUT, OUTPUT: which; VIEW: the base buffer; else LLMOPT_NONE */
  uint32_t size;   /* expression: bytes; LLMOPT_NONE: not checked (not for ARENA) */
  uint32_t offset; /* WEIGHT, VIEW: expression: bytes; else LLMOPT_NONE */
  uint32_t first_step;
  uint32_t last_step;
  const void *data; /* CONSTANT only */
} llmopt_buffer;

/* Values that a session keeps between runs: keys and values of past tokens,
 * [batch, capacity, width]. One past length and one capacity serve all caches of
 * a model; steps write the tokens of a run behind the past ones. */
typedef struct llmopt_cache {
  const char *name; /* the ONNX input it stands for */
  uint32_t dtype;   /* llmopt_dtype */
  uint32_t size;    /* expression: bytes, a multiple of the capacity */
} llmopt_cache;

/* One tile of one kernel.
 *   args     pointers of the step's buffers, in the step's order; an absent
 *            optional operand is NULL
 *   dims     the step's evaluated size expressions, in the step's order
 *   tile     0 .. tiles-1; tiles of a step are independent and may run in any
 *            order on any thread, each exactly once
 *   scratch  `scratch_bytes` of thread-private memory, 64-byte aligned, contents
 *            undefined
 * A kernel never allocates, never blocks, never fails. Arena and weight
 * pointers are 64-byte aligned; input and output pointers have the alignment
 * of their element type only. */
typedef void (*llmopt_kernel_fn)(void *const *args, const int64_t *dims,
                                 int64_t tile, void *scratch);

/* Steps without a kernel, which the runtime itself carries out. `target` is what
 * `tiles` holds; a step that is jumped to may be the one behind the last. A
 * counter is an int64 in an 8-byte buffer, a condition one byte. */
typedef enum llmopt_control {
  LLMOPT_CONTROL_NONE = 0,
  /* args: to, from[, counter]; dims: bytes[, first, step]. Copies `bytes`; with a
   * counter, to bytes * (first + step * counter) behind the start of `to`. */
  LLMOPT_CONTROL_COPY = 1,
  LLMOPT_CONTROL_RESET = 2,  /* args: counter; sets it to 0 */
  LLMOPT_CONTROL_JUMP = 3,   /* goes to `target` */
  LLMOPT_CONTROL_BRANCH = 4, /* args: condition; goes to `target` where it is 0 */
  /* args: counter, limit (int64 or LLMOPT_NONE), condition (or LLMOPT_NONE); goes
   * to `target` unless counter < limit and the condition holds */
  LLMOPT_CONTROL_LOOP = 5,
  LLMOPT_CONTROL_NEXT = 6, /* args: counter; adds 1 and goes to `target` */
  /* `target` is a constraint with LLMOPT_CHECKED_BY_STEP: a run ends with
   * LLMOPT_SHAPE_MISMATCH where it does not hold */
  LLMOPT_CONTROL_CHECK = 7,
  /* args: none, or a counter; dims: the dimensions of output `target` in this run,
   * of which the counter, if any, replaces the first. What the output declares is
   * the most that it can be. */
  LLMOPT_CONTROL_SHAPE = 8
} llmopt_control;

/* A kernel runs its tiles to the end before the next step starts. */
typedef struct llmopt_step {
  const char *name; /* ONNX nodes it computes, for profiles */
  llmopt_kernel_fn kernel; /* NULL for steps of the runtime, and of a device */
  uint32_t first_arg; /* step_args[first_arg .. first_arg + num_args): buffer indices,
                         LLMOPT_NONE for an absent operand */
  uint32_t num_args;
  uint32_t first_dim; /* step_dims[first_dim .. first_dim + num_dims): expressions */
  uint32_t num_dims;
  uint32_t tiles;   /* expression: how many tiles; see llmopt_control */
  uint32_t control; /* llmopt_control; NONE exactly where there is a kernel (on a
                       device: of llmopt_device) */
} llmopt_step;

/* A tensor in the weights file. `name` is the ONNX name where the bytes are
 * canonical, else a derived name; `recipe` says how they are made from canonical
 * tensors (see docs/formats.md), NULL where they are canonical. */
typedef struct llmopt_weight {
  const char *name;
  uint32_t dtype;
  uint32_t rank;
  int64_t dims[LLMOPT_MAX_RANK];
  uint64_t offset; /* bytes from the start of the weight data, 256-byte aligned */
  uint64_t size;   /* bytes */
  const char *recipe;
} llmopt_weight;

/* What must hold of bound shapes beyond the input dimensions themselves, such
 * as "sequence <= 512" where positions are a table of 512 rows. */
typedef enum llmopt_relation {
  LLMOPT_EQUAL = 1,  /* lhs == rhs */
  LLMOPT_AT_MOST = 2 /* lhs <= rhs */
} llmopt_relation;

/* Holds only where a step says so: not checked when shapes are bound. */
#define LLMOPT_CHECKED_BY_STEP 1u

typedef struct llmopt_constraint {
  uint32_t lhs;       /* expression */
  uint32_t relation;  /* llmopt_relation */
  uint32_t rhs;       /* expression */
  uint32_t flags;     /* LLMOPT_CHECKED_BY_STEP, or 0 */
  const char *reason; /* the ONNX node that asks for it, for the message */
} llmopt_constraint;

/* A symbol that stands for a number of the data, such as how many elements of a
 * mask are true. Whenever a run comes to step `first_step`, it takes the int64 in
 * `buffer`; from there on sizes of steps may depend on it. In a branch that is not
 * taken it has no number, in a loop a new one with every iteration.
 * Sizes and offsets of buffers and of scratch memory never do: they hold the
 * most that can come (`bound`). */
typedef struct llmopt_data_symbol {
  uint32_t symbol;
  uint32_t buffer;
  uint32_t bound;      /* expression over symbols of inputs; never below the number */
  uint32_t first_step; /* num_steps: after the last one */
} llmopt_data_symbol;

/* Values of input `input`, i32 or i64, that pick rows of a table: each must lie in
 * [-rows, rows). Checked when a run starts, before anything is written. */
typedef struct llmopt_index_check {
  uint32_t input;
  uint32_t rows;      /* expression, bound */
  const char *reason; /* the ONNX node that looks up, for the message */
} llmopt_index_check;

/* A kernel of a device. One block of `threads` runs one tile (blockIdx.x). Its
 * parameters, eight bytes each: a device pointer for each of the step's first
 * `num_buffers` arguments, the step's dims as int64_t, and, where it has scratch
 * memory, a pointer to that of all blocks. */
typedef struct llmopt_device_kernel {
  const char *name;       /* of the function in the image */
  uint32_t threads;       /* per block, 1 .. 1024 */
  uint32_t shared_bytes;  /* dynamic shared memory of a block */
  uint32_t num_buffers;   /* parameters that point to buffers */
  uint32_t num_dims;      /* parameters that are sizes */
  uint64_t scratch_bytes; /* device memory of a block; 0 for none */
  uint32_t scratch_dim;   /* which of the dims says that instead; else LLMOPT_NONE */
  uint32_t reserved;
} llmopt_device_kernel;

typedef enum llmopt_device_kind { LLMOPT_DEVICE_CUDA = 1 } llmopt_device_kind;

/* A product y = activation(x W + bias) + residual of 16-bit floats, sums f32, that a library
 * (cuBLASLt) may compute instead of the step's kernel. W is packed as for the kernel: [n][k
 * rounded up to 8]. A product has a residual or an activation, not both. */
typedef enum llmopt_library_activation {
  LLMOPT_LIBRARY_NONE = 0,
  LLMOPT_LIBRARY_RELU = 1,
  LLMOPT_LIBRARY_GELU_TANH = 2
} llmopt_library_activation;

#define LLMOPT_LIBRARY_ATTRIBUTES 9

/* Where the library is faster, by measurement: on a device of this name, for these rows. */
typedef struct llmopt_library_choice {
  const char *device; /* as the driver names it */
  int64_t least_rows, most_rows;
  /* Values of CUBLASLT_ALGO_CONFIG_ attributes 0 to 8: id, tile, split K, reduction scheme,
   * swizzling, custom option, stages, inner shape, cluster shape */
  int32_t algorithm[LLMOPT_LIBRARY_ATTRIBUTES];
  uint32_t reserved;
} llmopt_library_choice;

typedef struct llmopt_library_product {
  uint32_t step;
  uint32_t dtype;                    /* of all operands: LLMOPT_F16 or LLMOPT_BF16 */
  uint32_t x, w, bias, residual, y;  /* which of the step's arguments; bias and residual may be
                                        LLMOPT_NONE */
  uint32_t activation;               /* llmopt_library_activation */
  uint32_t rows, row_stride, row_offset; /* expressions; elements, of x */
  uint32_t first_choice, num_choices;
  uint32_t reserved;
  int64_t n, k;
} llmopt_library_product;

/* Steps that run on a device. Their `kernel` is NULL, and buffers of all kinds are
 * in device memory while they run: the runtime copies weights and constants there
 * once, inputs and outputs with every run. */
typedef struct llmopt_device {
  uint32_t struct_size;
  uint32_t kind; /* llmopt_device_kind */
  uint32_t num_kernels;
  uint32_t reserved;
  const llmopt_device_kernel *kernels;
  const uint32_t *step_kernels; /* [num_steps]: index into `kernels`; LLMOPT_NONE for
                                   steps of the runtime */
  const char *architectures;    /* what the image holds code for, comma separated:
                                   "sm_80,sm_90a,compute_90a" */
  const void *image;            /* a fat binary */
  const void *image_end;

  /* Absent in the smallest accepted struct_size, which ends here. */
  uint32_t num_products;
  uint32_t num_choices;
  const llmopt_library_product *products; /* by step, ascending */
  const llmopt_library_choice *choices;
} llmopt_device;

/* A weight that is trained: an input of both entries of llmopt_training, and behind
 * `loss` and `loss_weight` an output of `gradients`. Canonical: ONNX's name, shape and
 * order; f32. */
#define LLMOPT_PARAMETER_DECAYS 1u /* of rank 2 and more: weight decay applies */

typedef struct llmopt_parameter {
  const char *name;
  uint32_t gradients_input;
  uint32_t gradients_output;
  uint32_t evaluate_input;
  uint32_t flags;
} llmopt_parameter;

/* An f32 scalar input that has a value when nobody sets it. */
typedef struct llmopt_hyper {
  const char *name;
  uint32_t gradients_input; /* LLMOPT_NONE where the entry does not have it */
  uint32_t evaluate_input;
  double by_default;
} llmopt_hyper;

/* What a model is to learn: an input of both entries behind those of the model. */
typedef struct llmopt_label {
  const char *name;
  uint32_t gradients_input;
  uint32_t evaluate_input;
  /* Expressions of the two entries: integers must lie in [0, classes) or be -100, which
   * does not count. LLMOPT_NONE for floats. */
  uint32_t gradients_classes;
  uint32_t evaluate_classes;
} llmopt_label;

/* What trains a model. Both entries are models of their own, which read the weights
 * of the model they belong to (the same table, the same file; their build_id is zero).
 * Their inputs are those of the model, labels, hyper-parameters and parameters.
 *   gradients: -> loss (a sum over labels that count), loss_weight (how many count),
 *              the gradient of `loss` for every parameter
 *   evaluate:  -> loss, loss_weight, the first output of the model */
typedef struct llmopt_training {
  uint32_t struct_size;
  uint32_t num_parameters;
  uint32_t num_hypers;
  uint32_t num_labels;
  const llmopt_parameter *parameters;
  const llmopt_hyper *hypers;
  const llmopt_label *labels;
  const char *loss; /* "cross_entropy", as -loss names it */
  const struct llmopt_model_desc *gradients;
  const struct llmopt_model_desc *evaluate;
} llmopt_training;

typedef struct llmopt_model_desc {
  uint32_t struct_size;
  uint32_t abi_version; /* LLMOPT_ABI_VERSION */
  uint8_t build_id[LLMOPT_BUILD_ID_BYTES]; /* equal in artefact and weights file */
  const char *name;
  const char *compiler;     /* "llmopt 0.1.0" */
  const char *target;       /* LLVM triple */
  const char *cpu_features; /* required, comma separated LLVM names: "avx2,fma" */

  uint32_t num_symbols;
  uint32_t num_inputs;
  uint32_t num_outputs;
  uint32_t num_buffers;
  uint32_t num_steps;
  uint32_t num_weights;
  uint32_t num_exprs;
  uint32_t num_expr_code;
  uint32_t num_step_args;
  uint32_t num_step_dims;

  const char *const *symbols;
  const llmopt_tensor_desc *inputs;
  const llmopt_tensor_desc *outputs;
  const llmopt_buffer *buffers;
  const llmopt_step *steps;
  const llmopt_weight *weights;
  const llmopt_expr *exprs;
  const llmopt_expr_insn *expr_code;
  const uint32_t *step_args;
  const uint32_t *step_dims;

  uint32_t scratch_bytes;  /* expression: per thread */
  uint32_t reserved;
  uint64_t weights_size;   /* bytes of weight data, header not counted */
  const char *metadata;    /* JSON, for -info; see docs/formats.md */

  /* Absent in the smallest accepted struct_size, which ends here. */
  uint32_t num_constraints;
  uint32_t num_caches;
  const llmopt_constraint *constraints;

  /* Of the last `num_data_symbols` symbols, in order. `output_bounds` has the
   * outputs with every dimension as large as it can be; NULL without such symbols. */
  uint32_t num_data_symbols;
  uint32_t reserved3;
  const llmopt_data_symbol *data_symbols;
  const llmopt_tensor_desc *output_bounds;

  /* Symbols that a session defines instead of an input: tokens in its caches when
   * a run starts, and the most that they hold. LLMOPT_NONE without caches. */
  uint32_t past_symbol;
  uint32_t capacity_symbol;
  uint32_t new_tokens; /* expression: tokens that a run adds to the caches */
  uint32_t max_tokens; /* the most that the model can make use of, 0: not known */
  const llmopt_cache *caches;

  uint32_t num_index_checks;
  uint32_t reserved4;
  const llmopt_index_check *index_checks;

  const llmopt_device *device; /* NULL: steps run on the CPU */

  const llmopt_training *training; /* NULL: for inference only */
} llmopt_model_desc;

/* Returns the table and does nothing else, in instructions of the baseline ISA:
 * it runs before the CPU features are checked. */
typedef const llmopt_model_desc *(*llmopt_model_fn)(void);
#define LLMOPT_MODEL_SYMBOL "llmopt_model_v1"

/* The header of a weights file (model.weights) and of the tail of an artefact
 * that was built with -embed-weights. Little endian. Data starts `data_offset`
 * bytes after the start of this header. An embedded tail is found by reading
 * the last 16 bytes of the file: u64 position of this header from the start of
 * the file (a multiple of 4096), then the 8 magic bytes. */
#define LLMOPT_WEIGHTS_MAGIC "LLMOPTW1"
typedef struct llmopt_weights_header {
  char magic[8];
  uint32_t version;     /* 1 */
  uint32_t header_size; /* sizeof(llmopt_weights_header) */
  uint8_t build_id[LLMOPT_BUILD_ID_BYTES];
  uint64_t data_offset; /* multiple of 256 in a weights file, of 4096 in a tail */
  uint64_t data_size;   /* bytes */
  uint64_t data_hash;   /* XXH64 of the data, seed 0; checked on request only */
  uint64_t header_hash; /* XXH64 of the bytes before this field, seed 0 */
} llmopt_weights_header;

#ifdef __cplusplus
}
#endif
#endif
