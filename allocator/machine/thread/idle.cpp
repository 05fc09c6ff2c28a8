// Who can move, and what happens when nobody can.
//
// The argument: a runner is counted out only after its life says why it is blocked, and it is counted in again by
// whoever wakes it, who is counted in himself. So the count reaches 0 once per quiet moment, and the runner that
// lowered it there executes nobody_moves() with every other runner blocked. The one exception is a spinner, which
// counts itself in when it gets its lock; it changes pulse_ by that, and nobody_moves() gives up its decision when
// pulse_ has changed: the spinner will be counted out in its turn, and the decision is then made on what is true by
// then.
#include <algorithm>

#include "allocator/machine/thread/engine.h"

namespace memtorture::machine {

void Engine::count_out() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const std::uint64_t pulse = pulse_.fetch_sub(1, std::memory_order_relaxed) - 1;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if ((pulse & pulse_movers) == 0 && !stopped()) nobody_moves(pulse);
}

// Whoever unblocks us before we are counted out has counted us in first: the sum is right at any time.
void Engine::block(Runner& runner) {
  runner.cpu->baton.release();
  count_out();
  runner.bell.wait();
  runner.cpu->baton.acquire();
  leave_if_stopped();
}

bool Engine::unblock(Runner& runner, Life from) {
  if (!runner.life.compare_exchange_strong(from, Life::ready, std::memory_order_relaxed)) return false;
  count_in();
  runner.bell.ring();
  return true;
}

// What comes next, in the order that the deterministic engine has too: time, late interrupts, the end of daemons.
void Engine::nobody_moves(std::uint64_t pulse) {
  Jiffies earliest = 0;
  bool blocked = false, standby = false;
  for (Runner& runner : runners_) {
    switch (runner.life.load(std::memory_order_relaxed)) {
      case Life::ready: return;  // a spinner that was just successful
      case Life::spinning: {
        const ContextId owner = runner.spins_on.load(std::memory_order_relaxed)->load(std::memory_order_relaxed);
        if (owner == no_context || owner == runner.spins_as.load(std::memory_order_relaxed)) return;
        blocked = true;
        break;
      }
      case Life::sleeping: {
        const Jiffies at = runner.wake_at.load(std::memory_order_relaxed);
        earliest = earliest == 0 ? at : std::min(earliest, at);
        break;
      }
      case Life::waiting: blocked = true; break;
      case Life::standby: standby = true; break;
      case Life::no_work:
      case Life::done: break;
    }
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (pulse_.load(std::memory_order_relaxed) != pulse) return;
  if (earliest != 0) return advance_time(earliest);
  if (!standby && blocked) {
    stop(StopReason::deadlock);
    return;
  }
  if (!standby) shutting_down_.store(true, std::memory_order_relaxed);
  for (Runner& runner : runners_) unblock(runner, standby ? Life::standby : Life::no_work);
}

// Time never goes back: CPUs that tick at the same time agree by the maximum.
void Engine::advance_time(Jiffies to) {
  Jiffies before = now();
  while (before < to && !now_.compare_exchange_weak(before, to, std::memory_order_relaxed)) {
  }
  to = std::max(before, to);
  for (Runner& runner : runners_) {
    Jiffies at = runner.wake_at.load(std::memory_order_relaxed);
    if (at == 0 || at > to) continue;
    // A sleeper that slept again meanwhile has a later timer: the exchange fails, and that sleep is not cut short.
    if (!runner.wake_at.compare_exchange_strong(at, 0, std::memory_order_relaxed)) continue;
    unblock(runner, Life::sleeping);
  }
}

// Busy CPUs keep the clock going for those that sleep.
void Engine::tick() { advance_time(now() + 1); }

void Engine::sleep(Jiffies jiffies) {
  Runner* const me = frame().runner;
  if (me == nullptr) {
    now_.fetch_add(jiffies, std::memory_order_relaxed);
    return;
  }
  me->life.store(Life::sleeping, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  me->wake_at.store(now() + std::max<Jiffies>(jiffies, 1), std::memory_order_relaxed);
  block(*me);
}

}  // namespace memtorture::machine
