// The process on its host and device: the settings that a worker makes in its own process, made in this one.

#pragma once

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <stdexcept>

#include "files.h"

// Has the kernel kill this process when its parent ends, and ends it if the parent has ended already.
inline void die_with(pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) std::_Exit(1);
}

// Has the C library keep released memory, as microbench/host/allocator.py does.
inline void keep_memory(int shared, int kept) {
  const bool mapped = mallopt(M_MMAP_THRESHOLD, shared) || mallopt(M_MMAP_MAX, 0);
  if (!mapped || !mallopt(M_TRIM_THRESHOLD, kept)) {
    throw std::runtime_error("this C library does not let its allocator's thresholds be raised");
  }
}

// Applies torch's settings. Denormals come first: threads inherit how their creator treats them.
inline void prepare_host(const Fields& settings) {
  if (const auto kept = settings.at("keep_memory"); !kept.isNone()) {
    keep_memory(settings.at("share_memory").toInt(), kept.toInt());
  }
  if (settings.at("flush_denormal").toBool() && !at::globalContext().setFlushDenormal(true)) {
    throw std::runtime_error("this CPU cannot treat denormal numbers as zero");
  }
  at::globalContext().setUserEnabledMkldnn(settings.at("mkldnn").toBool());
  at::set_num_threads(settings.at("threads").toInt());
  at::set_num_interop_threads(settings.at("interop_threads").toInt());
}

// Lets fp32 products on a GPU be in TF32, or not: in a new process, those of cuDNN are.
inline void allow_tf32(bool allowed) {
  at::globalContext().setFloat32MatmulPrecision(allowed ? "high" : "highest");
  at::globalContext().setAllowTF32CuDNN(allowed);
}

// Makes the case's device the current one of its kind.
inline c10::Device prepare_device(const Fields& settings) {
  const c10::Device device(settings.at("device").toStringRef());
  if (device.has_index()) c10::impl::VirtualGuardImpl(device.type()).setDevice(device);
  if (const auto tf32 = settings.at("tf32"); !tf32.isNone()) allow_tf32(tf32.toBool());
  return device;
}

// Evicts a device's caches: that many bytes are rewritten, on a CPU by all threads.
class Evictor {
 public:
  Evictor(int64_t bytes, c10::Device device) : buffer_(at::zeros({bytes / 4}, device)) {}

  void operator()() { buffer_.add_(1.0); }

 private:
  at::Tensor buffer_;
};
