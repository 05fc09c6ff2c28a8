// The engine-independent half of context.h: counting, flags, and the reports that misuse of them earns.
#include "allocator/machine/context.h"

#include "allocator/machine/machine.h"

namespace memtorture::machine {

void report(const Report& report) { this_machine().witness().reported(current(), report); }

unsigned visit(Site site) {
  std::uint16_t& visits = current().visits[site.index()];
  if (visits != 0xffff) ++visits;
  return visits;
}

void begin_operation(std::uint32_t op) {
  Context& me = current();
  me.op = op;
  me.visits = {};
  point("op");
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
  me.preempt_count -= softirq_offset;
  point(site);
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
  if (!sleepable(me.preempt_count, me.irqs)) {
    report({.kind = ReportKind::scheduling});
    return false;
  }
  point(site);
  return true;
}

void went_to_sleep() { this_machine().witness().slept(current()); }

}  // namespace memtorture::machine
