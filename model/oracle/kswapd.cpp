// What a woken kswapd owes its node (domain.md 9.3, P-RECLAIM-6): every zone above its high mark for the order that it
// was woken for, or nothing left that it may reclaim.
//
// When it runs is a legal choice, and what it reached may be used up again before anybody looks. So it is judged once,
// when everything has come to rest: it balanced the node after it was last woken, and since then a zone has lost at
// most what was taken from it since the wake. Adding that gives at least what the zone had when kswapd was done. Pages
// that became reclaimable after the wake may have come too late for it and do not count.
//
// Not judged: a node after new marks or after an injected failure of reclaim, until it is woken again; orders above 0
// once something was taken, or where there are per-CPU lists: what fragmentation was like at the time is not known.
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "model/oracle/state.h"

namespace memtorture::oracle {

using subject::ClientKind;

namespace {

std::uint64_t reclaimable_in(const ZoneState& zone) {
  std::uint64_t pages = 0;
  for (const ClientKind kind : {ClientKind::clean, ClientKind::dirty, ClientKind::anon})
    pages += zone.client_pages[static_cast<unsigned>(kind)];
  return pages - zone.being_written;  // it waits for no device
}

}  // namespace

Ruling Oracle::State::on_kswapd_woken(const Event& event, Flight& f) {
  const auto node = static_cast<unsigned>(event.value);
  if (const Ruling ruling = judge_kswapd_of(node, f); ruling != Ruling::fine) return ruling;
  f.nodes_woken |= static_cast<std::uint8_t>(1u << node);
  Wake& wake = wakes[node];
  if (!std::exchange(wake.ever, true)) ++kswapds_started;
  bool untouched = wake.judged;  // then what was owed before is still owed
  for (unsigned z = 0; z != geometry.count(); ++z) {
    if (geometry.zone(z).node == node) untouched = untouched && wake.taken[z] == ledger.zone(z).taken;
    wake.taken[z] = ledger.zone(z).taken;
    wake.client_grants[z] = ledger.zone(z).client_grants;
  }
  const std::uint8_t order = f.active && allocates(f.request.act) ? f.order : 0;
  wake.order = untouched ? std::max(wake.order, order) : order;
  wake.judged = mark_changers == 0;
  return Ruling::fine;
}

Ruling Oracle::State::on_quiet() {
  settle_unannounced();
  if (mutators != 0) return Ruling::fine;
  for (unsigned z = 0; z != geometry.count(); ++z) {
    const Zone& zone = geometry.zone(z);
    const ZoneState& now = ledger.zone(z);
    const Wake& wake = wakes[zone.node];
    if (!wake.judged) continue;
    const std::uint64_t taken = now.taken - wake.taken[z], grants = now.client_grants - wake.client_grants[z];
    if (reclaimable_in(now) <= grants) continue;
    // What leaves a per-CPU list is not taken from the zone, but it was a buddy of something.
    const unsigned order = taken == 0 && zone.pcp_high == 0 ? wake.order : 0;
    if (watermark_ok(now.free + taken, now.nr_free, order, zone.mark_high, zone.reserve[0])) continue;
    return broken("kswapd.high", machine::no_pfn,
                  fmt::format("kswapd left node {} {} with {} free pages for order {}, high is {}, and {} reclaimable",
                              zone.node, machine::zone_names[zone.kind], now.free + taken, order, zone.mark_high,
                              reclaimable_in(now) - grants));
  }
  return Ruling::fine;
}

}  // namespace memtorture::oracle
