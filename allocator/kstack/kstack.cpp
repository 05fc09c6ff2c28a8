// Stacks: made for a task, kept for the next one, given back. The argument is in kstack.h.
//
// Every stack is cleared before a task gets it, wherever it comes from: what its last owner left there is nobody's
// business, and the frames' part reads as unused. fork can fail at two steps, and the second has something to undo.
#include "allocator/kstack/kstack.h"

#include <cstring>
#include <utility>

#include "allocator/slab/layer_pages.h"

namespace memtorture::kstack {

using machine::Masked;
using machine::ReportKind;
using subject::gfp_t;

void StackAllocator::reset() {
  up_ = false;
  cpus_ = {};
  programs_ = {};
  registers_ = {};
}

bool StackAllocator::boot(std::span<const machine::Strand> strands) {
  const bool with_irq_stacks = machine_.shape().irq_stacks == machine::Toggle::on;
  bool done = strands.size() <= programs_.size();
  for (std::uint32_t cpu = 0; done && cpu != machine_.shape().cpus; ++cpu) {
    done = make(cpus_[cpu].idle, StackUse::idle, cpu);
    if (!with_irq_stacks) continue;
    done = done && make(cpus_[cpu].hardirq, StackUse::hardirq, cpu) && make(cpus_[cpu].softirq, StackUse::softirq, cpu);
  }
  for (const machine::Strand& strand : strands) {
    if (!done) break;
    if (strand.kind == machine::ContextKind::task) done = make(programs_[strand.id], StackUse::program, strand.id);
  }
  if (!done) {
    for_each_stack([this](Address base, StackUse, std::uint32_t) {
      slab::release_pages(pages_, machine_.ram().pfn_of(base), order());
    });
    reset();
  }
  return up_ = done;
}

bool StackAllocator::make(Stack& stack, StackUse use, std::uint32_t number) {
  const Address base = obtain((subject::GFP_KERNEL & ~subject::gfp_wait) | subject::gfp_nowarn);  // nobody can wait yet
  if (base == 0) return false;
  set_up(base, use, number);
  stack = {.base = base, .deepest = base + bytes()};
  return true;
}

// --- blocks ---------------------------------------------------------------------------------------------------------

Address StackAllocator::obtain(gfp_t gfp) {
  if (const Address kept = take_cached(); kept != 0) {
    std::memset(machine_.ram().at(kept), 0, bytes());
    return kept;
  }
  const machine::Pfn first = slab::request_pages(pages_, machine_.ram(), gfp | subject::gfp_zero, order());
  return first != machine::no_pfn ? machine_.ram().address_of(first) : 0;
}

Address StackAllocator::take_cached() {
  Masked masked;
  PerCpu& mine = cpus_[masked.cpu()];
  return mine.cached_count != 0 ? mine.cached[--mine.cached_count] : 0;
}

// False: there are enough, or none are kept.
bool StackAllocator::keep(Address base) {
  if (machine_.shape().stack_cache == machine::Toggle::off) return false;
  Masked masked;
  PerCpu& mine = cpus_[masked.cpu()];
  if (mine.cached_count == mine.cached.size()) return false;
  info(base).use = StackUse::cached;
  mine.cached[mine.cached_count++] = base;
  return true;
}

// From here on nobody may be on it. Its name is wiped first: a second exit finds no task there.
void StackAllocator::release(Address base) {
  info(base).self = 0;
  if (!keep(base)) slab::release_pages(pages_, machine_.ram().pfn_of(base), order());
}

void StackAllocator::set_up(Address base, StackUse use, std::uint32_t number) {
  info(base) = {.self = base, .next = 0, .use = use, .number = number, .cpu = machine::raw_smp_processor_id()};
  std::memcpy(machine_.ram().at(base + sizeof(ThreadInfo)), &subject::stack_end_magic, subject::stack_end_bytes);
}

// --- tasks ----------------------------------------------------------------------------------------------------------

TaskHandle StackAllocator::fork() {
  if (machine::in_nmi()) {
    machine::report({.kind = ReportKind::nmi_entry, .gfp = subject::GFP_KERNEL});
    return subject::no_task;
  }
  const gfp_t gfp = machine::might_sleep() ? gfp_t{subject::GFP_KERNEL} : subject::GFP_KERNEL & ~subject::gfp_wait;
  bury();
  const Address base = obtain(gfp);
  if (base == 0) return subject::no_task;
  if (faults_.should_fail("kstack.charge", bytes() >> machine_.shape().page_shift, gfp, order())) {
    release(base);
    return subject::no_task;
  }
  set_up(base, StackUse::forked, 0);
  return base;
}

bool StackAllocator::is_task(TaskHandle task) {
  const machine::Pfn pfn = machine_.ram().pfn_of(task);
  if (task % bytes() != 0 || pfn == machine::no_pfn) return false;
  (void)machine_.ram().frame(pfn);  // whatever lies there is of this run
  return info(task).self == task && info(task).use == StackUse::forked;
}

void StackAllocator::exit_task(TaskHandle task) {
  if (machine::in_nmi()) return machine::report({.kind = ReportKind::nmi_entry});
  bury();
  if (!is_task(task)) return machine::report({.kind = ReportKind::bad_stack, .pfn = machine_.ram().pfn_of(task)});
  if (magic(task) != subject::stack_end_magic) machine::panic(machine::PanicKind::stack_end);
  release(task);
}

// The running task will not come back: interrupts stay off until it is gone, so that nothing comes on top of it and
// takes the list.
void StackAllocator::leave_to_others(Address base) {
  machine::local_irq_save();
  PerCpu& mine = cpus_[machine::raw_smp_processor_id()];
  info(base).self = 0;
  info(base).use = StackUse::dead;
  info(base).next = std::exchange(mine.dead, base);
}

Address StackAllocator::take_dead(unsigned cpu) {
  const Address base = cpus_[cpu].dead;
  if (base != 0) cpus_[cpu].dead = info(base).next;
  return base;
}

// Those who died on this CPU.
void StackAllocator::bury() {
  for (;;) {
    Address base;
    {
      Masked masked;
      base = take_dead(masked.cpu());
    }
    if (base == 0) return;
    release(base);
  }
}

void StackAllocator::shut_down() {
  if (!up_) return;
  for (unsigned cpu = 0; cpu != machine_.shape().cpus; ++cpu) give_back_all(cpu);
}

void StackAllocator::cpu_dead(unsigned cpu) {
  if (up_) give_back_all(cpu);
}

// Of a CPU on which nobody runs, or ever will.
void StackAllocator::give_back_all(unsigned cpu) {
  while (const Address base = take_dead(cpu)) slab::release_pages(pages_, machine_.ram().pfn_of(base), order());
  PerCpu& its = cpus_[cpu];
  while (its.cached_count != 0)
    slab::release_pages(pages_, machine_.ram().pfn_of(its.cached[--its.cached_count]), order());
}

}  // namespace memtorture::kstack
