// The engine-independent half of context.h: counting, flags, and the reports that misuse of them earns.
#include "allocator/machine/context.h"

#include "allocator/machine/lock_watch.h"
#include "allocator/machine/machine.h"

namespace memtorture::machine {

void report(const Report& report) { this_machine().witness().reported(current(), report); }

unsigned visit(Site site) {
  std::uint16_t& visits = current().visits[site.index()];
  if (visits != 0xffff) ++visits;
  return visits;
}

void begin_operation(std::uint32_t op, std::uint16_t caller) {
  Context& me = current();
  me.op = op;
  me.caller = caller;
  me.visits = {};
  point("op");
}

// A handler begins with interrupts as its kind has them (softirq: on), a task with interrupts on.
void exit_strand() {
  Context& me = current();
  const bool masked = me.kind == ContextKind::hardirq || me.kind == ContextKind::nmi;
  const IrqFlag right = masked ? IrqFlag::off : IrqFlag::on;
  if (me.held != 0) report({.kind = ReportKind::exit_locked});
  if (me.preempt_count == me.entered_with && me.irqs == right) return;
  report({.kind = ReportKind::exit_atomic});
  me.preempt_count = me.entered_with;
  me.irqs = right;
}

void preempt_enable(Site site) {
  Context& me = current();
  if ((me.preempt_count & preempt_mask) == 0) return report({.kind = ReportKind::preempt_underflow});
  me.preempt_count -= preempt_offset;
  if (me.preempt_count == 0) point(site);
}

void local_bh_disable() { current().preempt_count += softirq_offset; }

void local_bh_enable(Site site) {
  Context& me = current();
  if ((me.preempt_count & softirq_mask) == 0) return report({.kind = ReportKind::preempt_underflow});
  if (me.irqs == IrqFlag::off || in_hardirq()) report({.kind = ReportKind::bh_enable});
  me.preempt_count -= softirq_offset;
  if (me.held != 0) note_unmasked();
  point(site);
}

void tell_lock(LockClass taken, LockSet under, std::uint8_t use) {
  const Context& me = current();
  me.watch->under[taken.index()] |= under;
  me.watch->uses[taken.index()] |= use;
  this_machine().witness().locked(me, taken, under, use);
}

// What is held is kept from here on in a way in which it was perhaps never taken.
void note_unmasked() {
  const Context& me = current();
  if (me.watch == nullptr) return;
  for (LockSet left = me.held; left != 0; left &= left - 1) {
    const LockClass held = LockClass::at(static_cast<unsigned>(std::countr_zero(left)));
    const auto use = static_cast<std::uint8_t>(lock_use(me) & ~me.watch->uses[held.index()]);
    if (use != 0) tell_lock(held, 0, use);
  }
}

unsigned smp_processor_id() {
  if (preemptible()) report({.kind = ReportKind::processor_id});
  return current().cpu;
}

bool report_sleeping() {
  report({.kind = ReportKind::sleeping});
  return false;
}

void cond_resched() { might_sleep(); }

bool may_give_up_cpu(Site site) {
  const Context& me = current();
  me.machine->at_switch();
  if (!sleepable(me.preempt_count, me.irqs)) {
    report({.kind = ReportKind::scheduling});
    return false;
  }
  point(site);
  return true;
}

void went_to_sleep() { this_machine().witness().slept(current()); }

}  // namespace memtorture::machine
