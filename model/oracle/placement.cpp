// Per-CPU lists, from the subject's trace: parked (freed page -> list), refilled (buddy -> list), drained (list ->
// buddy).
//
// The trace makes NR_FREE exact: pages on lists are free but not counted and not coalesced (domain.md 6.4).
//
// Not checked: order on a list (a hint, P-PCP-5).
#include <fmt/core.h>

#include <algorithm>

#include "model/oracle/state.h"

namespace memtorture::oracle {

// Interrupts are off while a list is changed, so its CPU is the releaser's; and if that could not move, the call's.
bool Oracle::State::is_out_of_reach(const Flight& f, unsigned cpu) const {
  const bool fixed = !sleepable_at(f) || shape.cpus == 1;
  return f.active && fixed && cpu != f.cpu;
}

Ruling Oracle::State::on_parked(const Event& event, unsigned index) {
  const Pfn frame = event.pfn;
  if (geometry.absent(frame) || geometry.reserved(frame))
    return broken("page.reserved", frame, fmt::format("{} frame {} was freed", whose(frame), frame));
  if (is_surely_offline(event.cpu)) return happens_offline(event.cpu, frame, "a page goes on its list");
  ContextState& state = contexts[index];
  const unsigned z = geometry.zone_of(frame);
  ZoneState& zone = ledger.zone(z);
  // The tail of alloc_pages_exact may be part of a block whose release has not returned yet: it has taken effect.
  const bool tail = state.flight.active && state.flight.request.act == Act::alloc_exact;
  if (tail && ledger.find(frame).entry.holds() == Holds::limbo) settle_overlapping(frame, 0);
  const Ledger::Found found = ledger.find(frame);
  switch (found.entry.holds()) {
    case Holds::limbo:
      if (found.order != 0)
        return broken("pcp.park", frame,
                      fmt::format("a frame of a block of order {} went on a per-CPU list", found.order));
      --zone.limbo;
      if (state.releasing_client == frame) {
        state.releasing_client = machine::no_pfn;
        if (!state.flight.active) leave_mutator();
      }
      break;
    case Holds::free:  // only the tail of alloc_pages_exact, which nobody ever saw
      if (!state.flight.active || state.flight.request.act != Act::alloc_exact)
        return not_free(frame, 1, "was freed again");
      if (!allocating.empty()) before_change(index);
      if (!ledger.remove_free(frame, 0, z)) return not_free(frame, 1, "was freed again");
      break;
    case Holds::parked:
      return broken("pcp.double", frame, fmt::format("frame {} goes on a list while {}", frame, whose(frame)));
    case Holds::bad: return broken("page.bad", frame, fmt::format("bad frame {} was freed", frame));
    default: return broken("pcp.park", frame, fmt::format("frame {} goes on a list while {}", frame, whose(frame)));
  }
  if (is_out_of_reach(state.flight, event.cpu))
    return broken(
        "pcp.remote", frame,
        fmt::format("frame {} was freed on cpu {} to the list of cpu {}", frame, state.flight.cpu, event.cpu));
  ledger.set(frame, Entry(Holds::parked, event.cpu));
  ++zone.parked;
  ++ledger.parked(z, event.cpu);
  if (state.flight.active) {
    state.flight.cpus_seen |= std::uint64_t{1} << (event.cpu & 63);
    if (state.flight.target == frame) state.flight.parked_cpu = event.cpu;
  }
  if (!allocating.empty()) after_change();
  return Ruling::fine;
}

Ruling Oracle::State::on_refilled(const Event& event, unsigned index) {
  const Pfn frame = event.pfn;
  if (geometry.absent(frame) || geometry.reserved(frame)) return not_free(frame, 1, "went on a per-CPU list");
  if (is_surely_offline(event.cpu)) return happens_offline(event.cpu, frame, "its list is refilled");
  const unsigned z = geometry.zone_of(frame);
  Flight& f = contexts[index].flight;
  if (is_out_of_reach(f, event.cpu))
    return broken("pcp.remote", frame, fmt::format("cpu {} refills the list of cpu {}", f.cpu, event.cpu));
  if (allocating.size() > 1) before_change(index);
  const unsigned before = ledger.zone(z).orders_free;
  auto from = ledger.remove_free(frame, 0, z);
  if (!from) {
    settle_overlapping(frame, 0);
    from = ledger.remove_free(frame, 0, z);
    if (!from) return not_free(frame, 1, "went on a per-CPU list");
  } else if (quiet(f) && f.active && *from != static_cast<unsigned>(std::countr_zero(before))) {
    return broken(
        "buddy.smallest", frame,
        fmt::format("a block of order {} was cut while one of order {} is free", *from, std::countr_zero(before)));
  }
  ledger.set(frame, Entry(Holds::parked, event.cpu));
  ++ledger.zone(z).parked;
  ++ledger.parked(z, event.cpu);
  if (allocating.size() > 1) after_change();
  if (f.active && f.request.act == Act::alloc && ++f.refills > geometry.zone(z).pcp_batch && flaws.empty()) {
    return broken("pcp.batch", frame,
                  fmt::format("{} pages in one refill, batch is {}", f.refills, geometry.zone(z).pcp_batch));
  }
  return Ruling::fine;
}

Ruling Oracle::State::on_drained(const Event& event, unsigned index) {
  const Pfn frame = event.pfn;
  if (geometry.absent(frame) || geometry.reserved(frame))
    return broken("page.reserved", frame, fmt::format("{} frame {} left a per-CPU list", whose(frame), frame));
  const Entry entry = ledger.at(frame);
  if (entry.holds() != Holds::parked) {
    const std::string what =
        fmt::format("frame {} goes from a per-CPU list to the buddy lists while {}", frame, whose(frame));
    return entry.holds() == Holds::live ? broken("page.overlap", frame, what) : broken("pcp.park", frame, what);
  }
  if (entry.payload() != event.cpu)
    return broken("pcp.remote", frame,
                  fmt::format("cpu {}'s drain takes a page of cpu {}'s list", event.cpu, entry.payload()));
  const unsigned z = geometry.zone_of(frame);
  if (!allocating.empty()) before_change(contexts_max);
  --ledger.parked(z, event.cpu);
  --ledger.zone(z).parked;
  ledger.add_free(frame, 0, z);
  if (!allocating.empty()) after_change();
  Flight& f = contexts[index].flight;
  if (!f.active && !contexts[index].draining) {  // a daemon: no call announced it, and no result will end it
    contexts[index].draining = true;
    ++mutators;
    ++changes;
  }
  const bool flush = f.active && (f.request.act == Act::release || f.request.act == Act::put);
  if ((flush || f.request.act == Act::drain_local) && is_out_of_reach(f, event.cpu))
    return broken("pcp.remote", frame, fmt::format("cpu {} drains the list of cpu {}", f.cpu, event.cpu));
  if (flush && ++f.drains > geometry.zone(z).pcp_batch) {
    return broken("pcp.batch", frame,
                  fmt::format("{} pages in one flush, batch is {}", f.drains, geometry.zone(z).pcp_batch));
  }
  return Ruling::fine;
}

// A page is announced before it is on its list: until the daemon's next step nobody's view of free memory is exact.
void Oracle::State::settle_drain(ContextState& state) {
  state.draining = false;
  leave_mutator();
}

Ruling Oracle::State::judge_drain(const Event& event, Flight& f) {
  if (!promises.traces_placement || !quiet(f)) return Ruling::fine;
  const bool all = f.request.act == Act::drain_all;
  const bool fixed = !sleepable_at(f) || shape.cpus == 1;  // else the task may have been elsewhere when it drained
  if (!all && !fixed) return Ruling::fine;
  for (unsigned z = 0; z != geometry.count(); ++z) {
    const std::uint64_t left = all ? ledger.zone(z).parked : ledger.parked(z, event.cpu);
    if (left != 0)
      return broken("pcp.drain", machine::no_pfn,
                    fmt::format("{} pages stay on lists of zone {}", left, machine::zone_names[geometry.zone(z).kind]));
  }
  return Ruling::fine;
}

}  // namespace memtorture::oracle
