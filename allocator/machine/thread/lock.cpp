// Spinlocks, wait queues and mutexes on real threads.
//
// A spinlock is its owner word: taken by an acquiring exchange, given back by a releasing store, nothing else, so the
// order that ThreadSanitizer sees is exactly the order that the lock gives. depth_ is touched only by the owner, or by
// a handler that interrupted it on the same host thread.
//
// A wait queue has the lock that a kernel's has, as a bit of its word. Waiting has no condition in the interface, so
// the caller's `while (!condition) queue.wait();` would lose a wake-up that falls between the look and the wait. Hence
// the generation: wake_all, and a wake_one that finds nobody, begin a new one, and wait() returns at once to a runner
// that has not seen it yet. Each runner is compared with what itself has seen, so nobody uses up a wake-up that another
// one needs; the price is a spurious return, which the caller's loop absorbs. (2^15 wakes between look and wait would
// be missed.)
#include "allocator/machine/lock.h"

#include <cstdio>
#include <cstdlib>

#include "allocator/machine/engine.h"
#include "allocator/machine/thread/engine.h"

namespace memtorture::machine {
namespace {

constexpr std::uint32_t rounds_busy = 16;       // spins before the host may run somebody else
constexpr std::uint32_t rounds_patient = 64;    // ... before the spinner counts itself out
constexpr std::uint32_t rounds_max = 1u << 22;  // ... before one acquisition is called a livelock

void relax(std::uint32_t round) {
  if (round < rounds_busy) {
    __builtin_ia32_pause();
  } else {
    std::this_thread::yield();
  }
}

// The word of a queue: [ locked:1 | generation:15 | waiters:16 ].
class LockedQueue {
 public:
  explicit LockedQueue(std::uint32_t& word) : word_(word) {
    for (std::uint32_t round = 0;; ++round) {
      state_ = word_.load(std::memory_order_relaxed) & ~locked;
      if (word_.compare_exchange_weak(state_, state_ | locked, std::memory_order_acquire, std::memory_order_relaxed))
        return;
      relax(round);
    }
  }
  ~LockedQueue() { word_.store(state_, std::memory_order_release); }
  LockedQueue(const LockedQueue&) = delete;
  LockedQueue& operator=(const LockedQueue&) = delete;

  void enter() { ++state_; }
  void exit() { --state_; }
  std::uint32_t generation() const { return (state_ & generation_mask) / generation_one; }
  void next_generation() { state_ = (state_ & ~generation_mask) | ((state_ + generation_one) & generation_mask); }

 private:
  static constexpr std::uint32_t locked = 1u << 31, generation_one = 1u << 16,
                                 generation_mask = locked - generation_one;
  std::atomic_ref<std::uint32_t> word_;
  std::uint32_t state_ = 0;
};

bool owned_by_me_or_below(ContextId owner) {
  if (owner == no_context) return false;
  for (const Frame* frame = static_cast<const Frame*>(&current()); frame != nullptr; frame = frame->below) {
    if (frame->id == owner) return true;
  }
  return false;
}

}  // namespace

std::uint32_t& Runner::generation_seen(const WaitQueue& queue) {
  for (auto& [known, generation] : generations_seen) {
    if (known == &queue) return generation;
  }
  return generations_seen.emplace_back(&queue, 0).second;
}

void SpinLock::lock(Site site) {
  point(site);
  Context& me = current();
  me.preempt_count += preempt_offset;
  note_attempt(class_);
  ContextId owner = no_context;
  if (owner_.compare_exchange_strong(owner, me.id, std::memory_order_acquire, std::memory_order_relaxed))
    return note_acquired(class_);
  if (owned_by_me_or_below(owner)) {
    ++depth_;
    return report({.kind = ReportKind::lock_recursion});
  }
  this_machine().engine().spin(owner_);
  note_acquired(class_);
}

bool SpinLock::try_lock() {
  Context& me = current();
  ContextId owner = no_context;
  if (!owner_.compare_exchange_strong(owner, me.id, std::memory_order_acquire, std::memory_order_relaxed)) return false;
  me.preempt_count += preempt_offset;
  note_attempt(class_, false);
  note_acquired(class_);
  return true;
}

void SpinLock::unlock(Site site) {
  Context& me = current();
  const ContextId owner = owner_.load(std::memory_order_relaxed);
  if (owned_by_me_or_below(owner) && depth_ != 0) {  // the end of a recursion that was granted
    --depth_;
  } else if (owner != me.id) {
    return report({.kind = ReportKind::lock_unowned});
  } else {
    owner_.store(no_context, std::memory_order_release);
    note_release(class_);
  }
  me.preempt_count -= preempt_offset;
  point(site);
}

void Engine::spin(std::atomic<ContextId>& owner) {
  Frame& me = frame();
  if (me.runner == nullptr) {
    std::fputs("memtorture: a spinlock is held outside of any run; it was not reset after a stop\n", stderr);
    std::abort();
  }
  Runner& runner = *me.runner;
  for (std::uint32_t round = 0;; ++round) {
    relax(round);
    ContextId unowned = no_context;
    if (owner.load(std::memory_order_relaxed) == no_context &&
        owner.compare_exchange_strong(unowned, me.id, std::memory_order_acquire, std::memory_order_relaxed)) {
      break;
    }
    leave_if_stopped();
    if (round == rounds_max) stop(StopReason::livelock);
    if (round != rounds_patient) continue;
    runner.spins_on.store(&owner, std::memory_order_relaxed);
    runner.spins_as.store(me.id, std::memory_order_relaxed);
    runner.life.store(Life::spinning, std::memory_order_relaxed);
    count_out();
  }
  if (runner.life.load(std::memory_order_relaxed) != Life::spinning) return;
  runner.life.store(Life::ready, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  count_in();
}

void Engine::prepare_to_wait(WaitQueue& queue, std::uint32_t& word) {
  Runner* const me = frame().runner;
  if (me == nullptr) return;
  const LockedQueue locked(word);
  me->generation_seen(queue) = locked.generation();
}

// Who woke us took us off the queue; if we are still on it, it was a timer.
bool Engine::wait(WaitQueue& queue, std::uint32_t& word, Jiffies timeout) {
  Runner* const me = frame().runner;
  if (me == nullptr) {  // nobody else is there to wake it
    now_.fetch_add(timeout, std::memory_order_relaxed);
    return timeout == 0;
  }
  {
    LockedQueue locked(word);
    std::uint32_t& seen = me->generation_seen(queue);
    if (seen != locked.generation()) {
      seen = locked.generation();
      return true;
    }
    locked.enter();
    me->life.store(Life::waiting, std::memory_order_relaxed);
    me->waits_for.store(&queue, std::memory_order_relaxed);
  }
  if (timeout != 0) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    me->wait_ends_at.store(now() + timeout, std::memory_order_relaxed);
  }
  machine_.witness().slept(current());
  block(*me);
  me->wait_ends_at.store(0, std::memory_order_relaxed);
  LockedQueue locked(word);  // what the waker did before the wake is now before us
  me->generation_seen(queue) = locked.generation();
  if (me->waits_for.load(std::memory_order_relaxed) == nullptr) return true;
  me->waits_for.store(nullptr, std::memory_order_relaxed);
  locked.exit();
  return false;
}

void Engine::wake(WaitQueue& queue, std::uint32_t& word, bool all) {
  Runner* const me = frame().runner;
  if (me == nullptr) return;
  const std::size_t runners = runners_.size();
  const std::size_t first = me->cpu->random.next() % runners;  // so that any waiter may be the one
  LockedQueue locked(word);
  for (std::size_t i = 0; i != runners; ++i) {
    Runner& runner = runners_[(first + i) % runners];
    if (runner.waits_for.load(std::memory_order_relaxed) != &queue) continue;
    runner.waits_for.store(nullptr, std::memory_order_relaxed);
    locked.exit();
    unblock(runner, Life::waiting);
    if (!all) return;
  }
  locked.next_generation();
}

void WaitQueue::wait() {
  if (may_give_up_cpu("sched.sleep")) this_machine().engine().wait(*this, waiters_, 0);
}

bool WaitQueue::prepare() {
  if (!may_give_up_cpu("sched.sleep")) return false;
  this_machine().engine().prepare_to_wait(*this, waiters_);
  return true;
}

bool WaitQueue::sleep_timeout(Jiffies jiffies) { return this_machine().engine().wait(*this, waiters_, jiffies); }

void WaitQueue::wake_one() { this_machine().engine().wake(*this, waiters_, false); }
void WaitQueue::wake_all() { this_machine().engine().wake(*this, waiters_, true); }

void Mutex::lock(Site site) {
  might_sleep();
  point(site);
  const ContextId me = current().id;
  if (owner_.load(std::memory_order_relaxed) != me) note_attempt(class_);
  for (;;) {
    ContextId owner = no_context;
    if (owner_.compare_exchange_strong(owner, me, std::memory_order_acquire, std::memory_order_relaxed))
      return note_acquired(class_);
    if (owner == me) return report({.kind = ReportKind::lock_recursion});
    if (!sleepable(current().preempt_count, current().irqs))  // reported above; waiting here could be for ever
      return;
    queue_.wait();
  }
}

bool Mutex::try_lock() {
  ContextId owner = no_context;
  if (!owner_.compare_exchange_strong(owner, current().id, std::memory_order_acquire, std::memory_order_relaxed))
    return false;
  note_attempt(class_, false);
  note_acquired(class_);
  return true;
}

void Mutex::unlock(Site site) {
  if (owner_.load(std::memory_order_relaxed) != current().id) return report({.kind = ReportKind::lock_unowned});
  owner_.store(no_context, std::memory_order_release);
  note_release(class_);
  queue_.wake_one();
  point(site);
}

}  // namespace memtorture::machine
