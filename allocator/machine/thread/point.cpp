// Points: where a stop is obeyed, the budget counted, handlers are delivered and the interleaving is varied.
//
// What happens is drawn from the CPU's own random sequence, which only the holder of its baton touches: no draw orders
// one CPU after another. Yielding and spinning here change which interleavings are likely, never which are possible.
#include <algorithm>

#include "allocator/machine/thread/engine.h"

namespace memtorture::machine {
namespace {

constexpr std::uint64_t steps_per_jiffy = 256;
constexpr unsigned spins_varied_max = 64;

constexpr std::uint32_t offset_of(ContextKind kind) {
  switch (kind) {
    case ContextKind::task: return 0;
    case ContextKind::softirq: return softirq_offset;
    case ContextKind::hardirq: return hardirq_offset;
    case ContextKind::nmi: return nmi_offset;
  }
  return 0;
}

constexpr bool one_in(std::uint64_t bits, unsigned odds) { return bits % odds == 0; }

void vary(std::uint64_t bits) {
  if (one_in(bits, 16)) std::this_thread::yield();
  if (!one_in(bits >> 8, 16)) return;
  for (std::uint64_t spins = (bits >> 16) % spins_varied_max; spins != 0; --spins) __builtin_ia32_pause();
}

// domain.md 1.2: softirqs do not nest and need bottom halves on; interrupts need the flag; an NMI yields only to none.
bool admits(const Context& me, ContextKind kind) {
  if ((me.preempt_count & nmi_mask) != 0) return false;
  if (kind == ContextKind::nmi) return true;
  if (me.irqs == IrqFlag::off) return false;
  return kind == ContextKind::hardirq || (me.preempt_count & (softirq_mask | hardirq_mask)) == 0;
}

}  // namespace

bool CpuDice::roll(const Moment&, std::uint32_t percent) {
  const Runner* const runner = static_cast<const Frame&>(current()).runner;
  return runner != nullptr && runner->cpu->random.next() % 100 < percent;
}

void Engine::point(Site) {
  Frame& me = frame();
  if (me.runner == nullptr) return;
  leave_if_stopped();
  Cpu& cpu = *me.runner->cpu;
  if (++cpu.steps > steps_budget_) {
    stop(StopReason::livelock);
    leave();
  }
  if (cpu.steps % steps_per_jiffy == 0) tick();
  const std::uint64_t bits = cpu.random.next();
  if (!cpu.handlers.empty() && one_in(bits >> 32, 4)) deliver_some(me, cpu);
  vary(bits);
  const bool preemptible_here = me.kind == ContextKind::task && sleepable(me.preempt_count, me.irqs);
  if (preemptible_here && one_in(bits >> 40, 8)) give_way();
}

void Engine::deliver_some(Frame& me, Cpu& cpu) {
  const std::size_t count = cpu.handlers.size();
  const std::size_t first = cpu.random.next() % count;
  for (std::size_t i = 0; i != count; ++i) {
    const auto at = cpu.handlers.begin() + static_cast<std::ptrdiff_t>((first + i) % count);
    const Strand& handler = **at;
    if (!admits(me, handler.kind)) continue;
    cpu.handlers.erase(at);  // before it runs: its own points must not deliver it again
    if (deliver(me, handler)) cpu.handlers.push_back(&handler);
    return;
  }
}

// True: it comes again.
bool Engine::deliver(Frame& me, const Strand& handler) {
  Frame nested;
  static_cast<Context&>(nested) = Context{.machine = &machine_,
                                          .id = handler.id,
                                          .kind = handler.kind,
                                          .cpu = me.cpu,
                                          .irqs = handler.kind == ContextKind::softirq ? IrqFlag::on : IrqFlag::off,
                                          .preempt_count = me.preempt_count + offset_of(handler.kind),
                                          .flags = handler.flags,
                                          .alone = false};
  nested.below = &me;
  nested.runner = me.runner;
  nested.way_out = me.way_out;
  nested.entered_with = nested.preempt_count;
  nested.watch = me.watch;
  current_context = &nested;
  handler.body(handler.arg);
  current_context = &me;
  return nested.comes_again;
}

// The body of a CPU's idle thread: interrupts that found no task to interrupt.
void Engine::idle_task(void* engine) {
  Engine& self = *static_cast<Engine*>(engine);
  Frame& me = frame();
  Cpu& cpu = *me.runner->cpu;
  if (!self.is_online(me.cpu)) {
    me.runner->also = &self.cpus_[0];
    me.runner->also->baton.acquire();
    me.cpu = 0;
  }
  while (!cpu.handlers.empty()) {
    self.leave_if_stopped();
    self.deliver_some(me, cpu);
  }
}

void Engine::give_way() {
  Runner* const me = frame().runner;
  if (me == nullptr || !me->cpu->baton.contended()) return;
  me->cpu->baton.release();
  take_baton(*me);
  leave_if_stopped();
}

// Nobody waits for a baton while he has another, but for idle threads of CPUs that have gone, and those wait for that
// of CPU 0, whose own idle thread waits for none. Who runs on a CPU has had its baton since it came or went, so all
// that was done about it before is done for him.
template <class Change>
void Engine::change_with_baton_of(unsigned cpu, Change change) {
  Runner* const me = frame().runner;
  if (me == nullptr) return change();
  me->cpu->baton.release();
  cpus_[cpu].baton.acquire();
  change();
  cpus_[cpu].baton.release();
  take_baton(*me);
  leave_if_stopped();
}

void Engine::take_cpu_down(unsigned cpu) {
  change_with_baton_of(cpu, [&] { online_.fetch_and(~(std::uint64_t{1} << cpu), std::memory_order_relaxed); });
}

void Engine::bring_cpu_up(unsigned cpu) {
  change_with_baton_of(cpu, [&] { online_.fetch_or(std::uint64_t{1} << cpu, std::memory_order_relaxed); });
}

// Ours, unless our CPU has gone; bound daemons go back to theirs. The frame of a task: handlers never give it up.
void Engine::take_baton(Runner& runner) {
  const bool bound = (runner.strand.flags & pf_thread_bound) != 0;
  if (bound && is_online(runner.strand.cpu)) runner.cpu = &cpus_[runner.strand.cpu];
  for (;;) {
    runner.cpu->baton.acquire();
    const auto cpu = static_cast<unsigned>(runner.cpu - cpus_.data());
    if (&runner == runner.cpu->idle || is_online(cpu)) {
      if (current_context != nullptr) {
        current_context->cpu = static_cast<std::uint8_t>(cpu);
        current_context->watch = machine_.lock_watch(cpu);
      }
      return;
    }
    runner.cpu->baton.release();
    runner.cpu = &cpus_[0];
  }
}

}  // namespace memtorture::machine
