// CPUs that go and come (domain.md 6.4, 10.5, P-PCP-8).
//
// Two operations of this kind may be in flight at a time, and which of them came first is not known then. So what one
// has to tell is demanded of those that were alone; of the others only that all together make sense: as soon as none is
// in flight any more, each CPU is there or has gone. And only then a CPU is surely offline.
//
// What such an operation does to other layers' structures is judged where those are: drains, pages of slabs and of
// stacks that go back. Arrays and kept stacks are looked at by audits.
//
// Not checked: when a CPU comes and who is moved where, but that nobody runs on one that has gone; what is shared
// between the CPUs of a node when the last one goes, because other nodes' objects come home there later.
#include <fmt/core.h>

#include <algorithm>

#include "model/oracle/state.h"

namespace memtorture::oracle {

bool Oracle::State::is_surely_deserted(unsigned node) const {
  bool deserted = hotplug_ops == 0;
  for (unsigned cpu = node; cpu < shape.cpus; cpu += shape.nodes) deserted = deserted && is_surely_offline(cpu);
  return deserted;
}

Ruling Oracle::State::call_hotplug(ContextState& state) {
  state.hotplug = {.alone = hotplug_ops == 0, .calls = ++hotplug_calls};
  ++hotplug_ops;
  return sleepable_at(state.flight) ? Ruling::fine : atomic_call(state.flight, 1, 1);
}

Ruling Oracle::State::judge_hotplug(const Event& event, ContextState& state) {
  const Flight& f = state.flight;
  --hotplug_ops;
  const bool down = f.request.act == Act::cpu_down, done = event.value != 0;
  const std::uint64_t cpu = f.request.number;
  const bool never = !sleepable_at(f) || cpu >= shape.cpus || cpu == 0;
  const bool exact = state.hotplug.alone && state.hotplug.calls == hotplug_calls;
  if (never ? done : exact && done != ((online[cpu] == 1) == down))
    return broken("cpu.result", machine::no_pfn,
                  fmt::format("cpu {} {}, and {}", cpu,
                              cpu >= shape.cpus  ? "does not exist"
                              : online[cpu] == 1 ? "is there"
                                                 : "has gone",
                              done ? "moved" : "did not move"));
  if (!done) return Ruling::fine;
  online[cpu] = static_cast<std::int8_t>(online[cpu] + (down ? -1 : 1));
  if (hotplug_ops == 0 && std::ranges::any_of(online, [](int n) { return n != 0 && n != 1; }))
    return broken("cpu.result", machine::no_pfn, "a CPU has gone, or come, more often than it could");
  if (is_surely_offline(event.cpu)) return happens_offline(event.cpu, machine::no_pfn, "an operation ends there");
  return down && exact ? judge_lists_of_the_gone(static_cast<unsigned>(cpu), allocating.size()) : Ruling::fine;
}

// Each request in flight may have taken a page from there before, which counts as listed until the request returns.
Ruling Oracle::State::judge_lists_of_the_gone(unsigned cpu, std::size_t on_their_way) {
  for (unsigned z = 0; z != geometry.count(); ++z) {
    const std::uint64_t left = ledger.parked(z, cpu);
    if (left > on_their_way)
      return broken("cpu.left", machine::no_pfn,
                    fmt::format("cpu {} has gone, and {} pages are on its list of zone {}", cpu, left,
                                machine::zone_names[geometry.zone(z).kind]));
  }
  return Ruling::fine;
}

Ruling Oracle::State::happens_offline(unsigned cpu, Pfn frame, std::string_view what) {
  return broken("cpu.offline", frame, fmt::format("cpu {} has gone, and {}", cpu, what));
}

}  // namespace memtorture::oracle
