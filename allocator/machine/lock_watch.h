// What is seen of the order of locks: told to the witness the first time in a run, and not again.
//
// A class that is taken while others are held is an edge of the graph whose cycles are deadlocks; a class that is taken
// in a handler here and with interrupts on there is one too. Neither needs the deadlock to happen. Nothing is judged
// here. Whoever is about to take a lock is noted before he waits for it, so a run that ends in the deadlock has told
// its cause; an attempt that does not wait (try_lock) makes no edge, but what it holds counts for those after it.
//
// One watch serves the contexts of one CPU on the thread engine, so it orders nothing between CPUs; on fibers one
// serves all. Costs a few loads and a test an acquisition; nothing at all when nobody watches.
#pragma once

#include <array>
#include <cstdint>

#include "allocator/machine/context.h"
#include "allocator/machine/lock_class.h"

namespace memtorture::machine {

struct LockWatch {
  std::array<LockSet, lock_classes> under{};      // by class: what was held when it was taken
  std::array<std::uint8_t, lock_classes> uses{};  // LockUse
};

std::uint8_t lock_use(const Context& context);  // of a lock that it takes now
[[gnu::cold]] void tell_lock(LockClass taken, LockSet under, std::uint8_t use);

// Before it is waited for; waits: false for an attempt, which makes no edge.
inline void note_attempt(LockClass lock, bool waits = true) {
  const Context& me = current();
  if (const LockWatch* watch = me.watch; watch != nullptr) {
    const LockSet under = waits ? me.held & ~watch->under[lock.index()] : 0;
    const auto use = static_cast<std::uint8_t>(lock_use(me) & ~watch->uses[lock.index()]);
    if ((under | use) != 0) [[unlikely]]
      tell_lock(lock, under, use);
  }
}
inline void note_acquired(LockClass lock) { current().held |= lock.bit(); }
inline void note_release(LockClass lock) { current().held &= ~lock.bit(); }

inline std::uint8_t lock_use(const Context& context) {
  unsigned use = 0;
  if ((context.preempt_count & (hardirq_mask | nmi_mask)) != 0) use |= lock_in_hardirq;
  if (context.kind == ContextKind::softirq) use |= lock_in_softirq;
  if (context.irqs == IrqFlag::on) use |= lock_irqs_on | ((context.preempt_count & softirq_mask) == 0 ? lock_bh_on : 0);
  return static_cast<std::uint8_t>(use);
}

}  // namespace memtorture::machine
