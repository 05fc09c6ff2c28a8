// Spinlocks, wait queues and mutexes on fibers. Exactly one fiber runs, and it is left at points only; so between two
// points everything here is atomic by itself, and a contended lock takes its fiber off the run until it is released.
#include "allocator/machine/lock.h"

#include "allocator/machine/engine.h"
#include "allocator/machine/fiber/engine.h"

namespace memtorture::machine {

void SpinLock::lock(Site site) {
  point(site);
  Context& me = current();
  me.preempt_count += preempt_offset;
  note_attempt(class_);
  Engine& engine = this_machine().engine();
  for (;;) {
    const ContextId owner = owner_.load(std::memory_order_relaxed);
    if (owner == no_context && depth_ == 0) break;
    if (owner == me.id || engine.owns_below(owner)) {
      ++depth_;
      return report({.kind = ReportKind::lock_recursion});
    }
    engine.spin(*this);
  }
  note_acquired(class_);
  owner_.store(me.id, std::memory_order_relaxed);
}

bool SpinLock::try_lock() {
  if (is_locked()) return false;
  current().preempt_count += preempt_offset;
  note_attempt(class_, false);
  note_acquired(class_);
  owner_.store(current().id, std::memory_order_relaxed);
  return true;
}

void SpinLock::unlock(Site site) {
  Context& me = current();
  const ContextId owner = owner_.load(std::memory_order_relaxed);
  const bool recursed = depth_ != 0 && (owner == me.id || this_machine().engine().owns_below(owner));
  if (recursed) {  // the end of a recursion that was granted
    --depth_;
  } else if (owner != me.id) {
    return report({.kind = ReportKind::lock_unowned});
  } else {
    owner_.store(no_context, std::memory_order_relaxed);
    note_release(class_);
    if (!me.alone) this_machine().engine().released(*this);
  }
  me.preempt_count -= preempt_offset;
  point(site);
}

void WaitQueue::wait() {
  if (may_give_up_cpu("sched.sleep")) sleep();
}

void WaitQueue::sleep() {
  went_to_sleep();
  ++waiters_;
  this_machine().engine().wait(*this, 0);
}

// Behind the point nobody else runs until we sleep, so there is nothing to prepare.
bool WaitQueue::prepare() { return may_give_up_cpu("sched.sleep"); }

bool WaitQueue::sleep_timeout(Jiffies jiffies) {
  went_to_sleep();
  ++waiters_;
  const bool woken = this_machine().engine().wait(*this, jiffies);
  if (!woken) --waiters_;
  return woken;
}

// One whose time was up and who did not run yet is still counted, but cannot be woken any more.
void WaitQueue::wake_one() {
  if (waiters_ != 0) waiters_ -= this_machine().engine().wake(*this, false);
}

void WaitQueue::wake_all() {
  if (waiters_ != 0) waiters_ -= this_machine().engine().wake(*this, true);
}

void Mutex::lock(Site site) {
  might_sleep();
  point(site);
  const ContextId me = current().id;
  if (me != no_context && owner_.load(std::memory_order_relaxed) == me)  // outside of a run nobody else is there
    return report({.kind = ReportKind::lock_recursion});
  note_attempt(class_);
  while (owner_.load(std::memory_order_relaxed) != no_context) {
    // Reported above; waiting here would be for ever.
    if (!sleepable(current().preempt_count, current().irqs) || !may_give_up_cpu("sched.sleep")) return;
    // At that point the owner may have unlocked: asleep after its wake-up nobody would wake us.
    if (owner_.load(std::memory_order_relaxed) != no_context) queue_.sleep();
  }
  owner_.store(me, std::memory_order_relaxed);
  note_acquired(class_);
}

bool Mutex::try_lock() {
  if (owner_.load(std::memory_order_relaxed) != no_context) return false;
  note_attempt(class_, false);
  note_acquired(class_);
  owner_.store(current().id, std::memory_order_relaxed);
  return true;
}

void Mutex::unlock(Site site) {
  if (owner_.load(std::memory_order_relaxed) != current().id) return report({.kind = ReportKind::lock_unowned});
  owner_.store(no_context, std::memory_order_relaxed);
  note_release(class_);
  queue_.wake_one();
  point(site);
}

}  // namespace memtorture::machine
