// The facet of kernel stacks: tasks get one when they are made, and what runs pushes frames on it (domain.md 17).
//
//   base + THREAD_SIZE  | frames of whoever runs on it, growing down |
//                       | ....                                       |  <- stack pointer
//                       | never used: zero                           |
//   base + 72           | STACK_END_MAGIC, 8 bytes                   |
//   base + 64           | thread_info, 64 bytes                      |
//   base                a multiple of THREAD_SIZE; also the name of the task
//
// A frame, from above: return address, the caller's frame pointer, locals. Every byte of it is written when it is made.
// What alloca adds below it is not, but for its last 16 bytes: so a large array can step over the end of the stack and
// leave the magic as it was. Sizes are rounded up to multiples of 16; a frame has 32 at least.
//
// Whose stack: a task is on its own; a handler on that of what it interrupted, right below its frames, or with
// interrupt stacks on the one that its CPU has for its kind (several on one share it). An NMI has none of its own. What
// interrupts an idle CPU is on the stack of that CPU's idle task, and so is what interrupts a daemon.
//
// What is noticed. At a switch (whatever gives up the CPU), and at the end of a task or handler, the stack that is
// left: panic stack_end if the magic is gone, else stack_overrun if frames ever went past it. At the entry of a
// hardirq, the stack that it found: report low_stack if less than an eighth of THREAD_SIZE is left for frames.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "allocator/machine/machine.h"

namespace memtorture::subject {

inline constexpr std::uint32_t thread_info_bytes = 64;
inline constexpr std::uint64_t stack_end_magic = 0x57AC6E9D;
inline constexpr std::uint32_t stack_end_bytes = 8;
inline constexpr std::uint32_t frame_align = 16;      // also what the end of alloca's array writes
inline constexpr std::uint32_t frame_bytes_min = 32;  // return address, frame pointer, and locals
inline constexpr unsigned nr_cached_stacks = 2;       // a CPU
inline constexpr std::size_t strands_max = 64;        // programs that can have a stack

// What a call takes, in bytes.
constexpr std::uint64_t frame_size(std::uint64_t bytes) {
  const std::uint64_t rounded = (bytes + frame_align - 1) / frame_align * frame_align;
  return rounded < frame_bytes_min ? frame_bytes_min : rounded;
}
constexpr std::uint64_t array_size(std::uint64_t bytes) {
  return (bytes + frame_align - 1) / frame_align * frame_align;
}

using TaskHandle = std::uint64_t;  // simulated address of the task's thread_info
inline constexpr TaskHandle no_task = 0;

struct Returned {  // what a return found in the frame
  std::uint64_t return_address;
  std::uint64_t lowest_word;  // of its locals, or of the last array
};
struct Recursed {
  std::uint64_t lowest;         // the stack pointer at its deepest
  std::uint32_t frames_broken;  // that did not hold the return address any more
};

class Kstacks {
 public:
  virtual ~Kstacks() = default;
  // A further task, which never runs. no_task: refused, nothing is left behind. The frames' part of its stack is zero.
  // Sleepable process context.
  virtual TaskHandle fork() = 0;
  virtual void exit_task(TaskHandle task) = 0;  // it is gone, once. Any context but NMI.

  // All below: the running context, between its enter() and its leave(); any context. Nothing at all is done for one
  // that has no stack.
  virtual void enter() = 0;  // first of all
  virtual void leave() = 0;  // last of all: for a task no point may follow
  // return_address, pattern: not 0, written into the frame. Both return the stack pointer.
  virtual std::uint64_t push(std::uint64_t bytes, std::uint64_t return_address) = 0;
  virtual std::uint64_t alloca_bytes(std::uint64_t bytes, std::uint64_t pattern) = 0;  // in the last frame
  virtual Returned pop() = 0;                                                          // there must be a frame
  // depth calls, one in the other, and their returns.
  virtual Recursed recurse(std::uint32_t depth, std::uint64_t bytes, std::uint64_t return_address) = 0;
  virtual std::uint64_t stack_pointer() = 0;   // 0: it has no stack
  virtual std::uint64_t stack_not_used() = 0;  // bytes for frames that nobody has written so far
  virtual void shut_down() = 0;                // the harness: dead tasks' stacks and kept ones go back
};

// --- white box ------------------------------------------------------------------------------------------------------

enum class StackUse : std::uint32_t { none, forked, program, idle, hardirq, softirq, dead, cached };

struct StackInfo {  // as memory has it
  TaskHandle self;  // its own address; 0: it is nobody's
  StackUse use;
  std::uint32_t number;  // of the program, or of the CPU
  std::uint64_t magic;
};

// Quiescent use only; callbacks must not call the subject.
class KstacksView {
 public:
  virtual ~KstacksView() = default;
  virtual StackInfo stack_info(std::uint64_t base) = 0;  // of a stack
  // The stacks of programs, idle tasks and interrupts; then those of dead tasks, and those that are kept, by CPU.
  using EachStack = void (*)(void* arg, std::uint64_t base, StackUse use, std::uint32_t number);
  virtual void for_each_stack(EachStack f, void* arg) = 0;
};

}  // namespace memtorture::subject
