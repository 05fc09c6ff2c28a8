// The life of a run and of its host threads.
#include "allocator/machine/thread/engine.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace memtorture::machine {

constinit thread_local Context* current_context = nullptr;

std::uint64_t RandomSequence::next() {
  std::uint64_t z = state_ += 0x9e37'79b9'7f4a'7c15;
  z = (z ^ (z >> 30)) * 0xbf58'476d'1ce4'e5b9;
  z = (z ^ (z >> 27)) * 0x94d0'49bb'1331'11eb;
  return z ^ (z >> 31);
}

namespace {

// The chooser is asked here, before any thread exists, and never again: it belongs to one host thread.
std::uint64_t seed_of(unsigned cpu, Chooser& chooser) {
  std::uint64_t seed = cpu;
  for (std::uint16_t bit = 1; bit <= 48; ++bit) {
    const Moment moment{.who = no_context, .op = cpu, .site = "op", .visit = bit};
    seed = (seed << 1) | (chooser.roll(moment, 50) ? 1 : 0);
  }
  return seed ^ (std::uint64_t{cpu} << 56);
}

}  // namespace

void Engine::add_runner(Runner& runner, const Strand& strand, Life life) {
  runner.strand = strand;
  runner.cpu = &cpus_[strand.cpu];
  runner.life.store(life, std::memory_order_relaxed);
  if (life == Life::ready) count_in();
}

void Engine::set_up(std::span<const Strand> strands, Chooser& chooser) {
  cpus_ = std::vector<Cpu>(machine_.shape().cpus);
  daemon_slots_ = nodes_max + machine_.daemons().size();  // one a kswapd
  runners_ = std::vector<Runner>(strands.size() + cpus_.size() + daemon_slots_);
  pulse_.store(0, std::memory_order_relaxed);
  stop_.store(StopReason::finished, std::memory_order_relaxed);
  panic_.store(PanicKind::none, std::memory_order_relaxed);
  shutting_down_.store(false, std::memory_order_relaxed);
  std::size_t used = 0;
  for (const Strand& strand : strands) {
    Cpu& cpu = cpus_[strand.cpu];
    if (strand.kind != ContextKind::task) {
      cpu.handlers.push_back(&strand);
      continue;
    }
    cpu.tasks_left.fetch_add(1, std::memory_order_relaxed);
    add_runner(runners_[used++], strand, Life::ready);
  }
  for (unsigned i = 0; i != cpus_.size(); ++i) {
    Cpu& cpu = cpus_[i];
    cpu.random = RandomSequence(seed_of(i, chooser));
    if (cpu.handlers.empty()) continue;
    cpu.idle = &runners_[used++];
    const Strand idle{.id = no_context,
                      .kind = ContextKind::task,
                      .cpu = static_cast<std::uint8_t>(i),
                      .flags = 0,
                      .body = &Engine::idle_task,
                      .arg = this};
    add_runner(*cpu.idle, idle, cpu.tasks_left.load(std::memory_order_relaxed) == 0 ? Life::ready : Life::standby);
  }
  for (std::size_t i = 0; i != machine_.daemons().size(); ++i) {
    daemons()[i].daemon_id.store(machine_.daemons()[i].id, std::memory_order_relaxed);
    add_runner(daemons()[i], machine_.daemons()[i], Life::ready);
  }
}

RunResult Engine::run(std::span<const Strand> strands, Chooser& chooser, const Limits& limits) {
  steps_budget_ = limits.steps_budget;
  set_up(strands, chooser);
  running_.store(true, std::memory_order_relaxed);
  // The other slots of daemons may already be somebody's business.
  for (Runner& runner : std::span(runners_).first(runners_.size() - daemon_slots_ + machine_.daemons().size())) {
    if (runner.cpu != nullptr) start(runner);
  }
  join_all();
  running_.store(false, std::memory_order_relaxed);
  RunResult result{.reason = stop_.load(std::memory_order_relaxed), .panic = panic_.load(std::memory_order_relaxed)};
  for (const Cpu& cpu : cpus_) result.steps += cpu.steps;
  return result;
}

void Engine::start(Runner& runner) {
  runner.thread = std::thread([this, &runner] { live(runner); });
  runner.started.store(true, std::memory_order_release);
}

// A daemon is created by a task, a handler or another daemon: whoever that is has been joined before the last pass
// begins.
void Engine::join_all() {
  for (bool joined = true; joined;) {
    joined = false;
    for (Runner& runner : runners_) {
      if (!runner.started.load(std::memory_order_acquire) || !runner.thread.joinable()) continue;
      runner.thread.join();
      joined = true;
    }
  }
}

// Everything between _setjmp and finish() may be abandoned by leave().
void Engine::live(Runner& runner) {
  if (runner.life.load(std::memory_order_relaxed) == Life::standby) runner.bell.wait();
  take_baton(runner);
  const auto cpu = static_cast<unsigned>(runner.cpu - cpus_.data());
  std::jmp_buf way_out;
  Frame base;
  static_cast<Context&>(base) = Context{.machine = &machine_,
                                        .id = runner.strand.id,
                                        .kind = runner.strand.kind,
                                        .cpu = static_cast<std::uint8_t>(cpu),
                                        .flags = runner.strand.flags,
                                        .alone = false};
  base.runner = &runner;
  base.way_out = &way_out;
  base.watch = machine_.lock_watch(cpu);
  current_context = &base;
  if (_setjmp(way_out) == 0 && !stopped()) runner.strand.body(runner.strand.arg);
  current_context = nullptr;
  finish(runner);
}

void Engine::finish(Runner& runner) {
  Cpu& home = cpus_[runner.strand.cpu];
  const bool of_the_case = &runner != home.idle && runner.daemon_id.load(std::memory_order_relaxed) == no_context;
  const bool last = of_the_case && home.tasks_left.fetch_sub(1, std::memory_order_relaxed) == 1;
  if (last && home.idle != nullptr) unblock(*home.idle, Life::standby);
  runner.life.store(Life::done, std::memory_order_relaxed);
  if (runner.also != nullptr) runner.also->baton.release();
  runner.cpu->baton.release();
  count_out();
}

void Engine::run_alone(void (*f)(void*), void* arg) {
  Context* const before = current_context;
  std::jmp_buf way_out;
  Frame base;
  base.machine = &machine_;
  base.way_out = &way_out;
  current_context = &base;
  if (_setjmp(way_out) == 0) f(arg);
  current_context = before;
}

// Slots are claimed in order and never given back, so a daemon has one slot whoever comes first.
void Engine::wake_daemon(const Strand& daemon) {
  if (frame().runner == nullptr) return;  // boot and accounting: nobody else is there to run
  for (Runner& slot : daemons()) {
    ContextId holder = no_context;
    const bool mine = slot.daemon_id.compare_exchange_strong(holder, daemon.id, std::memory_order_relaxed);
    if (!mine && holder != daemon.id) continue;
    slot.has_work.store(true, std::memory_order_release);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!mine) {
      unblock(slot, Life::no_work);
      return;
    }
    add_runner(slot, daemon, Life::ready);
    start(slot);
    return;
  }
  std::fputs("memtorture: more daemons than the thread engine has room for\n", stderr);
  std::abort();
}

bool Engine::daemon_wait() {
  Runner& me = *frame().runner;
  for (;;) {
    leave_if_stopped();
    if (me.has_work.exchange(false, std::memory_order_acquire)) return true;
    if (shutting_down_.load(std::memory_order_relaxed)) return false;
    me.life.store(Life::no_work, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    // Work that came between the look and the store found nobody to unblock: take it back ourselves. If the waker was
    // faster than that, the bell has been rung for us and block() returns at once.
    if (me.has_work.load(std::memory_order_relaxed)) unblock(me, Life::no_work);
    block(me);
  }
}

// As sleep(), but nobody_moves() does not count it as a timer.
bool Engine::daemon_wait_until(Jiffies at) {
  Runner& me = *frame().runner;
  for (;;) {
    leave_if_stopped();
    if (shutting_down_.load(std::memory_order_relaxed)) return false;
    if (now() >= at) return true;
    me.life.store(Life::no_work, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    me.wake_at.store(at, std::memory_order_relaxed);
    block(me);
  }
}

bool Engine::stop(StopReason reason, PanicKind panic) {
  StopReason none = StopReason::finished;
  if (!stop_.compare_exchange_strong(none, reason, std::memory_order_relaxed)) return false;
  panic_.store(panic, std::memory_order_relaxed);
  for (Runner& runner : runners_) runner.bell.ring();
  return true;
}

void Engine::request_stop() {
  if (running_.load(std::memory_order_relaxed)) stop(StopReason::stopped);
}

void Engine::panic(PanicKind kind) {
  if (stop(StopReason::panic, kind)) machine_.witness().panicked(current(), kind);  // one CPU has the last word
  leave();
}

void Engine::leave() { _longjmp(*frame().way_out, 1); }

void Engine::leave_if_stopped() {
  if (stopped()) [[unlikely]]
    leave();
}

}  // namespace memtorture::machine
