// What blocks a host thread: a doorbell (one sleeper) and a baton (many, first come first served). Raw futexes.
//
// Why not std::mutex, condition variables or std::atomic::wait: they synchronise through objects that all CPUs share,
// and ThreadSanitizer takes each of those for an order between accesses that a real machine does not order. Here the
// only order that the sanitizer can see is the one that is meant:
//   Doorbell  none. Relaxed accesses and fences (which it does not model): a timer that wakes a task on another CPU
//             hands over no data. Who does hand over data does it through a lock of its own (lock.cpp).
//   Baton     release -> acquire between successive holders: tasks of one CPU do see each other's work.
// Wake-ups cannot be lost: a ring stays until it is consumed, and the kernel compares the futex word before it sleeps.
#pragma once

#include <atomic>
#include <cstdint>

namespace memtorture::machine::thread {

void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t seen);  // may return early
void futex_wake(std::atomic<std::uint32_t>& word, int sleepers);

class Doorbell {
 public:
  void ring() {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    rung_.store(1, std::memory_order_relaxed);
    futex_wake(rung_, 1);
  }
  void wait() {  // one caller: the owner
    while (rung_.exchange(0, std::memory_order_relaxed) == 0) futex_wait(rung_, 0);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }

 private:
  std::atomic<std::uint32_t> rung_{0};
};

class Baton {  // a ticket lock that sleeps; the holder of the smallest ticket executes
 public:
  void acquire();
  void release();
  bool contended() const;  // asked by the holder: does somebody wait for it?

 private:
  std::atomic<std::uint32_t> next_{0};
  std::atomic<std::uint32_t> serving_{0};
};

}  // namespace memtorture::machine::thread
