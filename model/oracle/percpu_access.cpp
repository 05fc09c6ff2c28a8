// Who may add to which copy, and under which protection (domain.md 16.1, P-PERCPU-5, P-CTX-9).
//
// A copy is its CPU's. An addition that is a load and a store is safe if nobody can come in between:
//   * the program may not be moved or preempted: preemption off (percpu-unpinned), and still on the CPU that it got the
//     pointer or the number on (percpu-stale);
//   * no handler of that CPU that adds to the copy can interrupt it: of hardirqs interrupts off, of softirqs they or
//     bottom halves off; nothing keeps an NMI away (percpu-irq). As with locks it is enough that both were seen, on
//     whichever day: the handler that adds, and the addition that it could have interrupted;
//   * another CPU's copy needs a spinlock that everybody takes who adds to it, its own CPU too (percpu-remote).
// this_cpu_add is one step for everybody on its CPU, so only the last of these is asked of it.
//
// These are crimes whether or not something went wrong this time. When something did, the crime is lost-update, and it
// is what the run is told for: an addition that stored found something else in the copy than it had loaded.
//
// Not checked: locks that programs make of other things than spinlocks; an owner that changes from one protection to
// another between two uses is taken for somebody without any.
#include <fmt/core.h>

#include "model/oracle/state.h"

namespace memtorture::oracle {

using machine::ContextKind;

namespace {

constexpr std::uint8_t bit(ContextKind kind) { return static_cast<std::uint8_t>(1u << static_cast<unsigned>(kind)); }

// Kinds of handlers that the CPU admits where this operation runs (1.2).
std::uint8_t admitted(const Flight& f) {
  if ((f.preempt_count & machine::nmi_mask) != 0) return 0;
  std::uint8_t kinds = bit(ContextKind::nmi);
  if (f.irqs == IrqFlag::off) return kinds;
  kinds |= bit(ContextKind::hardirq);
  if ((f.preempt_count & (machine::softirq_mask | machine::hardirq_mask)) == 0) kinds |= bit(ContextKind::softirq);
  return kinds;
}

}  // namespace

std::uint8_t Oracle::State::locks_of(unsigned index) const {
  std::uint8_t held = 0;
  for (unsigned l = 0; l != program::locks_max; ++l)
    if (spin_holder[l] == index + 1) held = static_cast<std::uint8_t>(held | 1u << l);
  return held;
}

// Which copy, of which area: a pointer says both, a number the one, this_cpu_add and its like are where they run.
Ruling Oracle::State::call_addition(ContextState& state, unsigned index) {
  Flight& f = state.flight;
  const Request& r = f.request;
  PercpuAccess access{.copy = f.cpu, .own = true, .in_one = r.act == Act::this_add};
  if (r.act == Act::copy_add) {
    const Slot* const pointer = slot(r.in.slot, Held::copy);
    if (pointer == nullptr || r.in.offset != 0) return Ruling::fine;  // the harness skips it
    if (areas[pointer->object].serial != pointer->serial) return dead_area("written to");
    state.percpu.area = pointer->object + 1;
    state.percpu.serial = pointer->serial;
    access.copy = pointer->cpu;
    access.own = pointer->own;
  } else if (r.act == Act::index_add) {
    const Slot* const number = slot(r.in.slot, Held::cpu);
    if (number == nullptr || r.in.offset != 0) {  // the same
      state.percpu.area = 0;
      return Ruling::fine;
    }
    access.copy = number->cpu;
  }
  PercpuRecord& area = areas[state.percpu.area - 1];
  state.percpu.exact = area.adding == 0;
  state.percpu.changes = ++area.changes;
  ++area.adding;
  const Ruling ruling = judge_access(f, area, access, index);
  if (ruling == Ruling::crime) area.spoilt = true;  // on threads a loss need not have been seen
  return ruling;
}

Ruling Oracle::State::judge_access(Flight& f, PercpuRecord& area, const PercpuAccess& access, unsigned index) {
  const bool is_program = index < contexts_used;
  const ContextKind kind = is_program ? the_case->programs[index].kind : ContextKind::task;
  if (f.request.act == Act::raw_add && sleepable_at(f)) f.owe(ReportKind::processor_id, 1, 1);
  if (access.copy >= area.copies.size()) return Ruling::fine;
  PercpuCopy& copy = area.copies[access.copy];
  if (sleepable_at(f) && access.in_one) return Ruling::fine;  // on whichever CPU: judged by where it was
  if (sleepable_at(f)) {
    if (!access.own) return crime("percpu-remote", machine::no_pfn, "any CPU's copy is added to without a lock");
    return crime("percpu-unpinned", machine::no_pfn, "a copy is added to where the task may be moved");
  }
  const bool here = access.copy == f.cpu;
  if (!here && access.own)
    return crime("percpu-stale", machine::no_pfn,
                 fmt::format("the copy of cpu {} is added to on cpu {}", access.copy, f.cpu));
  const Ruling of_locks = judge_locks(copy, {access.copy, here, access.in_one}, index);
  const Ruling interrupts = here ? judge_interrupts(f, copy, access, kind) : Ruling::fine;
  return of_locks == Ruling::fine ? interrupts : of_locks;
}

Ruling Oracle::State::judge_interrupts(const Flight& f, PercpuCopy& copy, const PercpuAccess& access,
                                       ContextKind kind) {
  copy.touched_by |= bit(kind);
  if (!access.in_one) copy.open_to |= admitted(f);
  constexpr std::uint8_t handlers = bit(ContextKind::softirq) | bit(ContextKind::hardirq) | bit(ContextKind::nmi);
  if ((copy.touched_by & copy.open_to & handlers) == 0) return Ruling::fine;
  return crime(
      "percpu-irq", machine::no_pfn,
      fmt::format("an addition to the copy of cpu {} can be interrupted by a handler that adds to it", access.copy));
}

// access.own: on the copy's CPU, pinned.
Ruling Oracle::State::judge_locks(PercpuCopy& copy, const PercpuAccess& access, unsigned index) {
  const std::uint8_t held = locks_of(index);
  (access.own ? copy.own_guard : copy.guard) &= held;
  (access.own ? copy.local : copy.remote) = true;
  if (!copy.remote || (copy.guard & (copy.local ? copy.own_guard : 0xff)) != 0) return Ruling::fine;
  return crime("percpu-remote", machine::no_pfn,
               fmt::format("the copy of cpu {} is added to from elsewhere, and no lock is held by all who add to it",
                           access.copy));
}

// It is what went wrong: of all crimes of a run this is the one to be told.
Ruling Oracle::State::lost_update(std::string detail) {
  if (!first_crime.rule.empty()) detail += fmt::format(" (before: {})", first_crime.rule);
  first_crime = {};
  return crime("lost-update", machine::no_pfn, std::move(detail));
}

}  // namespace memtorture::oracle
