// Everything that follows from the shapes of the inputs: symbols, sizes, memory
// layout and the arguments of every kernel. A run only patches the caller's
// pointers into it.
#ifndef LLMOPT_RT_BINDING_H
#define LLMOPT_RT_BINDING_H

#include "arena.h"
#include "model.h"
#include "pool.h"

namespace llmopt::rt {

/// Where the bytes of a buffer are, views followed to their base.
struct Location {
  uint32_t buffer; ///< the base, an index into the model's buffers
  uint64_t offset; ///< bytes from the start of the base
};

/// An argument that points into an input or output of the caller.
struct Patch {
  uint32_t argument;
  uint32_t index;
  uint64_t offset;
};

/// An output that is another buffer's value, copied when the steps are done.
struct OutputCopy {
  uint32_t output;
  uint32_t kind; ///< of the source: INPUT and OUTPUT `index`, else `data`
  uint32_t index;
  const char *data;
  uint64_t offset; ///< from the start of that input or output
};

/// What a session's caches contribute to a binding: how many tokens they hold,
/// and how many they have room for.
struct CacheState {
  int64_t past = 0, capacity = 0;
};

/// Where the memory of a session and its model is: on the host, or a device.
struct Memory {
  char *arena, *caches;
  const char *weights;
  const char *constants;           ///< NULL: where the artefact has them
  const uint64_t *constantOffsets; ///< per buffer, behind `constants`
  char *zeros;                     ///< `zeroSize` bytes that every step leaves zero
};

class Binding {
public:
  /// All memory a binding ever needs, except for arena and scratch.
  [[nodiscard]] bool allocate(const llmopt_model &model);

  /// Works out sizes and layout. Fails without side effects on anything else.
  llmopt_status bind(const llmopt_model &model, const llmopt_tensor_type *inputs, const CacheState &cache,
                     llmopt_error *error);

  /// Fills in pointers, once there is an arena of `arenaSize` bytes, and caches of
  /// `cacheSize`.
  void place(const llmopt_model &model, const Memory &memory);

  /// A number of the data: checks it, and evaluates what waits for it.
  llmopt_status publish(const llmopt_model &model, uint32_t dataSymbol, int64_t number, llmopt_error *error);

  /// Whether the ids of a run lie in the tables that they pick rows of.
  llmopt_status checkIndices(const llmopt_model &model, const llmopt_input *data, llmopt_error *error) const;

  /// Sets `actual` of outputs whose size the numbers of this run settle.
  llmopt_status sizeOutputsOfRun(const llmopt_model &model, llmopt_error *error);

  /// The value of an expression for the bound shapes.
  int64_t valueOf(uint32_t expr) const { return values[expr]; }

  /// Whether `given` asks for what is bound already.
  bool matches(const llmopt_tensor_type *given, const CacheState &cache) const;

  /// Fills with NaN what no step behind `step` needs.
  void poison(const llmopt_model &model, uint32_t step, char *arena) const;

  /// Makes `actual` the largest shapes again.
  void forgetRun();

  /// Whether a constraint of the model holds for the bound shapes.
  llmopt_status checkConstraint(const llmopt_model &model, uint32_t index, llmopt_error *error) const;

  bool valid = false;
  /// `outputs` are the largest for these shapes, `actual` those of the last run.
  Array<llmopt_tensor_type> inputs, outputs, actual;
  Array<uint64_t> inputBytes, outputBytes;
  Array<uint64_t> writtenBytes; ///< of `actual`
  uint64_t arenaSize = 0, arenaLowerBound = 0, scratchBytes = 0, cacheSize = 0;
  uint64_t zeroSize = 0;
  uint64_t cacheBytes = 0; ///< of the values alone: equal where the batch is
  CacheState cache;
  int64_t newTokens = 0; ///< that a run adds to the caches

  Array<void *> args;
  Array<PreparedStep> steps;
  Array<Patch> inputPatches, outputPatches;
  size_t numInputPatches = 0, numOutputPatches = 0;
  Array<OutputCopy> copies;
  size_t numCopies = 0;
  Array<OutputCopy> counts; ///< per data symbol: where its number is

private:
  llmopt_status checkTypes(const llmopt_model &model, const llmopt_tensor_type *given, llmopt_error *error);
  llmopt_status solveSymbols(const llmopt_model &model, llmopt_error *error);
  llmopt_status checkConstraints(const llmopt_model &model, uint32_t stage, llmopt_error *error);
  llmopt_status sizeTensors(const llmopt_model &model, llmopt_error *error);
  llmopt_status sizeBuffers(const llmopt_model &model, llmopt_error *error);
  llmopt_status locateBuffers(const llmopt_model &model, llmopt_error *error);
  llmopt_status sizeSteps(const llmopt_model &model, uint32_t stage, llmopt_error *error);
  llmopt_status sizeCaches(const llmopt_model &model, llmopt_error *error);
  llmopt_status sizeOutput(const llmopt_tensor_desc &declared, llmopt_tensor_type *type, uint64_t *bytes,
                           llmopt_error *error) const;

  /// The value of an expression that counts something.
  llmopt_status sizeOf(uint32_t expr, const char *what, const char *name, uint64_t *result, llmopt_error *error) const;

  Array<int64_t> symbols, laterSymbols; ///< `laterSymbols`: see sizeOfLater
  Array<uint32_t> definedBy;            ///< per symbol: the input that gave its value
  Array<int64_t> values;                ///< per expression
  Array<uint8_t> evaluated;             ///< per expression: 0 where it overflowed
  Array<uint32_t> stages;               ///< per expression: how many data symbols must be known
  Array<uint64_t> sizes;                ///< per buffer; UINT64_MAX where unknown
  Array<Location> locations;            ///< per buffer
  Array<ArenaItem> items;
  Array<uint32_t> itemOf; ///< per buffer, for arena buffers
  Array<uint64_t> cacheOffsets;
  ArenaWorkspace workspace;
  Array<int64_t> dims;

  uint64_t sizeOfLater(const llmopt_model &model, uint32_t expr, uint64_t now) const;
  bool laysOutAhead = false;
};

} // namespace llmopt::rt

#endif
