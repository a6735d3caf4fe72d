#include "Train.h"

#include <cmath>
#include <cstdio>

using namespace llmopt::run;

namespace {

/// Of the difference, beside |gradient| |direction|. Losses are f32: their rounding,
/// divided by the step, stays below this for the steps that are taken.
constexpr double kTolerance = 5e-3;
/// Steps along a direction are such that the gradient makes the loss change by these
/// shares of it.
constexpr double kChanges[] = {1e-3, 1e-2, 1e-1};
/// Of the norm of all gradients: what is below is rounding, as that of a bias of keys,
/// which softmax takes no notice of.
constexpr double kNothing = 1e-6;

class Checker {
public:
  Checker(llmopt_model *model, const Options &options)
      : trainer(openTrainer(model, options)), data(options.training.train, trainer.get()),
        batch(data.take(data.makeOrder(Order::File, options.training.batch, 0, 0).front())) {
    llmopt_error error;
    check(llmopt_trainer_bind(trainer.get(), batch.types.data(), batch.types.size(), &error), error);
    check(llmopt_trainer_bind_evaluation(trainer.get(), batch.types.data(), batch.types.size(), &error), error);
    llmopt_tensor_type type;
    check(llmopt_trainer_get_output_type(trainer.get(), &type, &error), error);
    uint64_t bytes = llmopt_dtype_size(type.dtype);
    for (uint32_t d = 0; d < type.rank; ++d)
      bytes *= uint64_t(type.dims[d]);
    output.resize(bytes);
    check(llmopt_trainer_accumulate(trainer.get(), batch.inputs.data(), batch.inputs.size(), nullptr, &error), error);
  }

  void run() {
    uint32_t failures = 0, zeros = 0, count = llmopt_trainer_num_parameters(trainer.get());
    double all = 0;
    for (uint32_t i = 0; i < count; ++i)
      all += square(get(i));
    std::printf("%-10s %12s %12s %12s  %s\n", "", "|gradient|", "along it", "at random", "parameter");
    for (uint32_t i = 0; i < count; ++i) {
      llmopt_parameter_info p = get(i);
      double norm = std::sqrt(square(p));
      std::vector<double> along(p.gradient, p.gradient + p.count), random(p.count);
      Random numbers(i + 1);
      for (double &v : random)
        v = numbers.symmetric();
      bool isZero = norm <= kNothing * std::sqrt(all);
      double first = isZero ? 0 : differ(p, along, norm), second = isZero ? 0 : differ(p, random, norm);
      bool good = first <= kTolerance && second <= kTolerance;
      failures += !good;
      zeros += isZero;
      std::printf("%-10s %12.4e %12.2e %12.2e  %s\n",
                  isZero ? "no effect"
                  : good ? "ok"
                         : "WRONG",
                  norm, first, second, p.name);
    }
    std::printf("%u parameters: %u agree with differences of the loss, %u do not change it\n", count,
                count - failures - zeros, zeros);
    if (failures)
      throw Failure{BadData, std::to_string(failures) + " gradients differ from differences of the loss by more than " +
                                 "0.5 percent"};
  }

private:
  llmopt_parameter_info get(uint32_t i) const {
    llmopt_parameter_info p = {};
    p.struct_size = sizeof(p);
    llmopt_error error;
    check(llmopt_trainer_get_parameter(trainer.get(), i, &p, &error), error);
    return p;
  }
  static double square(const llmopt_parameter_info &p) {
    double sum = 0;
    for (uint64_t k = 0; k < p.count; ++k)
      sum += double(p.gradient[k]) * p.gradient[k];
    return sum;
  }

  /// |difference quotient - gradient . direction| / (|gradient| |direction|), the best of
  /// some steps: too small a one drowns in rounding, too large a one is curved.
  double differ(const llmopt_parameter_info &p, const std::vector<double> &direction, double norm) {
    double length = 0, product = 0;
    for (uint64_t k = 0; k < p.count; ++k) {
      length += direction[k] * direction[k];
      product += direction[k] * p.gradient[k];
    }
    length = std::sqrt(length);
    std::vector<float> old(p.value, p.value + p.count);
    auto at = [&](double h) {
      for (uint64_t k = 0; k < p.count; ++k)
        p.value[k] = float(old[k] + h * direction[k]);
      llmopt_loss loss;
      llmopt_error error;
      llmopt_output out = {output.data(), output.size()};
      check(llmopt_trainer_evaluate(trainer.get(), batch.inputs.data(), batch.inputs.size(), &out, &loss, &error),
            error);
      return loss.sum;
    };
    double best = INFINITY;
    const double scale = std::fabs(at(0)) / (norm * length);
    for (double change : kChanges) {
      double h = change * scale;
      // Five points: the error is of the fourth order.
      double quotient = (8 * (at(h / 2) - at(-h / 2)) - (at(h) - at(-h))) / (6 * h);
      best = std::fmin(best, std::fabs(quotient - product) / (norm * length));
    }
    std::copy(old.begin(), old.end(), p.value);
    return best;
  }

  Trainer trainer;
  TrainData data;
  const Batch &batch;
  std::vector<char> output;
};

} // namespace

void llmopt::run::gradcheck(llmopt_model *model, const Options &options) { Checker(model, options).run(); }
