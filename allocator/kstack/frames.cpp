// What runs on a stack: frames, and who notices that there are too many.
//
// The stack pointer moves before the frame is written, and never comes back below what is in use: so a handler that
// comes in between writes below everything that its stack holds. Writes go wherever the stack pointer says, over the
// end of the stack into thread_info and what lies below; that is what an overrun does. They are bounded by memory
// alone.
//
// What is not modelled: registers that the processor itself saves at an interrupt, and frames of the allocator's own
// functions.
#include <algorithm>
#include <cstring>

#include "allocator/kstack/kstack.h"

namespace memtorture::kstack {

using machine::ContextKind;
using machine::PanicKind;
using machine::ReportKind;

namespace {

constexpr std::uint64_t word_bytes = sizeof(std::uint64_t);
constexpr std::uint64_t linkage_bytes = 2 * word_bytes;  // return address and frame pointer

}  // namespace

StackAllocator::Registers& StackAllocator::mine() {
  const machine::ContextId id = machine::current().id;
  return up_ && id < registers_.size() ? registers_[id] : nowhere_;
}

// --- memory ---------------------------------------------------------------------------------------------------------

void StackAllocator::write(Address from, std::uint64_t bytes, std::uint64_t word) {
  machine::Ram& ram = machine_.ram();
  const std::uint64_t page = machine_.shape().page_bytes();
  if (from % word_bytes != 0) return;  // as read()
  for (const Address end = from + bytes; from != end;) {
    const Address next = std::min(end, (from / page + 1) * page);
    const machine::Pfn pfn = ram.pfn_of(from);
    if (pfn != machine::no_pfn) {  // else there is no memory
      std::byte* const at = ram.frame(pfn).data() + from % page;
      for (Address i = from; i < next; i += word_bytes) std::memcpy(at + (i - from), &word, word_bytes);
    }
    from = next;
  }
}

std::uint64_t StackAllocator::read(Address at) {
  const machine::Pfn pfn = machine_.ram().pfn_of(at);
  if (pfn == machine::no_pfn || at % word_bytes != 0) return 0;
  std::uint64_t word;
  std::memcpy(&word, machine_.ram().frame(pfn).data() + at % machine_.shape().page_bytes(), word_bytes);
  return word;
}

std::uint64_t StackAllocator::magic(Address base) { return read(base + subject::thread_info_bytes); }

// --- whose stack ----------------------------------------------------------------------------------------------------

StackAllocator::Registers StackAllocator::found_by_handler() {
  const machine::Context* const found = machine::interrupted();
  if (found != nullptr && found->id < registers_.size() && registers_[found->id].stack != nullptr)
    return registers_[found->id];
  Stack& idle = cpus_[machine::raw_smp_processor_id()].idle;
  return {&idle, top(idle)};
}

// Where the frames of a handler go that has found `found`.
StackAllocator::Registers StackAllocator::footing(const Registers& found) {
  const ContextKind kind = machine::current().kind;
  const bool stays = machine_.shape().irq_stacks == machine::Toggle::off || kind == ContextKind::nmi;
  if (stays) return {found.stack, found.sp};
  PerCpu& its = cpus_[machine::raw_smp_processor_id()];
  Stack& own = kind == ContextKind::hardirq ? its.hardirq : its.softirq;
  return {&own, found.stack == &own ? found.sp : top(own)};
}

void StackAllocator::enter() {
  if (!up_ || machine::current().id >= registers_.size()) return;
  const ContextKind kind = machine::current().kind;
  if (kind == ContextKind::task) {
    Stack& own = programs_[machine::current().id];
    mine() = {&own, top(own)};
    return;
  }
  const Registers found = found_by_handler();
  mine() = footing(found);
  const auto left = static_cast<std::int64_t>(found.sp - limit(*found.stack));
  if (kind == ContextKind::hardirq && left < static_cast<std::int64_t>(bytes() / 8))
    machine::report({.kind = ReportKind::low_stack, .address = found.stack->base});
}

void StackAllocator::leave() {
  Registers& me = mine();
  if (me.stack == nullptr) return;
  check(*me.stack);
  Stack& stack = *me.stack;
  me = {};
  if (machine::current().kind != ContextKind::task) return;
  leave_to_others(stack.base);
  stack = {};
}

// --- frames ---------------------------------------------------------------------------------------------------------

void StackAllocator::move(Registers& me, std::uint64_t bytes) {
  me.sp -= bytes;
  me.stack->deepest = std::min(me.stack->deepest, me.sp);
  machine::point("kstack.push");
}

Address StackAllocator::push(std::uint64_t bytes, std::uint64_t return_address) {
  Registers& me = mine();
  if (me.stack == nullptr) return 0;
  const std::uint64_t size = subject::frame_size(bytes);
  const Address above = me.sp;
  move(me, size);
  write(me.sp, size - linkage_bytes, return_address);
  write(above - linkage_bytes, word_bytes, me.fp);
  write(above - word_bytes, word_bytes, return_address);
  me.fp = above - linkage_bytes;
  return me.sp;
}

Address StackAllocator::alloca_bytes(std::uint64_t bytes, std::uint64_t pattern) {
  Registers& me = mine();
  const std::uint64_t size = subject::array_size(bytes);
  if (me.stack == nullptr || size == 0) return me.sp;
  move(me, size);
  write(me.sp, subject::frame_align, pattern);
  return me.sp;
}

subject::Returned StackAllocator::pop() {
  Registers& me = mine();
  if (me.stack == nullptr || me.fp == 0) return {};
  const subject::Returned found{.return_address = read(me.fp + word_bytes), .lowest_word = read(me.sp)};
  me.sp = me.fp + linkage_bytes;
  me.fp = read(me.fp);
  return found;
}

subject::Recursed StackAllocator::recurse(std::uint32_t depth, std::uint64_t bytes, std::uint64_t return_address) {
  subject::Recursed result{.lowest = stack_pointer()};
  for (std::uint32_t i = 0; i != depth; ++i) result.lowest = push(bytes, return_address);
  for (std::uint32_t i = 0; i != depth; ++i) {
    const subject::Returned found = pop();
    if (found.return_address != return_address || found.lowest_word != return_address) ++result.frames_broken;
  }
  return result;
}

// --- checks ---------------------------------------------------------------------------------------------------------

void StackAllocator::check(const Stack& stack) {
  if (magic(stack.base) != subject::stack_end_magic) machine::panic(PanicKind::stack_end);
  if (stack.deepest < limit(stack)) machine::panic(PanicKind::stack_overrun);
}

void StackAllocator::check_at_switch() {
  if (const Stack* const stack = mine().stack) check(*stack);
}

// From the end up: stacks begin as zero, and frames have no word of locals that is.
std::uint64_t StackAllocator::stack_not_used() {
  const Stack* const stack = mine().stack;
  if (stack == nullptr) return 0;
  Address at = limit(*stack);
  while (at != top(*stack) && read(at) == 0) at += word_bytes;
  return at - limit(*stack);
}

}  // namespace memtorture::kstack
