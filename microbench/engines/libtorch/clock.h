// The clock that marks are read on: the host's, or the events of a device.

#pragma once

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <time.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

using Marks = std::vector<int64_t>;

// Nanoseconds of the clock that Python's time.perf_counter_ns reads on Linux.
inline int64_t now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{1'000'000'000} * time.tv_sec + time.tv_nsec;
}

class Clock {
 public:
  virtual ~Clock() = default;

  // Makes room for so many marks, so that none has to.
  virtual void expect(size_t marks) = 0;

  // Notes this point in time.
  virtual void mark() = 0;

  // Returns the marks since it was last asked, in nanoseconds, once the device has passed them all.
  virtual Marks taken() = 0;
};

// A call on the host has ended when it returns.
class HostClock : public Clock {
 public:
  void expect(size_t marks) override { marks_.reserve(marks); }
  void mark() override { marks_.push_back(now()); }

  Marks taken() override {
    const Marks found = marks_;
    marks_.clear();
    return found;
  }

 private:
  Marks marks_;
};

// Events on a device's current stream: its time, including gaps between kernels. They are used again, because
// the first recording of one creates it.
class EventClock : public Clock {
 public:
  explicit EventClock(c10::Device device)
      : device_(device), stream_(c10::impl::VirtualGuardImpl(device.type()).getStream(device)) {}

  void expect(size_t marks) override {
    while (events_.size() < marks) {
      events_.emplace_back(device_.type(), c10::EventFlag::BACKEND_DEFAULT);
      events_.back().record(stream_);
    }
  }

  void mark() override {
    expect(used_ + 1);
    events_[used_++].record(stream_);
  }

  // Milliseconds come as float32: only those between neighbours are exact enough.
  Marks taken() override {
    if (used_ > 0) events_[used_ - 1].synchronize();
    Marks found;
    double time = 0.0;
    for (size_t place = 0; place < used_; ++place) {
      if (place > 0) time += 1e6 * events_[place - 1].elapsedTime(events_[place]);
      found.push_back(std::llround(time));
    }
    used_ = 0;
    return found;
  }

 private:
  c10::Device device_;
  c10::Stream stream_;
  std::vector<c10::Event> events_;
  size_t used_ = 0;
};

inline std::unique_ptr<Clock> make_clock(c10::Device device) {
  if (device.is_cpu()) return std::make_unique<HostClock>();
  return std::make_unique<EventClock>(device);
}
