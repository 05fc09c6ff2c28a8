// The white-box view of kernel stacks. Reads without locks: nothing may run.
#include "allocator/kernel/kernel.h"

namespace memtorture::kernel {

bool Kernel::boot_stacks(std::span<const machine::Strand> strands) {
  faults_.reset({}, *this);
  struct Step {
    kstack::StackAllocator& stacks;
    std::span<const machine::Strand> strands;
    bool done = false;
  } step{stacks_, strands};
  machine_.run_alone(
      [](void* arg) {
        Step& self = *static_cast<Step*>(arg);
        self.done = self.stacks.boot(self.strands);
      },
      &step);
  faults_.reset(rules_, *this);
  if (step.done)
    machine_.on_switch([](void* stacks) { static_cast<kstack::StackAllocator*>(stacks)->check_at_switch(); }, &stacks_);
  return step.done;
}

subject::StackInfo Kernel::stack_info(std::uint64_t base) {
  const kstack::ThreadInfo& info = stacks_.info(base);
  return {.self = info.self, .use = info.use, .number = info.number, .magic = stacks_.magic(base)};
}

void Kernel::for_each_stack(EachStack f, void* arg) {
  stacks_.for_each_stack(
      [&](std::uint64_t base, subject::StackUse use, std::uint32_t number) { f(arg, base, use, number); });
}

}  // namespace memtorture::kernel
