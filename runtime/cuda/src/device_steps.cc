// The steps of a run on a device: launches, and what the runtime does between.
#include "device_session.h"

using namespace llmopt::rt;

llmopt_status DeviceSession::runSteps(Binding &binding, uint64_t *totalNs, uint64_t *lastNs, llmopt_error *error) {
  const llmopt_model_desc &desc = model->desc;
  uint32_t nextCount = 0, numCounts = desc.num_data_symbols;
  for (uint32_t s = 0; lastNs && s < desc.num_steps; ++s)
    lastNs[s] = 0;
  for (size_t s = 0, reached = 0;;) {
    // Branches pass numbers by, and loops come back to them.
    if (s < reached)
      nextCount = 0;
    reached = s;
    while (nextCount < numCounts && desc.data_symbols[nextCount].first_step < s)
      ++nextCount;
    for (; nextCount < numCounts && desc.data_symbols[nextCount].first_step == s; ++nextCount) {
      const OutputCopy &at = binding.counts[nextCount];
      DeviceAddress from = at.kind == LLMOPT_BUFFER_INPUT    ? inputAddresses[at.index] + at.offset
                           : at.kind == LLMOPT_BUFFER_OUTPUT ? outputAddresses[at.index] + at.offset
                                                             : reinterpret_cast<DeviceAddress>(at.data);
      int64_t number;
      if (llmopt_status status = readNumber(from, sizeof(number), &number, error))
        return status;
      if (llmopt_status status = binding.publish(*model, nextCount, number, error))
        return status;
    }
    if (s == desc.num_steps)
      return LLMOPT_OK;
    uint32_t now = uint32_t(s++);
    if (totalNs)
      driver->eventRecord(before, stream);
    llmopt_status status = desc.steps[now].control == LLMOPT_CONTROL_NONE ? launch(binding, now, error)
                                                                          : runControl(binding, now, &s, error);
    if (status)
      return status;
    if (totalNs) {
      float milliseconds = 0;
      driver->eventRecord(after, stream);
      if (llmopt_status failed = driver->check(driver->eventSynchronize(after), desc.steps[now].name, error))
        return failed;
      driver->eventElapsedTime(&milliseconds, before, after);
      uint64_t ns = uint64_t(double(milliseconds) * 1e6);
      totalNs[now] += ns;
      lastNs[now] += ns; // a step of a loop runs often
    }
  }
}

llmopt_status DeviceSession::launch(const Binding &binding, uint32_t index, llmopt_error *error) {
  const llmopt_model_desc &desc = model->desc;
  const PreparedStep &step = binding.steps[index];
  if (step.tiles == 0)
    return LLMOPT_OK;
  const llmopt_library_product *product = products.find(binding, index);
  byLibrary[index] = product != nullptr;
  if (product)
    return launchProduct(binding, *product, error);
  uint32_t which = desc.device->step_kernels[index];
  const llmopt_device_kernel &kernel = desc.device->kernels[which];
  uint32_t count = 0;
  for (uint32_t a = 0; a < kernel.num_buffers; ++a)
    values[count++] = reinterpret_cast<uint64_t>(step.args[a]);
  for (uint32_t d = 0; d < kernel.num_dims; ++d)
    values[count++] = uint64_t(step.dims[d]);
  if (kernel.scratch_bytes || kernel.scratch_dim != LLMOPT_NONE) {
    uint64_t each = kernel.scratch_bytes, all;
    if (kernel.scratch_dim != LLMOPT_NONE)
      each = step.dims[kernel.scratch_dim] < 0 ? 0 : uint64_t(step.dims[kernel.scratch_dim]);
    if (__builtin_mul_overflow(each, uint64_t(step.tiles), &all) || all > scratch.size())
      return fail(error, LLMOPT_INTERNAL, "step '%s': needs more scratch memory than its binding took",
                  desc.steps[index].name);
    values[count++] = scratch.address();
  }
  for (uint32_t i = 0; i < count; ++i)
    parameters[i] = &values[i]; // a launch copies the values that these point to
  if (mode == Mode::Update)
    return updateLaunch(which, step.tiles, values.data(), count, error);
  LaunchAttribute overlap = {kProgrammaticSerialization, 0, 1, {}};
  LaunchConfig config = {{step.tiles, 1, 1}, {kernel.threads, 1, 1}, kernel.shared_bytes, stream, nullptr, 0};
  if (overlaps) {
    config.attributes = &overlap;
    config.numAttributes = 1;
  }
  int result = driver->launchKernel(&config, device->kernels[which], parameters.data(), nullptr);
  if (!result)
    return note(which, step.tiles, values.data(), count, error);
  return fail(error, LLMOPT_DEVICE_ERROR, "kernel '%s' of step '%s' cannot be launched: %s (CUDA error %d)",
              kernel.name, desc.steps[index].name, driver->text(result), result);
}

/// A number of the device's memory, once all before it is done.
llmopt_status DeviceSession::readNumber(DeviceAddress from, uint64_t bytes, int64_t *number, llmopt_error *error) {
  char *to = pinned.data + pinned.size - 64;
  if (llmopt_status status =
          driver->check(driver->copyToHostAsync(to, from, bytes, stream), "reading a number of the device", error))
    return status;
  if (llmopt_status status = synchronize("running the model on the device", error))
    return status;
  *number = 0;
  std::memcpy(number, to, bytes);
  return LLMOPT_OK;
}

llmopt_status DeviceSession::runControl(Binding &binding, uint32_t index, size_t *next, llmopt_error *error) {
  const PreparedStep &step = binding.steps[index];
  const char *name = model->desc.steps[index].name;
  auto argument = [&](uint32_t i) { return reinterpret_cast<DeviceAddress>(step.args[i]); };
  auto read = [&](uint32_t i, uint64_t bytes, int64_t *number) {
    return readNumber(argument(i), bytes, number, error);
  };
  int64_t counter = 0, other = 0;
  llmopt_status status = LLMOPT_OK;
  switch (step.control) {
  case LLMOPT_CONTROL_COPY: {
    DeviceAddress to = argument(0);
    if (step.numArgs > 2) {
      if ((status = read(2, 8, &counter)))
        return status;
      to += DeviceAddress(step.dims[0] * (step.dims[1] + step.dims[2] * counter));
    }
    if (step.dims[0] && to != argument(1))
      return driver->check(driver->copyAsync(to, argument(1), uint64_t(step.dims[0]), stream), name, error);
    return LLMOPT_OK;
  }
  case LLMOPT_CONTROL_RESET:
    return driver->check(driver->setAsync(argument(0), 0, 8, stream), name, error);
  case LLMOPT_CONTROL_JUMP:
    *next = step.tiles;
    return LLMOPT_OK;
  case LLMOPT_CONTROL_BRANCH:
    if ((status = read(0, 1, &other)))
      return status;
    if (!other)
      *next = step.tiles;
    return LLMOPT_OK;
  case LLMOPT_CONTROL_LOOP: {
    bool goOn = true;
    if (step.args[1]) {
      if ((status = read(0, 8, &counter)) || (status = read(1, 8, &other)))
        return status;
      goOn = counter < other;
    }
    if (goOn && step.args[2]) {
      if ((status = read(2, 1, &other)))
        return status;
      goOn = other != 0;
    }
    if (!goOn)
      *next = step.tiles;
    return LLMOPT_OK;
  }
  case LLMOPT_CONTROL_NEXT: {
    if ((status = read(0, 8, &counter)))
      return status;
    ++counter;
    std::memcpy(pinned.data + pinned.size - 64, &counter, 8);
    *next = step.tiles;
    // The next reader of these 64 bytes waits for the stream first.
    if ((status = driver->check(driver->copyToDeviceAsync(argument(0), pinned.data + pinned.size - 64, 8, stream), name,
                                error)))
      return status;
    return synchronize(name, error);
  }
  case LLMOPT_CONTROL_CHECK:
    return binding.checkConstraint(*model, step.tiles, error);
  case LLMOPT_CONTROL_SHAPE: {
    llmopt_tensor_type &type = binding.actual[step.tiles];
    if (step.numArgs && (status = read(0, 8, &counter)))
      return status;
    for (uint32_t d = 0; d < step.numDims; ++d)
      type.dims[d] = d == 0 && step.numArgs ? counter : step.dims[d];
    return LLMOPT_OK;
  }
  }
  return LLMOPT_OK;
}
