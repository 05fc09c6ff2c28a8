// Cpusets: which zones of its zonelist a task's set of nodes leaves to a request (domain.md 3.5, 5.6, 9.1; K26).
//
// There is one level of cpusets, below a root that has all nodes. So for who is not held back by __GFP_HARDWALL the
// nearest enclosing cpuset is the root, and the slow pass may go anywhere:
//
//   pass            only nodes of the cpuset                        any node
//   LOW             everybody else                                  interrupts, __GFP_THISNODE
//   MIN             __GFP_HARDWALL of who may wait                  without it; who may not wait; TIF_MEMDIE; as above
//   without marks                                                   everybody
//   HIGH (OOM)      as LOW: what it finds is in a zone that the next pass at MIN may look at, too
//
// Direct reclaim takes pages of clients, and a request wakes kswapd, only on nodes of the cpuset: there __GFP_THISNODE
// is no excuse. What a victim (TIF_MEMDIE) does there is not said, so both are right.
//
// A request whose cpuset has none of its zones may be refused at once (9.4).
//
// Not checked: of which nodes slabs are that reclaim gives back, and which node's objects are handed out: objects know
// no cpusets here. That the first pass of a task which may migrate, or whom others disturb, stays at home: which zones
// passed is not known then.
#include <fmt/core.h>

#include "model/oracle/state.h"

namespace memtorture::oracle {

namespace {

bool has_memdie(const Flight& f) { return (f.task_flags & machine::tif_memdie) != 0; }

}  // namespace

ZoneSet Oracle::State::zones_of(const Flight& f) const {
  const Zonelist& list = geometry.zonelist(f.node, f.high);
  return (f.gfp & subject::gfp_thisnode) != 0 ? list.local : list.allowed;
}

bool Oracle::State::is_at_home(const Flight& f, unsigned node) const {
  return f.mems == machine::all_nodes || in_interrupt(f) || (f.mems >> node & 1) != 0;
}

ZoneSet Oracle::State::zones_at_home(const Flight& f) const {
  if (f.mems == machine::all_nodes) return static_cast<ZoneSet>(~ZoneSet{0});
  ZoneSet home = 0;
  for (unsigned z = 0; z != geometry.count(); ++z) {
    if (is_at_home(f, geometry.zone(z).node)) home |= zone_bit(z);
  }
  return home;
}

Reach Oracle::State::reach(const Flight& f, unsigned stage) const {
  const ZoneSet all = zones_of(f);
  if (f.mems == machine::all_nodes || stage == 2 || (f.gfp & subject::gfp_thisnode) != 0) return {all, all};
  const auto home = static_cast<ZoneSet>(all & zones_at_home(f));
  if (stage == 0) return {home, home};
  const bool walled = may_sleep(f.gfp) && (f.gfp & subject::gfp_hardwall) != 0 && !has_memdie(f);
  if (!walled) return {all, all};
  // Whoever asked to wait where he may not: whether he counts as one who can is not said.
  return {home, f.atomic_crime ? all : home};
}

Reach Oracle::State::reach(const Flight& f) const {
  Reach any = reach(f, f.only_fast ? 0 : 1);
  if ((f.rights.may & right_no_watermarks) != 0 && !f.only_fast) any.most |= reach(f, 2).most;
  return any;
}

ZoneSet Oracle::State::zones_to_shrink(const Flight& f) const {
  return has_memdie(f) ? static_cast<ZoneSet>(~ZoneSet{0}) : zones_at_home(f);
}

Ruling Oracle::State::judge_mems_allowed(const Event& event, ContextState& state) {
  const std::uint8_t nodes = state.flight.request.byte;
  const unsigned existing = nodes & ((1u << shape.nodes) - 1);
  const bool done = event.value != 0;
  if (done != (existing != 0)) {
    return broken("gfp.cpuset", machine::no_pfn,
                  fmt::format("nodes {:#x} of {} were {}", nodes, shape.nodes, done ? "accepted" : "refused"));
  }
  if (done) state.mems_allowed = existing == (1u << shape.nodes) - 1 ? machine::all_nodes : nodes;
  return Ruling::fine;
}

Ruling Oracle::State::judge_kswapd_of(unsigned node, const Flight& f) {
  const bool free = !f.active || !allocates(f.request.act) || f.nmi || has_memdie(f);
  if (free || is_at_home(f, node)) return Ruling::fine;
  return broken("gfp.cpuset", machine::no_pfn,
                fmt::format("kswapd of node {} is woken by a task with nodes {:#x}", node, f.mems));
}

}  // namespace memtorture::oracle
