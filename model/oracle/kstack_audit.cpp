// White box: the stacks that the layer has against those that there are, and what is at their low ends (P-STACK-2, 4).
//
// Every block of the ledger that is a stack is a live task's or CPU's, a dead task's, or kept for the next one; nothing
// is two of these.
//
// Not checked: what dead and kept stacks hold, for it is cleared when they are handed out.
#include <fmt/core.h>

#include <algorithm>

#include "model/oracle/state.h"

namespace memtorture::oracle {

using subject::StackUse;

Ruling Oracle::State::audit_stacks(subject::KstacksView& view) {
  struct Listed {
    std::uint64_t base;
    StackUse use;
    std::uint32_t number;
  };
  std::vector<Listed> listed;
  view.for_each_stack(
      [](void* arg, std::uint64_t base, StackUse use, std::uint32_t number) {
        static_cast<std::vector<Listed>*>(arg)->push_back({base, use, number});
      },
      &listed);
  const auto lost = [&](std::uint64_t base, std::string_view why) {
    return broken("stack.lost", frame_of(base), fmt::format("the stack at {:#x}: {}", base, why));
  };
  std::size_t unused = 0;
  std::array<unsigned, machine::cpus_max> kept{};
  for (const Listed& is : listed) {
    if (std::ranges::count(listed, is.base, &Listed::base) != 1) return lost(is.base, "listed twice");
    const StackRecord* const stack = stack_at(is.base);
    const bool idle_by_now = is.use == StackUse::dead || is.use == StackUse::cached;
    if (idle_by_now != (stack == nullptr)) return lost(is.base, "its task and its place disagree");
    if (stack != nullptr) {
      if (stack->use != is.use || stack->number != is.number) return lost(is.base, "it is another's");
      continue;
    }
    ++unused;
    if (is_surely_offline(is.number))
      return broken("cpu.left", frame_of(is.base), fmt::format("a stack is kept on cpu {}, which has gone", is.number));
    const bool died = std::ranges::any_of(stacks, [&](const StackRecord& s) { return s.base == is.base && s.dead; });
    if (is.use == StackUse::dead && !died) return lost(is.base, "nobody has died on it");
    if (is.use == StackUse::cached &&
        (shape.stack_cache == machine::Toggle::off || ++kept[is.number] > subject::nr_cached_stacks))
      return lost(is.base, "more are kept than should be");
  }
  std::size_t alive = 0;
  for (const StackRecord& stack : stacks) {
    if (!stack.alive) continue;
    ++alive;
    const bool has_place = std::ranges::find(listed, stack.base, &Listed::base) != listed.end();
    if (!has_place && stack.use != StackUse::forked) return lost(stack.base, "it is gone, and in use");
    if (is_overrun(stack)) continue;
    const subject::StackInfo is = view.stack_info(stack.base);
    if (is.self != stack.base || is.use != stack.use || is.number != stack.number ||
        is.magic != subject::stack_end_magic)
      return broken("stack.info", frame_of(stack.base),
                    fmt::format("the low end of the stack at {:#x} says {:#x}, use {}, number {}, magic {:#x}",
                                stack.base, is.self, static_cast<unsigned>(is.use), is.number, is.magic));
  }
  const auto blocks = static_cast<std::size_t>(
      std::ranges::count_if(ledger.objects(), [](const Object& o) { return o.serial != 0 && o.stack; }));
  if (blocks == alive + unused) return Ruling::fine;
  return broken("stack.lost", machine::no_pfn,
                fmt::format("{} blocks are stacks, {} are in use, {} are kept or of the dead", blocks, alive, unused));
}

}  // namespace memtorture::oracle
