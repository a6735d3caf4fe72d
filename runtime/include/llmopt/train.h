/* Training of models that were compiled with -train, on the CPU.
 *
 * A trainer holds the parameters of a model, their gradients and what an optimizer
 * keeps for them. Frozen weights stay those of the model's file. Forward and backward
 * pass, evaluation and update are apart, so that a caller decides how many batches
 * make a step:
 *
 *   create; set; repeat { accumulate, .. ; apply }; evaluate; save
 *
 * Everything is deterministic: the same data in the same order gives the same bits,
 * whatever the number of threads. A trainer belongs to one thread at a time.
 */
#ifndef LLMOPT_TRAIN_H
#define LLMOPT_TRAIN_H

#include "llmopt/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct llmopt_trainer llmopt_trainer;

typedef enum llmopt_optimizer {
  LLMOPT_ADAMW = 1, /* Kingma and Ba 2015, with decay apart from the gradient (Loshchilov and Hutter 2019) */
  LLMOPT_ADAM = 2,  /* the same moments; weight decay, if any, is L2 */
  LLMOPT_SGD = 3    /* perhaps with momentum, and Nesterov's */
} llmopt_optimizer;

typedef struct llmopt_trainer_options {
  size_t struct_size;
  uint32_t num_threads;     /* 0: one per CPU this process may use */
  uint32_t optimizer;       /* llmopt_optimizer; 0: AdamW */
  uint32_t momentum;        /* non-zero: SGD has momentum, one more value per parameter element */
  uint32_t accumulates;     /* non-zero: steps of several batches, which take a second copy of the gradients */
  const char *weights_path; /* safetensors to take the parameters' values from, under their names in
                               ONNX or those of modules; NULL: <stem>.safetensors beside the model */
} llmopt_trainer_options;

/* Fails with LLMOPT_INVALID_ARGUMENT for a model that was not compiled with -train. The
 * model must have been loaded from a file unless `weights_path` is given. */
LLMOPT_API llmopt_status llmopt_trainer_create(llmopt_model *model, const llmopt_trainer_options *options,
                                               llmopt_trainer **trainer, llmopt_error *error);
LLMOPT_API void llmopt_trainer_destroy(llmopt_trainer *trainer);

/* What a batch consists of: the model's inputs, then labels, in this order. */
LLMOPT_API uint32_t llmopt_trainer_num_inputs(const llmopt_trainer *trainer);
LLMOPT_API llmopt_status llmopt_trainer_get_input(const llmopt_trainer *trainer, uint32_t index, const char **name,
                                                  llmopt_tensor_type *type, llmopt_error *error);

/* How many of these, the last ones, are labels. */
LLMOPT_API uint32_t llmopt_trainer_num_labels(const llmopt_trainer *trainer);
/* "cross_entropy", as -loss names it. */
LLMOPT_API const char *llmopt_trainer_get_loss(const llmopt_trainer *trainer);

/* Fixes shapes and lays out memory: for accumulate, or for evaluate. Other calls
 * allocate nothing. Binding the same shapes again costs nothing. */
LLMOPT_API llmopt_status llmopt_trainer_bind(llmopt_trainer *trainer, const llmopt_tensor_type *inputs,
                                             size_t num_inputs, llmopt_error *error);
LLMOPT_API llmopt_status llmopt_trainer_bind_evaluation(llmopt_trainer *trainer, const llmopt_tensor_type *inputs,
                                                        size_t num_inputs, llmopt_error *error);

/* Sums over the labels that count. */
typedef struct llmopt_loss {
  double sum;
  double weight; /* how many labels count; 0 where all are ignored */
} llmopt_loss;

/* Forward and backward: adds the gradients of one batch. Labels are checked first:
 * one outside of its classes (and not -100, which is ignored) is LLMOPT_INVALID_ARGUMENT. */
LLMOPT_API llmopt_status llmopt_trainer_accumulate(llmopt_trainer *trainer, const llmopt_input *inputs,
                                                   size_t num_inputs, llmopt_loss *loss, llmopt_error *error);

/* The loss of a batch, and the model's first output for it; `output` may have NULL data. */
LLMOPT_API llmopt_status llmopt_trainer_evaluate(llmopt_trainer *trainer, const llmopt_input *inputs,
                                                 size_t num_inputs, const llmopt_output *output,
                                                 llmopt_loss *loss, llmopt_error *error);
/* The type of that output for the shapes that evaluation is bound to. */
LLMOPT_API llmopt_status llmopt_trainer_get_output_type(const llmopt_trainer *trainer, llmopt_tensor_type *type,
                                                        llmopt_error *error);

typedef enum llmopt_decay_mode {
  LLMOPT_DECAY_DECOUPLED = 0, /* w -= rate * decay * w, beside the step (AdamW) */
  LLMOPT_DECAY_L2 = 1         /* g += decay * w, before any moment: the gradient of decay/2 |w|^2 */
} llmopt_decay_mode;

/* Of one update; any may change from update to update. */
typedef struct llmopt_update {
  size_t struct_size;
  double learning_rate;
  double beta1, beta2, epsilon; /* Adam and AdamW */
  double weight_decay;          /* of parameters of rank 2 and more: not of biases and norms */
  double momentum;              /* SGD */
  double clip_norm;             /* largest norm of all gradients together; 0: none */
  uint32_t decay_mode;          /* llmopt_decay_mode */
  uint32_t nesterov;
} llmopt_update;

/* beta 0.9 and 0.999, epsilon 1e-8, decay 0.01, clipping at 1. */
LLMOPT_API void llmopt_update_defaults(llmopt_update *update);

typedef enum llmopt_update_outcome {
  LLMOPT_UPDATED = 0,
  LLMOPT_SKIPPED_EMPTY = 1,     /* no label counted */
  LLMOPT_SKIPPED_NONFINITE = 2  /* the loss or a gradient is NaN or infinite */
} llmopt_update_outcome;

typedef struct llmopt_update_result {
  size_t struct_size;
  uint32_t outcome; /* llmopt_update_outcome */
  uint32_t reserved;
  uint64_t step;         /* updates so far */
  uint64_t skipped;      /* of them not made, because something was not finite */
  double loss;           /* mean over the labels that counted; 0 where there was none */
  double gradient_norm;  /* of the mean loss, before clipping */
} llmopt_update_result;

/* One optimizer step with the mean of what was accumulated, which starts anew. */
LLMOPT_API llmopt_status llmopt_trainer_apply(llmopt_trainer *trainer, const llmopt_update *update,
                                              llmopt_update_result *result, llmopt_error *error);

/* Hyper-parameters of the loss, such as "label_smoothing" or "temperature". */
LLMOPT_API uint32_t llmopt_trainer_num_hypers(const llmopt_trainer *trainer);
LLMOPT_API const char *llmopt_trainer_get_hyper(const llmopt_trainer *trainer, uint32_t index, double *value);
LLMOPT_API llmopt_status llmopt_trainer_set_hyper(llmopt_trainer *trainer, const char *name, double value,
                                                  llmopt_error *error);

typedef struct llmopt_parameter_info {
  size_t struct_size;
  const char *name;
  float *value;    /* writable: for initial values, adapters, averages */
  float *gradient; /* of the last accumulated sum, not divided */
  uint64_t count;  /* elements */
  uint32_t rank;
  uint32_t decays;
  int64_t dims[LLMOPT_MAX_RANK];
} llmopt_parameter_info;

LLMOPT_API uint32_t llmopt_trainer_num_parameters(const llmopt_trainer *trainer);
LLMOPT_API llmopt_status llmopt_trainer_get_parameter(const llmopt_trainer *trainer, uint32_t index,
                                                      llmopt_parameter_info *info, llmopt_error *error);
/* The learning rate of a parameter is multiplied with this (1 at first). */
LLMOPT_API llmopt_status llmopt_trainer_set_rate_scale(llmopt_trainer *trainer, uint32_t index, double scale,
                                                       llmopt_error *error);

/* Bytes, for the shapes that are bound. */
typedef struct llmopt_trainer_memory {
  size_t struct_size;
  uint64_t parameters;
  uint64_t gradients;
  uint64_t moments;
  uint64_t activations; /* between forward and backward, and of evaluation */
  uint64_t scratch;
  uint64_t frozen;      /* weights of the model's file, mapped */
} llmopt_trainer_memory;

LLMOPT_API llmopt_status llmopt_trainer_get_memory(const llmopt_trainer *trainer, llmopt_trainer_memory *memory,
                                                   llmopt_error *error);

/* Parameters, moments and step, and `note`, which the caller gets back: its place in
 * the data, its random numbers. Written beside `path` and renamed over it, so that
 * it is there whole or not at all. */
LLMOPT_API llmopt_status llmopt_trainer_save_checkpoint(llmopt_trainer *trainer, const char *path, const void *note,
                                                        uint64_t note_size, llmopt_error *error);
/* Refuses a file that is damaged or of another model, and then changes nothing.
 * Training goes on with the same bits as if it had not stopped. `note_size` holds the
 * room at `note` and becomes the note's size. */
LLMOPT_API llmopt_status llmopt_trainer_load_checkpoint(llmopt_trainer *trainer, const char *path, void *note,
                                                        uint64_t *note_size, llmopt_error *error);

/* All weights of the model under their ONNX names as safetensors: parameters as they
 * are now, the rest as in the file that they came from. */
LLMOPT_API llmopt_status llmopt_trainer_save_weights(const llmopt_trainer *trainer, const char *path,
                                                     llmopt_error *error);
/* The same as the model's owner knows them: under the names of its modules where an
 * exporter had renamed them, and turned back where it had transposed them, so that
 * load_state_dict takes the file. */
LLMOPT_API llmopt_status llmopt_trainer_export_weights(const llmopt_trainer *trainer, const char *path,
                                                       llmopt_error *error);

#ifdef __cplusplus
}
#endif
#endif
