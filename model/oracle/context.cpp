// Contexts: who may sleep, what is balanced, and the program's own locks (domain.md 1.3-1.8).
//
// Not checked: stale CPU numbers (P-CTX-9) are not visible in events; deadlock and livelock are the engine's verdicts.
#include <fmt/core.h>

#include "model/oracle/state.h"

namespace memtorture::oracle {

// A call that may sleep, made where it may not: at least and at most so many might_sleep reports.
Ruling Oracle::State::atomic_call(Flight& f, unsigned least_sleeping, unsigned most_sleeping) {
  f.atomic_crime = true;
  f.owe(ReportKind::sleeping, least_sleeping, most_sleeping);
  f.owe(ReportKind::scheduling, 0, many);
  return crime(
      "sleep-in-atomic", machine::no_pfn,
      fmt::format("preempt_count {:#x}, interrupts {}", f.preempt_count, f.irqs == IrqFlag::off ? "off" : "on"));
}

Ruling Oracle::State::call_context(const Event&, Flight& f, unsigned index) {
  const bool atomic = !sleepable_at(f);
  switch (f.request.act) {
    case Act::drain_all: return atomic ? atomic_call(f, 1, 1) : Ruling::fine;
    case Act::might_sleep:
      if (!atomic) return Ruling::fine;
      (void)atomic_call(f, 1, 1);
      f.owe(ReportKind::scheduling, 0, 0);
      return Ruling::crime;
    case Act::cond_resched: return atomic ? atomic_call(f, 0, many) : Ruling::fine;
    case Act::schedule:
      if (!atomic) return Ruling::fine;
      f.owes_context_report = f.preempt_count != 0;  // with interrupts off alone the scheduler may keep quiet
      return atomic_call(f, 0, many);
    case Act::wait_event:
    case Act::msleep:
      if (!atomic) return Ruling::fine;
      f.owes_context_report = true;
      return atomic_call(f, 0, many);
    case Act::mutex_lock:
    case Act::spin_lock: {
      const bool mutex = f.request.act == Act::mutex_lock;
      const std::uint8_t holder = (mutex ? mutex_holder : spin_holder)[f.request.byte & 3];
      Ruling ruling = Ruling::fine;
      if (mutex && atomic) {
        f.owes_context_report = true;
        ruling = atomic_call(f, 0, many);
      }
      if (holder == index + 1) {
        ruling = crime("lock-misuse", machine::no_pfn,
                       fmt::format("{} {} is taken again by its holder", mutex ? "mutex" : "spinlock", f.request.byte));
        f.owe(ReportKind::lock_recursion, 1, many);
      } else if (holder != 0) {
        f.owe(ReportKind::lock_recursion, 0, 1);  // a handler that interrupted the holder would wait for ever
      }
      return ruling;
    }
    case Act::spin_unlock:
    case Act::mutex_unlock: {
      const bool mutex = f.request.act == Act::mutex_unlock;
      const Ruling ruling = !mutex && f.request.count == spin_bh ? unmasks_softirqs(f) : Ruling::fine;
      std::uint8_t& holder = (mutex ? mutex_holder : spin_holder)[f.request.byte & 3];
      if (holder != index + 1) {
        f.owe(ReportKind::lock_unowned, 0, 1);
      } else if (mutex || --spin_depth[f.request.byte & 3] == 0) {
        holder = 0;  // from the call on: the next holder's result may come before this one's
      }
      return ruling;
    }
    case Act::spin_unlock_unheld:
    case Act::mutex_unlock_unheld:
      f.owe(ReportKind::lock_unowned, first_crime.rule.empty() ? 1 : 0, 1);  // a recursion that was granted is undone
      return crime("lock-misuse", machine::no_pfn,
                   fmt::format("lock {} is released by who has not got it", f.request.byte));
    case Act::shrinker: ++shrinkers; return call_shrinker(f);
    case Act::do_exit: return call_exit(f, contexts[index]);
    case Act::bh_enable: return unmasks_softirqs(f);
    case Act::processor_id:
      if (atomic) return Ruling::fine;
      f.owe(ReportKind::processor_id, 1, 1);
      return crime("processor-id-preemptible", machine::no_pfn, "smp_processor_id where the task may migrate");
    case Act::preempt_enable:
      if ((f.preempt_count & machine::preempt_mask) != 0) return Ruling::fine;
      f.owe(ReportKind::preempt_underflow, 1, 1);
      return crime("preempt-underflow", machine::no_pfn, "preempt_enable without preempt_disable");
    case Act::cpu_down:
    case Act::cpu_up: return call_hotplug(contexts[index]);
    default: return Ruling::fine;
  }
}

// What bh_enable might run may not run here (1.5).
Ruling Oracle::State::unmasks_softirqs(Flight& f) {
  if (f.irqs == IrqFlag::on && (f.preempt_count & machine::hardirq_mask) == 0) return Ruling::fine;
  f.owe(ReportKind::bh_enable, 1, 1);
  return crime("bh-enable", machine::no_pfn, "softirqs are enabled where interrupts are off");
}

// A strand that ends: as it began, and with empty hands.
Ruling Oracle::State::call_exit(Flight& f, const ContextState& state) {
  const bool counts = f.preempt_count != state.entered_count || f.irqs != state.entered_irqs;
  f.owe(ReportKind::exit_atomic, counts ? 1 : 0, counts ? 1 : 0);
  f.owe(ReportKind::exit_locked, f.held != 0 ? 1 : 0, f.held != 0 ? 1 : 0);
  if (!counts && f.held == 0) return Ruling::fine;
  return crime("unbalanced-exit", machine::no_pfn,
               fmt::format("preempt_count {:#x}, interrupts {}, {} classes of locks held", f.preempt_count,
                           f.irqs == IrqFlag::off ? "off" : "on", std::popcount(f.held)));
}

// P-CTX-3: what the call is for changes, nothing else.
Ruling Oracle::State::judge_balance(const Event& event, Flight& f) {
  std::uint32_t right = f.preempt_count;
  IrqFlag irqs = f.irqs;
  switch (f.request.act) {
    case Act::preempt_disable:
    case Act::get_cpu:
    case Act::copy_get: right += machine::preempt_offset; break;
    case Act::preempt_enable: right -= machine::preempt_offset; break;
    case Act::spin_trylock: right += event.value != 0 ? machine::preempt_offset : 0; break;
    case Act::spin_lock:
      right += machine::preempt_offset + (f.request.count == spin_bh ? machine::softirq_offset : 0);
      if (f.request.count == spin_irqsave) irqs = IrqFlag::off;
      break;
    case Act::spin_unlock:
      right -= machine::preempt_offset + (f.request.count == spin_bh ? machine::softirq_offset : 0);
      if (f.request.count == spin_irqsave) irqs = event.irqs;  // as below
      break;
    case Act::do_exit: return Ruling::fine;  // the machine puts everything right
    case Act::bh_disable: right += machine::softirq_offset; break;
    case Act::bh_enable: right -= machine::softirq_offset; break;
    case Act::irq_save: irqs = IrqFlag::off; break;
    case Act::irq_restore: irqs = event.irqs; break;  // to whatever it was before: the program's nesting
    default: break;
  }
  if (event.held != f.held && enters_allocator(f.request.act)) return locks_left(event, f);
  if (event.preempt_count == right && event.irqs == irqs) return Ruling::fine;
  const bool lock_trouble = f.reports_used && (f.seen[static_cast<unsigned>(ReportKind::lock_recursion)] |
                                               f.seen[static_cast<unsigned>(ReportKind::lock_unowned)] |
                                               f.seen[static_cast<unsigned>(ReportKind::preempt_underflow)]) != 0;
  if (lock_trouble && !enters_allocator(f.request.act)) return Ruling::fine;
  return broken(
      "ctx.balance", machine::no_pfn,
      fmt::format("preempt_count {:#x} and interrupts {} at return, right are {:#x} and {}", event.preempt_count,
                  event.irqs == IrqFlag::off ? "off" : "on", right, irqs == IrqFlag::off ? "off" : "on"));
}

Ruling Oracle::State::on_slept(const Event&, Flight& f) {
  if (!f.active || !enters_allocator(f.request.act) || f.request.act == Act::drain_all ||
      f.request.act == Act::clean_up || f.request.act == Act::fork || moves_cpus(f.request.act) ||
      on_the_chain(f.request.act) || manages_pools(f.request.act))
    return Ruling::fine;
  if (f.request.act == Act::percpu_work) return Ruling::fine;
  if (moves_objects(f.request.act)) {
    if (may_sleep(f.request.gfp) || f.nmi) return Ruling::fine;
    return broken("gfp.sleep", machine::no_pfn, "a function for objects slept that may not");
  }
  if (allocates(f.request.act) && (may_sleep(f.gfp) || f.nmi)) return Ruling::fine;
  return broken("gfp.sleep", machine::no_pfn,
                allocates(f.request.act) ? fmt::format("a request with gfp {:#x} slept", f.gfp)
                                         : "a function that may not sleep slept");
}

}  // namespace memtorture::oracle
