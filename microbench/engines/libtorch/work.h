// The timed work: calls of a module, or training steps, with marks at the borders of their phases.

#pragma once

#include <torch/csrc/autograd/autograd.h>
#include <torch/script.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "clock.h"
#include "files.h"
#include "optimizer.h"

// One case. Its files may be deleted once it is made.
class Work {
 public:
  virtual ~Work() = default;

  // Takes one sample of `calls` calls, with its marks on the clock.
  virtual void sample(int64_t calls, Clock& clock) = 0;

  // Returns the answer of one untimed call or step on a folder's initial inputs, weights and buffers.
  virtual Lists answer(const std::string& folder) = 0;

  // Returns the current values of the trained parameters.
  virtual Tensors weights() = 0;
};

// Merges parameters that share their memory into one again, as they were before saving.
inline void tie(torch::jit::Module& module) {
  std::unordered_map<const void*, at::Tensor> known;
  for (torch::jit::Module part : module.modules()) {
    for (const auto& parameter : part.named_parameters(/*recurse=*/false)) {
      if (parameter.value.numel() == 0) continue;
      const auto [first, is_new] = known.emplace(parameter.value.data_ptr(), parameter.value);
      if (!is_new && first->second.sizes() == parameter.value.sizes()) part.setattr(parameter.name, first->second);
    }
  }
}

inline torch::jit::Module module_in(const std::string& folder, c10::Device device) {
  torch::jit::Module module = torch::jit::load(folder + "/module.pt", device);
  tie(module);
  return module;
}

// The inputs of a call, on the device that they were saved from.
inline std::vector<c10::IValue> inputs_in(const std::string& folder) {
  return Fields(folder + "/inputs.pt").at("inputs").toListRef().vec();
}

class Inference : public Work {
 public:
  Inference(const std::string& folder, const Fields& settings, c10::Device device)
      : module_(module_in(folder, device)), inputs_(inputs_in(folder)) {
    if (settings.at("freeze").toBool()) module_ = torch::jit::freeze(module_);
    if (settings.at("optimize").toBool()) module_ = torch::jit::optimize_for_inference(module_);
    const c10::InferenceMode guard;
    for (int64_t left = settings.at("rehearsals").toInt(); left > 0; --left) module_.forward(inputs_);
  }

  void sample(int64_t calls, Clock& clock) override {
    const c10::InferenceMode guard;
    clock.mark();
    for (int64_t call = 0; call < calls; ++call) module_.forward(inputs_);
    clock.mark();
  }

  Lists answer(const std::string& folder) override {
    inputs_ = inputs_in(folder);
    const c10::InferenceMode guard;
    return lists({{"outputs", tensors_of(module_.forward(inputs_))}});
  }

  Tensors weights() override { return {}; }

 private:
  torch::jit::Module module_;
  std::vector<c10::IValue> inputs_;
};

// Copies the parameters and buffers in a file to a module, by name.
inline void put_back(const torch::jit::Module& module, const Fields& state) {
  const at::NoGradGuard guard;
  const Tensors values = tensors_of(state.at("values"));
  std::unordered_map<std::string, at::Tensor> now;
  for (const auto& each : module.named_parameters()) now.emplace(each.name, each.value);
  for (const auto& each : module.named_buffers()) now.emplace(each.name, each.value);
  size_t place = 0;
  for (const c10::IValue& name : state.at("names").toListRef()) {
    now.at(name.toStringRef()).copy_(values[place++]);
  }
}

// A module's parameters in the order of the names, which list each once.
inline Tensors parameters_of(const torch::jit::Module& module, const c10::IValue& names) {
  std::unordered_map<std::string, at::Tensor> known;
  for (const auto& each : module.named_parameters()) known.emplace(each.name, each.value);
  Tensors found;
  for (const c10::IValue& name : names.toListRef()) found.push_back(known.at(name.toStringRef()));
  return found;
}

class Training : public Work {
 public:
  Training(const std::string& folder, const Fields& settings, c10::Device device)
      : device_(device),
        names_(settings.at("parameters")),
        seed_(settings.at("seed").toInt()),
        rehearsals_(settings.at("rehearsals").toInt()),
        module_(module_in(folder, device)),
        parameters_(parameters_of(module_, names_)),
        inputs_(inputs_in(folder)) {
    for (const c10::IValue& each : inputs_) {
      if (each.toTensor().requires_grad()) leaves_.push_back(each.toTensor());
    }
    if (settings.at("is_loss").toBool()) objective_ = torch::jit::load(folder + "/objective.pt", device);
    if (!parameters_.empty()) {
      const Fields options(settings.at("optimizer_options"));
      optimizer_ = make_optimizer(settings.at("optimizer").toStringRef(), parameters_, options);
    }
    rehearse(module_, parameters_);
  }

  // Marks the start, and the ends of forward, loss (if there is one), backward and update. A step's
    // results live until the next step replaces them.
  void sample(int64_t, Clock& clock) override {
    clock.mark();
    output_ = module_.forward(inputs_);
    clock.mark();
    if (objective_) {
      loss_ = objective_->forward({output_}).toTensor();
      clock.mark();
      loss_.backward();
    } else {
      backward_from(output_);
    }
    clock.mark();
    update();
    clock.mark();
  }

  // If the folder has a module, it differs from the timed one, which is then left as it is.
  Lists answer(const std::string& folder) override {
    if (!std::filesystem::exists(folder + "/module.pt")) {
      put_back(module_, Fields(folder + "/state.pt"));
      return answer(module_, parameters_);
    }
    torch::jit::Module module = module_in(folder, device_);
    const Tensors parameters = parameters_of(module, names_);
    rehearse(module, parameters);
    return answer(module, parameters);
  }

  Tensors weights() override { return detached(parameters_); }

 private:
  // Takes the steps in which the executor profiles and optimizes a module; restores the buffers.
  void rehearse(torch::jit::Module& module, const Tensors& parameters) {
    Tensors buffers, before;
    for (const at::Tensor& each : module.buffers()) {
      buffers.push_back(each);
      before.push_back(each.clone());
    }
    for (int64_t left = rehearsals_; left > 0; --left) {
      compute(module);
      drop_gradients(parameters);
      drop_gradients(leaves_);
    }
    for (size_t place = 0; place < buffers.size(); ++place) buffers[place].copy_(before[place]);
  }

  Lists answer(torch::jit::Module& module, const Tensors& parameters) {
    const Tensors roots = tensors_of(compute(module));
    Lists found = lists({{"outputs", detached(roots)}, {"gradients", gradients_of(parameters)}});
    drop_gradients(parameters);
    drop_gradients(leaves_);
    return found;
  }

  // Returns the loss, or a layer's outputs, and leaves the gradients in place. A loss is scaled because
    // small gradients vanish in float16.
  c10::IValue compute(torch::jit::Module& module) {
    torch::manual_seed(seed_);
    c10::IValue root = module.forward(inputs_);
    if (objective_) {
      root = objective_->forward({root});
      (root.toTensor() * SCALE).backward();
    } else {
      backward_from(root);
    }
    return root;
  }

  // Starts from ones for every output that requires a gradient; they are made once.
  void backward_from(const c10::IValue& output) {
    Tensors roots;
    for (const at::Tensor& each : tensors_of(output)) {
      if (each.requires_grad()) roots.push_back(each);
    }
    if (roots.empty()) {
      throw std::runtime_error("nothing in the output requires a gradient, so the layer cannot train");
    }
    if (ones_.empty()) {
      for (const at::Tensor& root : roots) ones_.push_back(at::ones_like(root));
    }
    torch::autograd::backward(roots, ones_);
  }

  void update() {
    if (optimizer_) {
      optimizer_->step();
      optimizer_->zero_grad();
    }
    drop_gradients(leaves_);
  }

  static void drop_gradients(const Tensors& tensors) {
    for (const at::Tensor& each : tensors) each.mutable_grad().reset();
  }

  // The gradients of these parameters and of the inputs, without the scale; zeros if there is none.
  Tensors gradients_of(const Tensors& parameters) {
    const double scale = objective_ ? SCALE : 1.0;
    Tensors found;
    for (const Tensors& each : {parameters, leaves_}) {
      for (const at::Tensor& tensor : each) {
        const at::Tensor gradient = tensor.grad();
        found.push_back(gradient.defined() ? gradient.to_dense() / scale : at::zeros_like(tensor));
      }
    }
    return found;
  }

  static constexpr double SCALE = 1024.0;

  c10::Device device_;
  c10::IValue names_;
  uint64_t seed_;
  int64_t rehearsals_;
  torch::jit::Module module_;
  Tensors parameters_;
  std::vector<c10::IValue> inputs_;
  Tensors leaves_;
  std::optional<torch::jit::Module> objective_;
  Optimizer optimizer_;
  Tensors ones_;
  c10::IValue output_;
  at::Tensor loss_;
};

inline std::unique_ptr<Work> load(const std::string& folder, const Fields& settings, c10::Device device) {
  if (settings.at("training").toBool()) return std::make_unique<Training>(folder, settings, device);
  return std::make_unique<Inference>(folder, settings, device);
}
