// A lock that many may read under while nobody writes. Sleepable process context only, but for try_read, which neither
// sleeps nor is a point (any context but NMI). Not recursive; who reads must not write.
//
// A writer first excludes other writers, then closes the door to readers, then waits for those inside. Readers only
// try: whoever finds the door closed has something better to do (reclaim does without shrinkers that time). So the only
// ones who ever wait are writers, and there is nothing to be fair about.
#pragma once

#include <atomic>
#include <cstdint>

#include "allocator/machine/lock.h"

namespace memtorture::machine {

class RwSemaphore {
 public:
  explicit constexpr RwSemaphore(LockClass lock_class) : class_(lock_class), writers_(lock_class) {}

  bool try_read() {
    std::uint32_t state = state_.load(std::memory_order_relaxed);
    do {
      if ((state & closed) != 0) return false;
    } while (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire, std::memory_order_relaxed));
    note_attempt(class_, false);
    note_acquired(class_);
    return true;
  }
  void end_read() {
    note_release(class_);
    if (state_.fetch_sub(1, std::memory_order_release) == (closed | 1)) queue_.wake_all();
  }
  // False: it may not sleep, which was reported, and would have to.
  bool write() {
    writers_.lock();
    if (!writers_.is_mine()) return false;
    state_.fetch_or(closed, std::memory_order_relaxed);
    while (state_.load(std::memory_order_acquire) != closed) {
      if (preemptible()) {
        // Whoever leaves between our look and our sleep must not be missed.
        queue_.wait_timeout(0, [this] { return state_.load(std::memory_order_acquire) == closed; });
        continue;
      }
      state_.fetch_and(~closed, std::memory_order_relaxed);
      writers_.unlock();
      return false;
    }
    return true;
  }
  void end_write() {
    state_.store(0, std::memory_order_release);
    writers_.unlock();
  }
  void reset() {
    state_.store(0, std::memory_order_relaxed);
    writers_.reset();
    queue_.reset();
  }

 private:
  static constexpr std::uint32_t closed = 1u << 31;  // and below it the number of readers
  std::atomic<std::uint32_t> state_{0};
  LockClass class_;
  Mutex writers_;
  WaitQueue queue_;
};

}  // namespace memtorture::machine
