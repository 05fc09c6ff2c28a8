// Who can move, and what happens when nobody can.
//
// The argument: a runner is counted out only after its life says why it is blocked, and is counted in again by whoever
// wakes it, who is counted in himself. So the count reaches 0 once per quiet moment, and the runner that lowered it
// there looks at all the others while they are blocked. The one exception is a spinner, which counts itself in when it
// gets its lock: that changes pulse_, and a decision is valid only if it could be exchanged against the pulse that it
// was based on. The exchange counts the decider in for as long as it acts, so that there is one at a time.
#include <algorithm>

#include "allocator/machine/thread/engine.h"

namespace memtorture::machine {

void Engine::count_out() {
  std::uint64_t pulse;
  do {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    pulse = pulse_.fetch_sub(1, std::memory_order_relaxed) - 1;
    std::atomic_thread_fence(std::memory_order_seq_cst);
  } while ((pulse & pulse_movers) == 0 && !stopped() && nobody_moves(pulse));
}

// Whoever unblocks us before we are counted out has counted us in first: the sum is right at any time.
void Engine::block(Runner& runner) {
  runner.cpu->baton.release();
  count_out();
  runner.bell.wait();
  take_baton(runner);
  leave_if_stopped();
}

bool Engine::unblock(Runner& runner, Life from) {
  if (!runner.life.compare_exchange_strong(from, Life::ready, std::memory_order_relaxed)) return false;
  count_in();
  runner.bell.ring();
  return true;
}

// True: something was done about it, and the caller is counted in again.
bool Engine::nobody_moves(std::uint64_t pulse) {
  const Quiet quiet = survey();
  if (quiet.over) return false;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!pulse_.compare_exchange_strong(pulse, pulse + pulse_in, std::memory_order_relaxed)) return false;
  // The order that the deterministic engine has too: time, late interrupts, time-outs of waiters, the end of daemons.
  if (quiet.earliest != 0 && !(quiet.time_out && quiet.standby)) {
    advance_time(quiet.earliest);
  } else if (quiet.standby) {
    for (Runner& runner : runners_) unblock(runner, Life::standby);
  } else if (quiet.blocked) {
    stop(StopReason::deadlock);
  } else if (quiet.no_work) {
    shutting_down_.store(true, std::memory_order_relaxed);
    for (Runner& runner : runners_) unblock(runner, Life::no_work);
  } else {
    return false;  // all is done, and nobody will count again
  }
  return true;
}

void Engine::Quiet::timer(Life life, Jiffies at) {
  if (at == 0 || (earliest != 0 && earliest <= at)) return;
  earliest = at;
  time_out = life == Life::waiting;
}

Engine::Quiet Engine::survey() const {
  Quiet quiet;
  for (const Runner& runner : runners_) {
    switch (runner.life.load(std::memory_order_relaxed)) {
      case Life::ready: quiet.over = true; break;  // a spinner that was just successful
      case Life::spinning: {
        const ContextId owner = runner.spins_on.load(std::memory_order_relaxed)->load(std::memory_order_relaxed);
        const bool its_turn = owner == no_context || owner == runner.spins_as.load(std::memory_order_relaxed);
        (its_turn ? quiet.over : quiet.blocked) = true;
        break;
      }
      case Life::sleeping: quiet.timer(Life::sleeping, runner.wake_at.load(std::memory_order_relaxed)); break;
      case Life::waiting:
        quiet.blocked = true;
        quiet.timer(Life::waiting, runner.wait_ends_at.load(std::memory_order_relaxed));
        break;
      case Life::standby: quiet.standby = true; break;
      case Life::no_work: quiet.no_work = true; break;
      case Life::done: break;
    }
  }
  return quiet;
}

// Takes a timer that is due. One that was set anew meanwhile is later: the exchange fails, and nothing is cut short.
bool Engine::due(std::atomic<Jiffies>& timer, Jiffies now) {
  Jiffies at = timer.load(std::memory_order_relaxed);
  return at != 0 && at <= now && timer.compare_exchange_strong(at, 0, std::memory_order_relaxed);
}

// Time never goes back: CPUs that tick at the same time agree by the maximum.
void Engine::advance_time(Jiffies to) {
  Jiffies before = now();
  while (before < to && !now_.compare_exchange_weak(before, to, std::memory_order_relaxed)) {
  }
  to = std::max(before, to);
  for (Runner& runner : runners_) {
    if (due(runner.wake_at, to) && !unblock(runner, Life::sleeping)) unblock(runner, Life::no_work);
    // Its waker may have been faster, and this then cuts a later wait short: those may return without a wake.
    if (due(runner.wait_ends_at, to)) unblock(runner, Life::waiting);
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
