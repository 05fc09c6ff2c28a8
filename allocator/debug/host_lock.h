// A lock of the host around bookkeeping that a real machine would not have.
//
// It is no lock of the simulated kernel: to take it is no scheduling point, so on fibers it is never contended, and
// nothing can interrupt its holder on either engine. Held for a few instructions, and never over a call that has a
// point inside.
#pragma once

#include <atomic>
#include <thread>

namespace memtorture::debug {

class HostLock {
 public:
  void lock() {
    while (taken_.exchange(true, std::memory_order_acquire)) std::this_thread::yield();
  }
  void unlock() { taken_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> taken_{false};
};

}  // namespace memtorture::debug
