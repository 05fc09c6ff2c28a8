// Façade of allocator/kstack: stacks for tasks and interrupts, and the frames on them (domain.md 17).
//
// A stack is one block of pages, and all that the kernel knows of a task is at its low end, in simulated memory
// (ThreadInfo); so a stack that is overrun really loses it. What is on the host is what a real machine has in registers
// (where a context's stack pointer stands) and what its stack tracer writes down (how deep a stack ever was).
//
// Why a stack is given back only when nobody is on it. A task that ends cannot free the stack that it stands on: it
// leaves it on its CPU's list of the dead, with interrupts off from then on, and there is no point between that and its
// end. Whoever next forks or ends a task on that CPU runs on another stack, and takes the list. A handler on a shared
// stack is done before what it interrupted goes on, so when a task ends no handler is on its stack either.
//
// Why there are no locks: lists and kept stacks are a CPU's own, and touched with interrupts off; registers are
// written by their context, and read by the handlers on top of it, which run where it does.
//
//   kstack.cpp   stacks: made, kept, given back, at boot
//   frames.cpp   what runs on them, and the checks
#pragma once

#include <array>
#include <bit>
#include <span>

#include "allocator/fault/injector.h"
#include "allocator/machine/machine.h"
#include "allocator/page/page_alloc.h"
#include "allocator/subject/kstacks.h"

namespace memtorture::kstack {

using Address = std::uint64_t;
using subject::StackUse;
using subject::TaskHandle;

struct ThreadInfo {  // at the lowest address of a stack
  Address self;      // 0 once the task is gone
  Address next;      // on the list of the dead
  StackUse use;
  std::uint32_t number;
  std::uint32_t cpu;  // where it was made
  std::uint32_t flags[9];
};
static_assert(sizeof(ThreadInfo) == subject::thread_info_bytes);

class StackAllocator {
 public:
  StackAllocator(machine::Machine& machine, fault::Injector& faults, page::PageAllocator& pages)
      : machine_(machine), faults_(faults), pages_(pages) {}

  void reset();  // a machine without stacks
  // Stacks for every CPU and for those of the strands that are tasks. False: not enough memory, all is as it was.
  // On the machine, outside of any strand.
  bool boot(std::span<const machine::Strand> strands);

  // Contracts: subject/kstacks.h. fork and exit_task report and do nothing in NMI; in other atomic context fork is
  // reported once, and goes on without sleeping.
  TaskHandle fork();
  void exit_task(TaskHandle task);
  void enter();
  void leave();
  Address push(std::uint64_t bytes, std::uint64_t return_address);
  Address alloca_bytes(std::uint64_t bytes, std::uint64_t pattern);
  subject::Returned pop();
  subject::Recursed recurse(std::uint32_t depth, std::uint64_t bytes, std::uint64_t return_address);
  Address stack_pointer() { return mine().sp; }
  std::uint64_t stack_not_used();
  void cpu_dead(unsigned cpu);  // stacks that it kept, and those of tasks that ended there; the CPU has gone
  void shut_down();
  void check_at_switch();  // the scheduler's look at the stack that the running context is on

  // White box.
  ThreadInfo& info(Address base) { return *reinterpret_cast<ThreadInfo*>(machine_.ram().at(base)); }
  std::uint64_t magic(Address base);
  template <class F>
  void for_each_stack(F&& f);

 private:
  struct Stack {  // one that contexts run on
    Address base = 0;
    Address deepest = 0;  // lowest stack pointer so far
  };
  struct Registers {
    Stack* stack = nullptr;
    Address sp = 0, fp = 0;  // fp: where the caller's is kept; 0: no frame
  };
  struct PerCpu {
    Stack idle, hardirq, softirq;
    Address dead = 0;  // linked through ThreadInfo::next
    std::array<Address, subject::nr_cached_stacks> cached{};
    unsigned cached_count = 0;
  };

  std::uint64_t bytes() const { return machine_.shape().stack_bytes; }
  unsigned order() const { return static_cast<unsigned>(std::countr_zero(bytes() >> machine_.shape().page_shift)); }
  Address top(const Stack& stack) const { return stack.base + bytes(); }
  static Address limit(const Stack& stack) {
    return stack.base + subject::thread_info_bytes + subject::stack_end_bytes;
  }

  // kstack.cpp
  Address obtain(subject::gfp_t gfp);
  Address take_cached();
  bool keep(Address base);
  void release(Address base);
  void set_up(Address base, StackUse use, std::uint32_t number);
  bool make(Stack& stack, StackUse use, std::uint32_t number);
  bool is_task(TaskHandle task);
  void leave_to_others(Address base);
  void bury();
  Address take_dead(unsigned cpu);
  void give_back_all(unsigned cpu);

  // frames.cpp
  Registers& mine();
  Registers found_by_handler();
  Registers footing(const Registers& found);
  void move(Registers& me, std::uint64_t bytes);
  void write(Address from, std::uint64_t bytes, std::uint64_t word);
  std::uint64_t read(Address at);
  void check(const Stack& stack);

  machine::Machine& machine_;
  fault::Injector& faults_;
  page::PageAllocator& pages_;
  bool up_ = false;
  std::array<PerCpu, machine::cpus_max> cpus_;
  std::array<Stack, subject::strands_max> programs_;
  std::array<Registers, subject::strands_max> registers_;
  Registers nowhere_;  // of contexts without a stack: daemons, the harness
};

template <class F>
void StackAllocator::for_each_stack(F&& f) {
  for (std::uint32_t i = 0; i != programs_.size(); ++i) {
    if (programs_[i].base != 0) f(programs_[i].base, StackUse::program, i);
  }
  for (std::uint32_t cpu = 0; cpu != machine_.shape().cpus; ++cpu) {
    PerCpu& its = cpus_[cpu];
    if (its.idle.base != 0) f(its.idle.base, StackUse::idle, cpu);
    if (its.hardirq.base != 0) f(its.hardirq.base, StackUse::hardirq, cpu);
    if (its.softirq.base != 0) f(its.softirq.base, StackUse::softirq, cpu);
    for (Address base = its.dead; base != 0; base = info(base).next) f(base, StackUse::dead, cpu);
    for (unsigned i = 0; i != its.cached_count; ++i) f(its.cached[i], StackUse::cached, cpu);
  }
}

}  // namespace memtorture::kstack
