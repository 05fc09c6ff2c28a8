// What operations on kernel stacks came to, and what has to be left of them at the end. The argument is in kstacks.cpp.
#include <fmt/core.h>

#include <algorithm>

#include "model/oracle/state.h"

namespace memtorture::oracle {

using subject::StackUse;

Ruling Oracle::State::judge_stack(const Event& event, ContextState& state) {
  switch (state.flight.request.act) {
    case Act::fork: {
      const Ruling ruling = judge_fork(event, state);
      return ruling == Ruling::fine ? judge_the_dead(state) : ruling;
    }
    case Act::exit: return judge_the_dead(state);
    default: return state.footing.stack != 0 ? judge_frames(event, state) : Ruling::fine;
  }
}

Ruling Oracle::State::judge_fork(const Event& event, ContextState& state) {
  const Flight& f = state.flight;
  --forks;
  const Pfn block = state.footing.block;
  const bool keeps = shape.stack_cache == machine::Toggle::on;
  if (event.value == subject::no_task) {
    if (!f.faulted && !state.object.refused && !f.atomic_crime)
      return broken("stack.fail", machine::no_pfn, "fork was refused, and nothing else was");
    if (block != machine::no_pfn && !keeps)
      return broken("stack.fail", block, "a fork that was refused left a block behind");
    return Ruling::fine;
  }
  const Pfn first = frame_of(event.value);
  if (f.faulted) return broken("fault.honoured", first, "a fork with an injected failure made a task");
  const Ledger::Found found = first == machine::no_pfn ? Ledger::Found{} : ledger.find(first);
  const bool is_block = event.value % shape.stack_bytes == 0 && found.entry.holds() == Holds::live &&
                        found.head == first && shape.page_bytes() << found.order == shape.stack_bytes &&
                        ledger.object(found.entry.payload()).stack;
  if (!is_block || stack_at(event.value) != nullptr || (!keeps && block != first))
    return broken("stack.block", first, fmt::format("a new stack at {:#x} is no block of its own", event.value));
  if (event.value2 != ~std::uint64_t{0})
    return broken("stack.clear", first, fmt::format("byte {} of a new stack is not zero", event.value2));
  for (StackRecord& stack : stacks) {
    if (stack.base == event.value) stack.dead = false;
  }
  const std::uint64_t top = event.value + shape.stack_bytes;
  stacks.push_back({.base = event.value, .use = StackUse::forked, .alive = true, .deepest = top, .written = top});
  fill_slot(f.request.out, {.what = Held::task,
                            .address = event.value,
                            .object = static_cast<std::uint32_t>(stacks.size() - 1),
                            .serial = ++serial});
  return Ruling::fine;
}

Ruling Oracle::State::judge_frames(const Event& event, ContextState& state) {
  const Request& r = state.flight.request;
  Footing& me = state.footing;
  const auto charged = [&](std::uint64_t right) {
    if (event.value == right) return Ruling::fine;
    return broken("stack.charge", frame_of(event.value),
                  fmt::format("the stack pointer is {:#x}, right is {:#x}", event.value, right));
  };
  switch (r.act) {
    case Act::push:
      me.frames.push_back({.bytes = me.step, .token = event.value2, .lowest_word = event.value2});
      me.sp -= me.step;
      return charged(me.sp);
    case Act::array:
      if (me.frames.empty()) return Ruling::fine;
      me.frames.back().bytes += me.step;
      me.sp -= me.step;
      if (me.step != 0) me.frames.back().lowest_word = event.value2;
      return charged(me.sp);
    case Act::recurse:
      if (event.value2 != 0)
        return broken("stack.frame", frame_of(me.lowest),
                      fmt::format("{} frames of a recursion did not hold what was written", event.value2));
      return charged(me.lowest);
    case Act::pop: {
      if (me.frames.empty()) return Ruling::fine;
      const Footing::Frame frame = me.frames.back();
      me.frames.pop_back();
      const Pfn where = frame_of(me.sp);
      me.sp += frame.bytes;
      if (event.value == frame.token && event.value2 == frame.lowest_word) return Ruling::fine;
      return broken("stack.frame", where,
                    fmt::format("a frame holds {:#x} and {:#x}, not {:#x} and {:#x}", event.value, event.value2,
                                frame.token, frame.lowest_word));
    }
    default: {
      const StackRecord& stack = stack_of(state);
      const std::uint64_t right = stack.written - limit_of(stack);
      std::uint64_t most = right;  // a handler in the middle of somebody's frames sees some of them
      for (const ContextState& other : contexts) {
        if (&other != &state && other.footing.stack == me.stack && other.flight.active &&
            makes_frames(other.flight.request.act))
          most = std::max(most, other.footing.written_before - limit_of(stack));
      }
      if (event.value >= right && event.value <= most) return Ruling::fine;
      return broken("stack.used", frame_of(stack.base),
                    fmt::format("{} bytes were never written, told were {}", right, event.value));
    }
  }
}

// On one CPU, whoever forks or ends a task gives back the stacks of those who died before. On several the dead are
// their CPU's, and who may be moved can have been on any; and whether a stack is kept shows in audits only. Somebody
// else who forks or ends a task meanwhile may have taken them off the list already and be about to give them back.
void Oracle::State::call_for_the_dead(const ContextState& state) {
  if (shape.cpus != 1 || shape.stack_cache == machine::Toggle::on) return;
  const bool others = somebody_else_buries(state);
  for (StackRecord& stack : stacks) stack.due = stack.dead && !others;
}

bool Oracle::State::somebody_else_buries(const ContextState& state) const {
  bool found = false;
  for_each_context([&](const ContextState& other) {
    const Act act = other.flight.request.act;
    found = found || (&other != &state && other.flight.active && (act == Act::fork || act == Act::exit));
  });
  return found;
}

Ruling Oracle::State::judge_the_dead(const ContextState& state) {
  if (somebody_else_buries(state)) return Ruling::fine;
  const auto left = std::ranges::find_if(stacks, [](const StackRecord& s) { return s.due && s.dead; });
  if (left == stacks.end()) return Ruling::fine;
  return broken("stack.lost", frame_of(left->base), "the stack of a dead task is still there after the next one came");
}

// The layer gives pages of a stack to the page layer.
Ruling Oracle::State::stack_given_back(const Event& event, ContextState& state) {
  const std::uint64_t base = machine::Ram::linear_base + (std::uint64_t{event.pfn} << shape.page_shift);
  const StackRecord* stack = stack_at(base);
  if (stack != nullptr)
    return broken("stack.early", event.pfn, "pages of a stack go back while it is somebody's, or somebody is on it");
  for (StackRecord& gone : stacks) {
    if (gone.base == base) gone.dead = false;
  }
  if (state.footing.block == event.pfn) state.footing.block = machine::no_pfn;
  const Act act = state.flight.request.act;
  if (state.flight.active && (act == Act::fork || act == Act::exit || act == Act::clean_up || act == Act::cpu_down))
    return Ruling::fine;
  return broken("stack.early", event.pfn, "an operation that has nothing to do with tasks gives back a stack");
}

// Everybody has left, and what the layer kept went back.
Ruling Oracle::State::end_stacks() {
  for (const Object& block : ledger.objects()) {
    if (block.serial == 0 || !block.stack) continue;
    const StackRecord* its = stack_at(machine::Ram::linear_base + (std::uint64_t{block.first} << shape.page_shift));
    if (its == nullptr) return broken("stack.lost", block.first, "the pages of a stack that nobody has");
  }
  return Ruling::fine;
}

bool Oracle::is_live_task(std::uint64_t task) const {
  const StackRecord* const stack = state_->stack_at(task);
  return stack != nullptr && stack->use == StackUse::forked;
}

}  // namespace memtorture::oracle
