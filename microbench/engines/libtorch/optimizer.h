// The optimizers of the C++ API, by the names and options of torch.optim.

#pragma once

#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "files.h"

using Optimizer = std::unique_ptr<torch::optim::Optimizer>;

inline double number(const Fields& options, const std::string& name) {
  const c10::IValue value = options.at(name);
  return value.isInt() ? static_cast<double>(value.toInt()) : value.toDouble();
}

inline Optimizer make_sgd(const Tensors& parameters, const Fields& options) {
  return std::make_unique<torch::optim::SGD>(
      parameters,
      torch::optim::SGDOptions(number(options, "lr"))
          .momentum(number(options, "momentum"))
          .dampening(number(options, "dampening"))
          .weight_decay(number(options, "weight_decay"))
          .nesterov(options.at("nesterov").toBool()));
}

// Adam and AdamW: their options have the same names.
template <typename Class, typename Options>
Optimizer make_adam(const Tensors& parameters, const Fields& options) {
  return std::make_unique<Class>(
      parameters,
      Options(number(options, "lr"))
          .betas({number(options, "beta1"), number(options, "beta2")})
          .eps(number(options, "eps"))
          .weight_decay(number(options, "weight_decay"))
          .amsgrad(options.at("amsgrad").toBool()));
}

inline Optimizer make_rmsprop(const Tensors& parameters, const Fields& options) {
  return std::make_unique<torch::optim::RMSprop>(
      parameters,
      torch::optim::RMSpropOptions(number(options, "lr"))
          .alpha(number(options, "alpha"))
          .eps(number(options, "eps"))
          .weight_decay(number(options, "weight_decay"))
          .momentum(number(options, "momentum"))
          .centered(options.at("centered").toBool()));
}

inline Optimizer make_adagrad(const Tensors& parameters, const Fields& options) {
  return std::make_unique<torch::optim::Adagrad>(
      parameters,
      torch::optim::AdagradOptions(number(options, "lr"))
          .lr_decay(number(options, "lr_decay"))
          .weight_decay(number(options, "weight_decay"))
          .initial_accumulator_value(number(options, "initial_accumulator_value"))
          .eps(number(options, "eps")));
}

inline Optimizer make_optimizer(const std::string& name, const Tensors& parameters, const Fields& options) {
  if (name == "SGD") return make_sgd(parameters, options);
  if (name == "Adam") return make_adam<torch::optim::Adam, torch::optim::AdamOptions>(parameters, options);
  if (name == "AdamW") return make_adam<torch::optim::AdamW, torch::optim::AdamWOptions>(parameters, options);
  if (name == "RMSprop") return make_rmsprop(parameters, options);
  if (name == "Adagrad") return make_adagrad(parameters, options);
  throw std::runtime_error("the C++ API has no optimizer " + name);
}
