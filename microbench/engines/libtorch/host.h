// The process on its host: the settings that a worker makes in its own process, made in this one.

#pragma once

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <stdexcept>

#include "files.h"

// Nanoseconds of the clock that Python's time.perf_counter_ns reads on Linux.
inline int64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{1'000'000'000} * time.tv_sec + time.tv_nsec;
}

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

// Evicts the CPUs' caches: all threads rewrite that many bytes.
class Evictor {
 public:
  explicit Evictor(int64_t bytes) : buffer_(at::zeros({bytes / 4})) {}

  void operator()() { buffer_.add_(1.0); }

 private:
  at::Tensor buffer_;
};
