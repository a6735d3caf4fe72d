// The .npy format (numpy.lib.format, versions 1.0 to 3.0): little-endian,
// C order. bfloat16 is read and written as the two raw bytes numpy calls V2.
#ifndef LLMOPT_RUN_NPY_H
#define LLMOPT_RUN_NPY_H

#include "Tensor.h"

#include <functional>

namespace llmopt::run {

/// Fills exactly `size` bytes or throws.
using ReadFunction = std::function<void(void *data, size_t size)>;

/// `available`: bytes of the array, header included, as its container states;
/// checked before anything is allocated. `where` begins every message.
Tensor readNpy(const std::string &where, std::string name, uint64_t available, const ReadFunction &read);

/// Writes the header into the tensor's headroom, right before its data; returns
/// its size. Header and data then are one .npy file in memory.
size_t placeNpyHeader(Tensor &tensor);

} // namespace llmopt::run

#endif
