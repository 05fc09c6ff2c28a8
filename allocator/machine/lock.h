// Locks and wait queues of the simulated machine. Implemented by each engine: on fibers a contended lock takes the
// fiber off the run until the owner releases it, on threads it spins.
//
// Both detect what the kernel's debug build detects: recursion by the owning context (or by a handler that interrupted
// it: the deadlock is certain then), and release by somebody else. A recursion is reported and then treated as granted,
// so that the run can go on to its verdict.
#pragma once

#include <atomic>
#include <cstdint>

#include "allocator/machine/context.h"
#include "allocator/machine/lock_watch.h"

namespace memtorture::machine {

class SpinLock {  // raw form: disables preemption. Any context but NMI.
 public:
  explicit constexpr SpinLock(LockClass lock_class) : class_(lock_class) {}
  void lock(Site site);
  void unlock(Site site);
  bool try_lock();  // no point: who does not wait gives nobody the chance to move
  // ... with interrupts off, or softirqs off, meanwhile. Not lock_bh where interrupts are off (domain.md 1.5).
  IrqFlag lock_irqsave(Site site) {
    const IrqFlag before = local_irq_save();
    lock(site);
    return before;
  }
  void unlock_irqrestore(IrqFlag before, Site site) {
    unlock(site);
    local_irq_restore(before);
  }
  void lock_bh(Site site) {
    local_bh_disable();
    lock(site);
  }
  void unlock_bh(Site site) {
    unlock(site);
    local_bh_enable();
  }
  bool is_locked() const { return owner_.load(std::memory_order_relaxed) != no_context; }
  LockClass lock_class() const { return class_; }
  void reset() {
    owner_.store(no_context, std::memory_order_relaxed);
    depth_ = 0;
  }

 private:
  std::atomic<ContextId> owner_{no_context};
  LockClass class_;
  std::uint8_t depth_ = 0;  // recursions that were reported and granted
};

class Held {  // proof: alone inside one lock. Needs a proof that interrupts are off (zone lock is irqsave,
              // domain.md 1.5).
 public:
  Held(SpinLock& lock, const Masked&, Site acquire, Site release) : lock_(lock), release_(release) {
    lock_.lock(acquire);
  }
  ~Held() { lock_.unlock(release_); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

 private:
  SpinLock& lock_;
  Site release_;
};

class WaitQueue {  // wait: sleepable process context. wake: any context but NMI.
 public:
  void wait();  // sleeps until woken; reports when atomic
  // The kernel's prepare_to_wait, last look, schedule_timeout: sleeps until woken, `jiffies` at most, and not at all if
  // enough() holds by then. Whoever makes enough() true and wakes afterwards is not missed; enough() contains no point.
  // False: the time is up, nobody woke us. Outside of a run time passes at once.
  template <class Enough>
  bool wait_timeout(Jiffies jiffies, Enough enough) {
    if (!prepare()) return false;
    return enough() || sleep_timeout(jiffies);
  }
  void wake_one();  // which one is the chooser's business
  void wake_all();
  void reset() { waiters_ = 0; }
  std::uint32_t waiters() const { return waiters_ & 0xffff; }  // the engine may keep more in the word

 private:
  friend class Mutex;
  void sleep();    // wait() behind its point: what was checked after the point still holds
  bool prepare();  // from here on a wake-up counts; false: it may not sleep, and was reported
  bool sleep_timeout(Jiffies jiffies);

  std::uint32_t waiters_ = 0;
};

class Mutex {  // sleepable process context only; not recursive; the owner unlocks
 public:
  explicit constexpr Mutex(LockClass lock_class) : class_(lock_class) {}
  void lock(Site site = "mutex.acquire");
  bool try_lock();  // any context but NMI; neither sleeps nor is a point
  void unlock(Site site = "mutex.release");
  bool is_mine() const { return owner_.load(std::memory_order_relaxed) == current().id; }
  void reset() {
    owner_.store(no_context, std::memory_order_relaxed);
    queue_.reset();
  }

 private:
  std::atomic<ContextId> owner_{no_context};
  LockClass class_;
  WaitQueue queue_;
};

}  // namespace memtorture::machine
