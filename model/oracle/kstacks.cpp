// Kernel stacks: whose stack everybody is on, how deep, and what has to be noticed (domain.md 17, P-STACK-1..5).
//
// Every frame has one right place: right below the last one of the stack that its context is on. Where a context begins
// follows from what it is and from what it interrupted, which the machine tells; so each stack pointer that the subject
// tells is compared with the one that there can be. Only where a handler came into the middle of somebody's recursion
// there are several: one for each depth.
//
// An overrun. As long as it stays inside its own block it costs thread_info and the magic, and everything else stays
// sound: whoever leaves the stack next, by a switch or by ending, panics (P-STACK-4). Which panic follows from what was
// written: the magic is gone, or frames stepped over it. Below its block lies somebody else's memory. That is done only
// while nobody else can come to it first, and from then on nothing is demanded but that panic.
//
// Rulings. A second exit is told by the memory of the first one's stack, unless a new task may have it by then. A
// handler's end is a switch. Memory that a fork got is either its task's or nobody's.
//
// Not checked: that no stack is written to by others: contents of live frames are compared when they are left.
#include "model/oracle/state.h"

#include <fmt/core.h>

#include <algorithm>

namespace memtorture::oracle {

using machine::ContextKind;
using machine::PanicKind;
using subject::StackUse;

namespace {

constexpr std::uint64_t low_end = subject::thread_info_bytes + subject::stack_end_bytes;

}  // namespace

std::uint64_t Oracle::State::limit_of(const StackRecord& stack) const { return stack.base + low_end; }

StackRecord* Oracle::State::stack_at(std::uint64_t base) {
  const auto found = std::ranges::find_if(stacks, [base](const StackRecord& s) { return s.alive && s.base == base; });
  return found == stacks.end() ? nullptr : &*found;
}

// --- boot -----------------------------------------------------------------------------------------------------------

Ruling Oracle::State::begin_stacks(subject::KstacksView& view) {
  view.for_each_stack(
      [](void* arg, std::uint64_t base, StackUse use, std::uint32_t number) {
        const std::uint64_t top = base + static_cast<State*>(arg)->shape.stack_bytes;
        static_cast<State*>(arg)->stacks.push_back(
            {.base = base, .use = use, .number = number, .alive = true, .deepest = top, .written = top});
      },
      this);
  const auto count = [&](StackUse use) {
    return static_cast<std::size_t>(std::ranges::count(stacks, use, &StackRecord::use));
  };
  const auto tasks = std::ranges::count(the_case->programs, ContextKind::task, &program::Program::kind);
  const std::size_t interrupts = shape.irq_stacks == machine::Toggle::on ? shape.cpus : 0;
  if (count(StackUse::program) != static_cast<std::size_t>(tasks) || count(StackUse::idle) != shape.cpus ||
      count(StackUse::hardirq) != interrupts || count(StackUse::softirq) != interrupts)
    return broken("stack.block", machine::no_pfn, fmt::format("{} stacks were made at boot", stacks.size()));
  for (const StackRecord& stack : stacks) {
    const Pfn first = frame_of(stack.base);
    const bool twice = std::ranges::count(stacks, stack.base, &StackRecord::base) != 1;
    const Ledger::Found found = first == machine::no_pfn ? Ledger::Found{} : ledger.find(first);
    if (twice || stack.base % shape.stack_bytes != 0 || found.entry.holds() != Holds::live || found.head != first ||
        shape.page_bytes() << found.order != shape.stack_bytes || !ledger.object(found.entry.payload()).layer)
      return broken("stack.block", first, fmt::format("a stack at {:#x} is no block of its own", stack.base));
    ledger.object(found.entry.payload()).stack = true;
  }
  return Ruling::fine;
}

// --- contexts come and go -------------------------------------------------------------------------------------------

Ruling Oracle::State::on_entered(const Event& event, ContextState& state) {
  const unsigned index = index_of(event.who);
  const ContextKind kind = the_case->programs[index].kind;
  const auto stack_for = [&](StackUse use, std::uint32_t number) {
    const auto found = std::ranges::find_if(
        stacks, [&](const StackRecord& s) { return s.alive && s.use == use && s.number == number; });
    return static_cast<std::uint32_t>(found - stacks.begin()) + 1;
  };
  Footing& me = state.footing;
  me.frames.clear();
  const auto wrong = [&](std::uint64_t right) {
    return broken(
        "stack.charge", machine::no_pfn,
        fmt::format("{} begins at {:#x}, right is {:#x}", the_case->programs[index].name, event.value2, right));
  };
  const auto begins_at_top = [&](std::uint32_t stack) {
    me.stack = stack;
    me.sp = stacks[stack - 1].base + shape.stack_bytes;
    return event.value2 == me.sp ? Ruling::fine : wrong(me.sp);
  };
  if (kind == ContextKind::task) return begins_at_top(stack_for(StackUse::program, index));

  // What it found: its stack, and the highest and lowest place where the stack pointer can have been.
  const ContextState* found =
      event.value < contexts_used && contexts[event.value].footing.stack != 0 ? &contexts[event.value] : nullptr;
  const std::uint32_t found_stack = found != nullptr ? found->footing.stack : stack_for(StackUse::idle, event.cpu);
  const std::uint64_t highest = found != nullptr ? found->footing.sp : stacks[found_stack - 1].base + shape.stack_bytes;
  const bool moves = found != nullptr && found->flight.active && makes_frames(found->flight.request.act);
  const std::uint64_t lowest = moves ? found->footing.lowest : highest;
  if (kind == ContextKind::hardirq) {
    const std::uint64_t low_mark = limit_of(stacks[found_stack - 1]) + shape.stack_bytes / 8;
    const bool wrongly = me.told_low ? lowest >= low_mark : highest < low_mark && promises.reports;
    if (wrongly)
      return broken("stack.low", machine::no_pfn,
                    fmt::format("an interrupt found a stack at {:#x}, {}, and low is below {:#x}", highest,
                                me.told_low ? "reported it" : "did not report it", low_mark));
  } else if (me.told_low) {
    return broken("stack.low", machine::no_pfn, "a report of a low stack by who is no hardirq");
  }
  if (shape.irq_stacks == machine::Toggle::on && kind != ContextKind::nmi) {
    const std::uint32_t own =
        stack_for(kind == ContextKind::hardirq ? StackUse::hardirq : StackUse::softirq, event.cpu);
    if (own != found_stack) return begins_at_top(own);
  }
  me.stack = found_stack;
  me.sp = event.value2;
  const bool possible = me.sp <= highest && me.sp >= lowest &&
                        (me.sp == highest || (moves && (highest - me.sp) % found->footing.step == 0));
  return possible ? Ruling::fine : wrong(lowest);
}

Ruling Oracle::State::on_left(ContextState& state) {
  state.footing.told_low = false;  // a handler that comes again finds another stack
  if (state.footing.stack == 0) return Ruling::fine;
  StackRecord& stack = stack_of(state);
  const bool judged = !is_moving(state.footing.stack, state);
  state.footing.stack = 0;
  if (judged && is_overrun(stack))
    return broken("stack.overrun", frame_of(stack.base), "the end of a context on a stack that was overrun");
  if (stack.use == StackUse::program && the_case->programs[stack.number].kind == ContextKind::task &&
      index_of(who) == stack.number) {
    stack.alive = false;
    stack.dead = true;
  }
  return Ruling::fine;
}

// Is somebody else, who was interrupted, in the middle of making frames on it? How far he came is not known then.
bool Oracle::State::is_moving(std::uint32_t stack, const ContextState& except) const {
  return std::ranges::any_of(contexts, [&](const ContextState& other) {
    return &other != &except && other.footing.stack == stack && other.flight.active &&
           makes_frames(other.flight.request.act);
  });
}

// --- calls ----------------------------------------------------------------------------------------------------------

Ruling Oracle::State::call_stack(ContextState& state, unsigned index) {
  switch (state.flight.request.act) {
    case Act::fork: return call_fork(state);
    case Act::exit: return call_exit(state);
    case Act::pop:
    case Act::not_used: return Ruling::fine;
    default: return state.footing.stack != 0 ? call_frames(state, index) : Ruling::fine;
  }
}

Ruling Oracle::State::call_fork(ContextState& state) {
  Flight& f = state.flight;
  state.object = {};
  state.footing.block = machine::no_pfn;
  f.use_reports();
  ++forks;
  call_for_the_dead(state);
  if (sleepable_at(f)) return Ruling::fine;
  f.atomic_crime = true;
  f.owe(ReportKind::sleeping, 1, 1);
  return crime("sleep-in-atomic", machine::no_pfn, "fork in atomic context");
}

Ruling Oracle::State::call_exit(ContextState& state) {
  const Slot* held = slot(state.flight.request.of, Held::task);
  if (held == nullptr) return Ruling::fine;  // the harness skips it
  StackRecord& stack = stacks[held->object];
  call_for_the_dead(state);
  if (stack.alive) {
    stack.alive = false;
    return Ruling::fine;
  }
  const Pfn frame = frame_of(stack.base);
  const bool somebody_else = forks != 0 || stack_at(stack.base) != nullptr;
  if (somebody_else) return fatal("double-exit", frame, "a task ends again, and its stack may be another's");
  const bool still_going = std::ranges::any_of(contexts, [&](const ContextState& other) {
    return &other != &state && other.flight.active && other.flight.request.act == Act::exit;
  });
  if (still_going) return fatal("double-exit", frame, "a task ends while it ends");
  state.flight.owe(ReportKind::bad_stack, 1, 1);
  return noticed_if_free(state.flight, "double-exit", frame, "a task ends that is gone");
}

Ruling Oracle::State::call_frames(ContextState& state, unsigned index) {
  const Request& r = state.flight.request;
  Footing& me = state.footing;
  StackRecord& stack = stack_of(state);
  const bool is_array = r.act == Act::array;
  me.written_before = stack.written;
  me.step = is_array ? subject::array_size(r.number) : subject::frame_size(r.number);
  const std::uint64_t depth = r.act == Act::recurse ? r.count : 1;
  if (me.step == 0 || depth == 0 || (is_array && me.frames.empty())) {
    me.lowest = me.sp;
    return Ruling::fine;
  }
  const std::uint64_t lowest = me.lowest = me.sp - depth * me.step;
  const std::uint64_t written_end = is_array ? lowest + subject::frame_align : me.sp;
  const Ruling ruling = lowest < limit_of(stack) ? overflow(state, index, lowest) : Ruling::fine;
  if (written_end > limit_of(stack)) stack.written = std::min(stack.written, std::max(lowest, limit_of(stack)));
  const std::uint64_t magic = stack.base + subject::thread_info_bytes;
  if (lowest < magic + subject::stack_end_bytes && written_end > magic) stack.magic_gone = true;
  stack.deepest = std::min(stack.deepest, lowest);
  return ruling;
}

// --- overruns -------------------------------------------------------------------------------------------------------

bool Oracle::State::nobody_else_moves(const ContextState& state) const {
  bool alone = kswapds_started == 0 && shape.reap == machine::Toggle::off && mutators == 0;
  for_each_context([&](const ContextState& other) { alone = alone && (&other == &state || !other.flight.active); });
  return alone;
}

Ruling Oracle::State::overflow(ContextState& state, unsigned index, std::uint64_t lowest) {
  const StackRecord& stack = stack_of(state);
  const std::string what = fmt::format("frames down to {:#x} on a stack that ends at {:#x}", lowest, limit_of(stack));
  if (lowest >= stack.base) return crime("stack-overflow", frame_of(stack.base), what);
  const bool near = lowest >= stack.base - shape.stack_bytes && frame_of(lowest) != machine::no_pfn;
  if (!near || !nobody_else_moves(state) || (spilt_by != 0 && spilt_by != index + 1))
    return fatal("stack-overflow", frame_of(stack.base), what);
  spilt_by = index + 1;
  return crime("stack-overflow", frame_of(stack.base), what);
}

// Whoever overwrote what is not his may go on by himself; anything else might come to that memory.
bool Oracle::State::is_sound_after_spill(const Event& event, Act act) const {
  if (index_of(event.who) + 1 != spilt_by) return false;
  return (on_stacks(act) && act != Act::fork && act != Act::exit) || act == Act::schedule || act == Act::msleep ||
         act == Act::wait_event;
}

// By an operation that gives up the CPU, whether it may or not: the scheduler looks at the stack first.
void Oracle::State::owe_panic(ContextState& state) {
  const Act act = state.flight.request.act;
  if (state.footing.stack == 0 || (act != Act::schedule && act != Act::msleep && act != Act::wait_event)) return;
  const StackRecord& stack = stack_of(state);
  if (is_overrun(stack) && !is_moving(state.footing.stack, state))
    state.flight.owed_panic = stack.magic_gone ? PanicKind::stack_end : PanicKind::stack_overrun;
}

Ruling Oracle::State::on_stack_panic(const Event& event, const ContextState& state) {
  if (state.footing.stack != 0) {
    const StackRecord& stack = stacks[state.footing.stack - 1];
    const PanicKind right = stack.magic_gone ? PanicKind::stack_end : PanicKind::stack_overrun;
    const bool its_kind = event.detail == static_cast<std::uint8_t>(right) || is_moving(state.footing.stack, state);
    if (is_overrun(stack) && its_kind) {
      panicked = true;
      return Ruling::fine;
    }
  }
  if (spilt_by != 0) return undecidable();
  return broken("stack.overrun", machine::no_pfn, "a panic, and not for what happened to its stack");
}

}  // namespace memtorture::oracle
