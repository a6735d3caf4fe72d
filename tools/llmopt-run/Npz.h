// Arrays from and to files: .npy, and .npz, which is a zip of them.
#ifndef LLMOPT_RUN_NPZ_H
#define LLMOPT_RUN_NPZ_H

#include "Tensor.h"

namespace llmopt::run {

/// All arrays of a .npz file.
std::vector<Tensor> readNpz(const std::string &path);

/// The array of a .npy file, under a name of the caller.
Tensor readNpyFile(const std::string &path, std::string name);

/// Both write beside the target, flush to disk, and rename: the file appears
/// whole or not at all.
void writeNpz(const std::string &path, std::vector<Tensor> &tensors);
void writeNpyFile(const std::string &path, Tensor &tensor);

} // namespace llmopt::run

#endif
