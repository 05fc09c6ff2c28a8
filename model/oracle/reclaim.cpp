// Direct reclaim, clients, endless waits (domain.md 9.1, 9.3, 9.4, 9.6).
//
// A round without progress is the licence to refuse or to kill. It may not be told while the request's zones have pages
// of clients that its flags may take (reclaim.clients): what clients used lately is spared for as long as there is
// something else, and a slow device is waited for. Demanded where it is certain: nothing came to clients during the
// round, nothing was written by others, no failure was injected; and each context that may have a page in hand may have
// the last.
//
// Not checked: which client page is taken first, how much more than asked is freed, when kswapd runs (legal choices);
// how much a shrinker is asked for (P-RECLAIM-5, second half).
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "model/oracle/state.h"

namespace memtorture::oracle {

using subject::ClientKind;

Ruling Oracle::State::on_reclaim_began(const Event& event, ContextState& state) {
  Flight& f = state.flight;
  if (!f.active || !allocates(f.request.act))
    return broken("gfp.reclaim", machine::no_pfn, "direct reclaim outside of an allocation");
  if (f.nmi) return Ruling::fine;
  if (!may_sleep(f.gfp))
    return broken("gfp.reclaim", machine::no_pfn, fmt::format("direct reclaim for gfp {:#x}", f.gfp));
  if ((f.task_flags & machine::pf_memalloc) != 0)
    return broken("gfp.reclaim", machine::no_pfn, "direct reclaim by a PF_MEMALLOC task");
  if (f.in_reclaim) return broken("reclaim.nested", machine::no_pfn, "reclaim inside reclaim");
  constexpr std::uint32_t scoped = subject::gfp_io | subject::gfp_fs;
  if (((event.gfp ^ scope_masked(f.gfp, f.task_flags)) & scoped) != 0) {
    return broken(
        "gfp.scope", machine::no_pfn,
        fmt::format("reclaim runs with gfp {:#x}, right is {:#x}", event.gfp, scope_masked(f.gfp, f.task_flags)));
  }
  f.in_reclaim = true;
  f.killed = false;
  const bool once = (f.gfp & subject::gfp_noretry) != 0 && (f.gfp & subject::gfp_nofail) == 0;
  if (++f.reclaims > 1 && once)
    return broken("gfp.noretry", machine::no_pfn, fmt::format("{} rounds of reclaim", f.reclaims));
  f.round_pages = 0;
  f.round_busy = 0;
  f.clients_then = client_comings;
  f.objects_rested = objects_at_rest(state);
  f.objects_then = objects_moves();
  return Ruling::fine;
}

Ruling Oracle::State::on_reclaim_ended(const Event& event, ContextState& state) {
  Flight& f = state.flight;
  if (!f.active || !f.in_reclaim) return Ruling::fine;
  f.in_reclaim = false;
  f.last_progress = event.value;
  f.reclaimed += event.value;
  if (event.value == f.round_pages) {
    if (event.value != 0) return Ruling::fine;
    const Ruling ruling = judge_clients_left(state);
    return ruling != Ruling::fine ? ruling : judge_no_progress(state);
  }
  return broken("reclaim.progress", machine::no_pfn,
                fmt::format("reclaim told {} pages, {} were freed", event.value, f.round_pages));
}

void Oracle::State::reclaim_fault(machine::Site site, Flight& f) {
  constexpr auto bit = [](ClientKind kind) { return static_cast<std::uint8_t>(1u << static_cast<unsigned>(kind)); };
  f.reclaim_faulted = true;
  f.round_busy |= site == machine::Site("reclaim.writeback") ? bit(ClientKind::dirty)
                  : site == machine::Site("reclaim.swap")    ? bit(ClientKind::anon)
                                                             : std::uint8_t{0xff};
}

// No progress is the licence to refuse, or to kill: not beside pages that the round was free to take.
Ruling Oracle::State::judge_clients_left(const ContextState& state) {
  const Flight& f = state.flight;
  if (f.unjudged || f.nmi || client_comings != f.clients_then || !first_crime.rule.empty()) return Ruling::fine;
  std::uint64_t in_hand = kswapds_started;
  for_each_context([&](const ContextState& other) {
    if (&other != &state && other.flight.active) ++in_hand;
  });
  const std::uint64_t left = reclaimable_pages(f, f.round_busy);
  if (left <= in_hand) return Ruling::fine;
  return broken("reclaim.clients", machine::no_pfn,
                fmt::format("reclaim found nothing beside {} pages of clients that it may take", left));
}

Ruling Oracle::State::on_io(const Event& event, Flight& f) {
  if (!f.active || !enters_allocator(f.request.act)) return Ruling::fine;  // kswapd is exempt
  const std::uint32_t gfp = allocates(f.request.act) ? scope_masked(f.gfp, f.task_flags) : 0;
  if (event.kind == EventKind::io_started && (gfp & subject::gfp_io) == 0)
    return broken("gfp.io", machine::no_pfn, fmt::format("a write was started for gfp {:#x}", gfp));
  if (event.kind == EventKind::fs_called && (gfp & subject::gfp_fs) == 0)
    return broken("gfp.fs", machine::no_pfn, fmt::format("a filesystem was called for gfp {:#x}", gfp));
  return Ruling::fine;
}

// A client is given its pages one request at a time: this one is served, the next is opened.
Ruling Oracle::State::on_client_granted(const Event& event, unsigned index) {
  Flight& f = contexts[index].flight;
  const Pfn frame = event.pfn;
  if (!f.active || f.request.act != Act::client_add || f.must_be_refused)
    return broken("page.overlap", frame, "a client got a page that it did not ask for");
  if (f.faulted) return broken("fault.honoured", frame, "a request with an injected failure got a page");
  if (f.reports_used && f.seen[static_cast<unsigned>(ReportKind::allocation_failure)] != 0)
    return broken("page.report.spurious", frame, "a failure report, but the request succeeded");
  if (const Ruling ruling = judge_grant(f, frame, 0, 1); ruling != Ruling::fine) return ruling;
  if (event.detail == static_cast<unsigned>(ClientKind::process)) {
    if (event.value >= processes.size())
      return broken("client.count", frame, fmt::format("there is no process {}", event.value));
    ++processes[event.value].pages;
  }
  ++client_comings;
  ledger.set(frame, client_entry(event.detail, event.value));
  ZoneState& zone = ledger.zone(geometry.zone_of(frame));
  ++zone.clients;
  ++zone.client_pages[event.detail];
  ++zone.client_grants;
  ++f.client_moves;
  f.nodes_woken = 0;
  f.reclaims = f.refills = 0;
  f.reclaimed = f.last_progress = 0;
  f.changes = changes_from_here(1);
  open_request(f);
  return Ruling::fine;
}

// The request that was refused, if any, was the last: it ended the operation. It is judged as any other.
Ruling Oracle::State::judge_added(const Event& event, Flight& f) {
  if (event.value != f.client_moves || event.value > f.request.number)
    return broken(
        "client.count", machine::no_pfn,
        fmt::format("client_add of {} told {}, {} were granted", f.request.number, event.value, f.client_moves));
  return f.nmi || event.value == f.request.number ? Ruling::fine : judge_refusal(f);
}

Ruling Oracle::State::judge_dropped(const Event& event, Flight& f) {
  // A kswapd may have taken a page off a client's list that it has not announced yet.
  const std::uint64_t taken = std::min<std::uint64_t>(f.client_held, kswapds_started);
  const bool too_few = quiet(f) && f.client_moves < std::min(f.client_held - taken, f.request.number);
  if (event.value == f.client_moves && event.value <= f.request.number && !too_few) return Ruling::fine;
  return broken("client.count", machine::no_pfn,
                fmt::format("client_drop of {} told {}, {} were given up, {} were held at the call", f.request.number,
                            event.value, f.client_moves, f.client_held));
}

Ruling Oracle::State::judge_touched(const Event& event, const Flight& f) {
  const bool of_process = f.request.byte == static_cast<unsigned>(ClientKind::process);
  const std::uint64_t right = of_process ? 0 : std::min(f.client_held, f.request.number);
  const std::uint64_t in_hand = std::min<std::uint64_t>(right, kswapds_started);
  const bool nobody_else = mutators == 0 && changes == f.changes;
  if (event.value <= f.request.number && (!nobody_else || (event.value <= right && event.value >= right - in_hand)))
    return Ruling::fine;
  return broken("client.count", machine::no_pfn,
                fmt::format("client_touch of {} told {}, {} were held at the call", f.request.number, event.value,
                            f.client_held));
}

Ruling Oracle::State::on_client_released(const Event& event, unsigned index) {
  const Pfn frame = event.pfn;
  if (geometry.absent(frame)) return broken("reclaim.owner", frame, "the frame does not exist");
  const auto kind = static_cast<ClientKind>(event.detail);
  const Entry entry = ledger.find(frame).entry;
  if (entry.holds() != Holds::client || (entry.payload() & client_kind_mask) != event.detail) {
    return broken("reclaim.owner", frame,
                  fmt::format("frame {} is taken from a {} client while {}", frame, subject::client_names[event.detail],
                              whose(frame)));
  }
  ContextState& state = contexts[index];
  Flight& f = state.flight;
  ProcessRecord* const process = kind == ClientKind::process ? &processes[entry.payload() >> 4] : nullptr;
  const bool writing = process == nullptr && (entry.payload() & being_written) != 0;
  if (writing && (machine::is_daemon(event.who) || (f.active && allocates(f.request.act))))
    return broken("reclaim.writing", frame, "reclaim takes a page while a device writes it");
  if (f.active && allocates(f.request.act)) {
    const std::uint32_t gfp = scope_masked(f.gfp, f.task_flags);
    const bool allowed = kind == ClientKind::process ? oom_possible(f) && process->dying
                         : !f.in_reclaim             ? false
                         : kind == ClientKind::dirty ? (gfp & subject::gfp_fs) != 0
                         : kind == ClientKind::anon  ? (gfp & subject::gfp_io) != 0
                                                     : true;
    if (!allowed)
      return broken("reclaim.owner", frame,
                    fmt::format("gfp {:#x} may not take a {} page", gfp, subject::client_names[event.detail]));
    const unsigned z = geometry.zone_of(frame);
    if (f.in_reclaim && !f.unjudged && !f.nmi && (zones_of(f) & zone_bit(z)) == 0)
      return broken("reclaim.owner", frame, fmt::format("gfp {:#x} may not be served by the zone of this page", f.gfp));
    if (f.in_reclaim && !f.nmi && (zones_to_shrink(f) & zone_bit(z)) == 0)
      return broken(
          "gfp.cpuset", frame,
          fmt::format("reclaim takes a page of node {} for a task with nodes {:#x}", geometry.zone(z).node, f.mems));
    ++(f.in_reclaim ? f.round_pages : f.victim_pages);
  } else if (machine::is_daemon(event.who) && kind == ClientKind::process) {
    return broken("reclaim.owner", frame, "kswapd took a page of a process");
  } else if (f.active && f.request.act != Act::client_drop && f.request.act != Act::clean_up) {
    return broken("reclaim.owner", frame, "a function that does not reclaim took a client's page");
  } else if (f.active && f.request.act == Act::client_drop) {
    ++f.client_moves;
    if (event.detail != f.request.byte)
      return broken("reclaim.owner", frame,
                    fmt::format("a {} client was dropped, the page is of a {} client",
                                subject::client_names[f.request.byte], subject::client_names[event.detail]));
  }
  ZoneState& zone = ledger.zone(geometry.zone_of(frame));
  --zone.clients;
  --zone.client_pages[event.detail];
  if (process != nullptr) --process->pages;
  if (writing) --zone.being_written;
  if (!allocating.empty()) before_change(contexts_max);
  if (!f.active) {  // a daemon, or the harness: no call announced it
    ++mutators;
    ++changes;
  }
  ledger.set(frame, limbo_entry(0, index));
  ++zone.limbo;
  state.releasing_client = frame;
  if (!allocating.empty()) after_change();
  return Ruling::fine;
}

// A device takes its time with a page. Whoever waits for it is not the first to know that it is done.
Ruling Oracle::State::on_client_writing(const Event& event) {
  ++client_comings;
  const Entry entry = geometry.absent(event.pfn) ? Entry() : ledger.find(event.pfn).entry;
  const auto kind = static_cast<ClientKind>(entry.payload());
  if (entry.holds() != Holds::client || (kind != ClientKind::dirty && kind != ClientKind::anon))
    return broken("reclaim.writing", event.pfn, "a page is written that is no dirty or anonymous page of a client");
  ledger.set(event.pfn, Entry(Holds::client, entry.payload() | being_written));
  ++ledger.zone(geometry.zone_of(event.pfn)).being_written;
  return Ruling::fine;
}

Ruling Oracle::State::on_client_written(const Event& event) {
  ++client_comings;
  const Entry entry = geometry.absent(event.pfn) ? Entry() : ledger.find(event.pfn).entry;
  if (entry.holds() != Holds::client || (entry.payload() & being_written) == 0)
    return broken("reclaim.writing", event.pfn, "a page is told to be written that no device was given");
  ZoneState& zone = ledger.zone(geometry.zone_of(event.pfn));
  --zone.being_written;
  --zone.client_pages[entry.payload() & client_kind_mask];
  ++zone.client_pages[static_cast<unsigned>(ClientKind::clean)];
  ++zone.client_grants;
  ledger.set(event.pfn, client_entry(static_cast<unsigned>(ClientKind::clean), 0));
  return Ruling::fine;
}

void Oracle::State::settle_client(unsigned index) {
  ContextState& state = contexts[index];
  const Pfn frame = state.releasing_client;
  state.releasing_client = machine::no_pfn;
  if (ledger.at(frame) == limbo_entry(0, index)) {
    const unsigned z = geometry.zone_of(frame);
    if (!allocating.empty()) before_change(contexts_max);
    --ledger.zone(z).limbo;
    ledger.add_free(frame, 0, z);
    if (!allocating.empty()) after_change();
  }
  if (!state.flight.active) leave_mutator();
}

// Everything is at rest: what daemons did last has taken effect.
void Oracle::State::settle_unannounced() {
  if (mutators == 0) return;
  for_each_context([&](ContextState& state) {
    if (state.releasing_client != machine::no_pfn) settle_client(static_cast<unsigned>(&state - contexts.data()));
    if (state.draining) settle_drain(state);
  });
}

// Of clients, in the zones of the request, of the kinds that its flags allow; `but`: a bit for each kind that does not
// count.
std::uint64_t Oracle::State::reclaimable_pages(const Flight& f, std::uint8_t but) const {
  const std::uint32_t gfp = scope_masked(f.gfp, f.task_flags);
  const ZoneSet zones = zones_of(f) & zones_at_home(f);
  std::uint64_t pages = 0;
  for (unsigned z = 0; z != geometry.count(); ++z) {
    if ((zones >> z & 1) == 0) continue;
    const auto held = [&](ClientKind kind) {
      const auto k = static_cast<unsigned>(kind);
      return (but >> k & 1) == 0 ? ledger.zone(z).client_pages[k] : 0;
    };
    pages += held(ClientKind::clean);
    if ((gfp & subject::gfp_fs) != 0) pages += held(ClientKind::dirty);
    if ((gfp & subject::gfp_io) != 0) pages += held(ClientKind::anon);
  }
  return pages;
}

bool Oracle::State::may_wait_forever(unsigned index, unsigned depth) const {
  const ContextState& state = contexts[index];
  const Flight& f = state.flight;
  if (!f.active || depth > contexts_max) return false;
  // Whatever its backend is doing: it is the pool's request that waits.
  const Flight& own = state.outer.empty() ? f : state.outer.front();
  if (own.request.act == Act::pool_alloc) return pool_may_wait_forever(state, own);
  if (f.request.act == Act::wait_event) return true;
  if (f.request.act == Act::mutex_lock) {
    const unsigned holder = mutex_holder[f.request.byte & 3];
    return holder == index + 1 || (holder != 0 && may_wait_forever(holder - 1, depth + 1));
  }
  if (!allocates(f.request.act) || f.must_be_refused || !may_sleep(f.gfp)) return false;
  if (f.atomic_crime) return true;
  // __GFP_NOFAIL where refusal is legal too (a reclaimer without its privilege) may take either.
  const bool insists = (f.gfp & subject::gfp_nofail) != 0 && !f.only_fast;
  if ((!must_not_fail(f) && !insists) || f.impossible_zone) return false;
  if (!f.unjudged || f.request.node >= 0) return nothing_will_come(f);
  // Which node was local when it asked is not known.
  Flight somewhere = f;
  for (unsigned node = 0; node != shape.nodes; ++node) {
    somewhere.node = static_cast<std::uint8_t>(node);
    if (nothing_will_come(somewhere)) return true;
  }
  return false;
}

// No zone of the request would serve it now, and neither reclaim nor a kill can change that.
bool Oracle::State::nothing_will_come(const Flight& f) const {
  const bool no_marks = (f.rights.must & right_no_watermarks) != 0;
  const ZoneSet zones = reach(f, no_marks ? 2 : 1).least;
  for (unsigned z = 0; z != geometry.count(); ++z) {
    if ((zones & zone_bit(z)) == 0) continue;
    if (no_marks ? has_block(f, z, false) : passes(f, z, geometry.zone(z).mark_min, f.rights.must)) return false;
  }
  if ((f.task_flags & machine::pf_memalloc) != 0) return true;
  // NOFAIL with NORETRY may call the OOM killer (one reading of 7.6) and need not (the other).
  const bool kills = may_kill(f) && (f.gfp & subject::gfp_noretry) == 0;
  return (!reclaimable(f) || f.reclaim_faulted) && !kills;
}

}  // namespace memtorture::oracle
