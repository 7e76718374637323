// Files shared with Python: written by `torch.save`, or to be read by `torch.load`.

#pragma once

#include <torch/script.h>

#include <fstream>
#include <initializer_list>
#include <iterator>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using Tensors = std::vector<at::Tensor>;

// A dictionary that Python saved.
class Fields {
 public:
  explicit Fields(const std::string& path) : fields_(read(path)) {}
  explicit Fields(const c10::IValue& fields) : fields_(fields.toGenericDict()) {}

  c10::IValue at(const std::string& name) const { return fields_.at(name); }

 private:
  static c10::impl::GenericDict read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    if (bytes.empty()) throw std::runtime_error("cannot read " + path);
    return torch::jit::pickle_load(bytes).toGenericDict();
  }

  c10::impl::GenericDict fields_;
};

// Lists of tensors by their names, which Python reads as a dictionary.
using Lists = c10::Dict<std::string, Tensors>;

inline Lists lists(std::initializer_list<std::pair<std::string, Tensors>> items) {
  Lists made;
  for (const auto& [name, tensors] : items) made.insert(name, tensors);
  return made;
}

inline void save(const std::string& path, const Lists& lists) {
  const std::vector<char> bytes = torch::jit::pickle_save(lists);
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

// Every tensor in an output, however nested, in the order in which Python finds them.
inline void collect(const c10::IValue& output, Tensors& found) {
  if (output.isTensor()) {
    found.push_back(output.toTensor());
  } else if (output.isTuple()) {
    for (const c10::IValue& each : output.toTupleRef().elements()) collect(each, found);
  } else if (output.isList()) {
    for (const c10::IValue& each : output.toListRef()) collect(each, found);
  } else if (output.isGenericDict()) {
    for (const auto& each : output.toGenericDict()) collect(each.value(), found);
  }
}

inline Tensors tensors_of(const c10::IValue& output) {
  Tensors found;
  collect(output, found);
  return found;
}

inline Tensors detached(const Tensors& tensors) {
  Tensors found;
  for (const at::Tensor& each : tensors) found.push_back(each.detach());
  return found;
}
