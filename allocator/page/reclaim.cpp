// Getting pages back: direct reclaim and kswapd (domain.md 9.3, 9.6). Whose pages they are: clients.h.
//
// What a page needs to be freed decides who may free it: clean pages anybody who may block, dirty file pages only with
// __GFP_FS, anonymous pages only with __GFP_IO. The flags are the caller's after its scope masks, so P-GFP-3 and
// P-GFP-9 hold by construction. A reclaimer has PF_MEMALLOC for the time, so it cannot come here again (P-RECLAIM-7).
// Pages of clients are taken on nodes of the task's cpuset only; slabs know no nodes here and come from anywhere.
// Clients come first; what they leave of the batch other layers are asked for (subject::Shrinker), who need nothing for
// it.
//
// A write that a device does at once frees the page at once. One that takes its time (reclaim.slow) leaves the page
// with its client, clean when the device is done; direct reclaim waits for that, which is all the throttling that there
// is (K26: congestion_wait; K61's throttle_direct_reclaim is not modelled).
//
// Departures from K26, none of which can refuse more. Slabs come when the lists gave too little, not at each priority;
// K26's lists of less than 32 pages are not looked at before enough looks have added up; and its last look spares what
// was used, so that a round may find nothing beside pages that it could have had.
//
// Not modelled: references by page tables, the ratio of file to anonymous pages, lumpy reclaim, zones that are
// given up as unreclaimable, shrink_slab's arithmetic.
#include <algorithm>
#include <optional>

#include "allocator/page/page_alloc.h"

namespace memtorture::page {

using machine::point;
using subject::ClientKind;

namespace {

constexpr unsigned def_priority = 12;  // DEF_PRIORITY: the first look is at a 4096th of each list

// A task has pages taken, and kswapd woken, only on the nodes of its cpuset, whatever its flags say; a victim anywhere.
const Zonelist& to_shrink(const Request& request) {
  return (machine::current().flags & machine::tif_memdie) != 0 ? *request.zonelist : *request.home;
}

}  // namespace

// Priorities from 12 down to 0: ever larger parts of the lists, until a batch is free.
std::uint32_t PageAllocator::try_to_free_pages(const Request& request) {
  machine::cond_resched();
  point("reclaim.enter");
  machine::Context& me = machine::current();
  me.flags |= machine::pf_memalloc;
  trace_->reclaim_began(request.gfp);
  std::uint32_t freed = 0;
  if (!faults_->should_fail("reclaim.progress", reclaim_batch, request.gfp, request.order)) {
    const std::span<const std::uint8_t> zones = to_shrink(request).all();
    for (unsigned priority = def_priority + 1; priority-- != 0 && freed < reclaim_batch;) {
      freed += shrink_zones(zones, request.gfp, priority, reclaim_batch - freed);
      if (freed >= reclaim_batch || !is_writing(zones)) continue;
      machine::sleep_jiffies(congestion_jiffies());
      if (priority == 0) freed += shrink_zones(zones, request.gfp, 0, reclaim_batch - freed);
    }
    if (freed < reclaim_batch) freed += shrink_slab(request.gfp, reclaim_batch - freed);
  }
  trace_->reclaim_ended(freed);
  me.flags &= ~std::uint32_t{machine::pf_memalloc};
  return freed;
}

std::uint32_t PageAllocator::shrink_zones(std::span<const std::uint8_t> zones, gfp_t gfp, unsigned priority,
                                          std::uint32_t target) {
  std::uint32_t freed = 0;
  for (const std::uint8_t index : zones) {
    if (freed < target) freed += shrink_zone(zones_[index], gfp, priority, target - freed);
  }
  return freed;
}

bool PageAllocator::is_writing(std::span<const std::uint8_t> zones) const {
  return std::ranges::any_of(zones, [&](std::uint8_t index) {
    return std::ranges::any_of(zones_[index].lru, [](const Lru& lru) { return lru.writeback_pages.get() != 0; });
  });
}

// The part of the lists of one zone that is due at this priority, and of it no more than is wanted.
std::uint32_t PageAllocator::shrink_zone(Zone& zone, gfp_t gfp, unsigned priority, std::uint32_t target) {
  clients_.end_writeback(zone);
  std::uint32_t freed = 0;
  const auto take = [&](ClientKind kind, std::optional<machine::Site> device) {
    Lru& lru = zone.lru[static_cast<unsigned>(kind)];
    const std::uint64_t active = lru.active_pages.get();
    if (priority == 0 || active > lru.inactive_pages.get()) clients_.shrink_active(zone, kind, active >> priority);
    const std::uint64_t scan = std::min<std::uint64_t>(lru.inactive_pages.get() >> priority, target - freed);
    if (scan == 0) return;
    if (device) {
      if (faults_->should_fail(*device, scan, gfp, 0)) return;
      if (faults_->should_fail("reclaim.slow", scan, gfp, 0))
        return clients_.write_slowly(zone, kind, scan, machine::jiffies_now() + congestion_jiffies());
    }
    freed += clients_.shrink_inactive(zone, kind, scan, priority == 0 ? Clients::Spare::nothing : Clients::Spare::used);
  };
  take(ClientKind::clean, std::nullopt);
  if ((gfp & subject::gfp_fs) != 0) take(ClientKind::dirty, "reclaim.writeback");
  if ((gfp & subject::gfp_io) != 0) take(ClientKind::anon, "reclaim.swap");
  return freed;
}

bool PageAllocator::register_shrinker(subject::Shrinker& shrinker) {
  if (!shrinker_rwsem_.write()) return false;
  unlist(shrinker);
  shrinker.next = shrinkers_;
  shrinkers_ = &shrinker;
  shrinker_rwsem_.end_write();
  return true;
}

bool PageAllocator::unregister_shrinker(subject::Shrinker& shrinker) {
  if (!shrinker_rwsem_.write()) return false;
  unlist(shrinker);
  shrinker_rwsem_.end_write();
  return true;
}

void PageAllocator::unlist(subject::Shrinker& shrinker) {
  for (subject::Shrinker** link = &shrinkers_; *link != nullptr; link = &(*link)->next) {
    if (*link != &shrinker) continue;
    *link = shrinker.next;
    return;
  }
}

// Whoever changes the list keeps us out; then there is something to be had next time.
std::uint32_t PageAllocator::shrink_slab(gfp_t gfp, std::uint32_t target) {
  std::uint32_t freed = 0;
  if (!shrinker_rwsem_.try_read()) return freed;
  for (subject::Shrinker* shrinker = shrinkers_; shrinker != nullptr && freed < target; shrinker = shrinker->next) {
    const std::uint32_t before = machine::current().reclaimed_slab;
    trace_->shrink_began(gfp);
    shrinker->shrink(shrinker->owner, target - freed, gfp);
    const std::uint32_t its_pages = machine::current().reclaimed_slab - before;
    trace_->shrink_ended(its_pages);
    freed += its_pages;
  }
  shrinker_rwsem_.end_read();
  return freed;
}

// P-WMARK-10: a request in the slow path wakes kswapd of the node that it prefers of those that its task may have; of
// the others where a zone is really low.
void PageAllocator::wake_all_kswapd(const Request& request) {
  unsigned woken = 0;
  for (const std::uint8_t index : to_shrink(request).all()) {
    const Zone& zone = zones_[index];
    if ((woken >> zone.node & 1) != 0) continue;
    if (woken != 0 && zone_watermark_ok(zone, request.order, Mark::low, ZoneKind::dma, 0)) continue;
    woken |= 1u << zone.node;
    wakeup_kswapd(zone.node, request.order);
  }
}

void PageAllocator::wakeup_kswapd(unsigned nid, unsigned order) {
  point("kswapd.wake");
  Node& node = node_[nid];
  std::uint8_t largest = node.kswapd_order.load(std::memory_order_relaxed);
  while (largest < order && !node.kswapd_order.compare_exchange_weak(largest, static_cast<std::uint8_t>(order),
                                                                     std::memory_order_relaxed)) {
  }
  trace_->kswapd_woken(nid);
  machine_->wake_daemon({.id = static_cast<machine::ContextId>(machine::kswapd_first + nid),
                         .kind = machine::ContextKind::task,
                         .cpu = static_cast<std::uint8_t>(nid < machine_->shape().cpus ? nid : 0),
                         .flags = machine::pf_memalloc,
                         .body = &PageAllocator::kswapd,
                         .arg = &node});
}

void PageAllocator::kswapd(void* arg) {
  Node& node = *static_cast<Node*>(arg);
  do {
    node.allocator->balance(node);
  } while (node.allocator->machine_->daemon_wait());
}

// Every zone of the node to HIGH, for the largest order asked for; gives up on a zone when a round frees nothing. Slabs
// come after clients of the zone, wherever they lie: a cache may have pages of every zone. It waits for no device: what
// that is done with by then is for the next time.
void PageAllocator::balance(Node& node) {
  const unsigned order = node.kswapd_order.exchange(0, std::memory_order_relaxed);
  for (Zone& zone : zones()) {
    if (zone.node != node.nid) continue;
    point("kswapd.balance");
    while (!zone_watermark_ok(zone, order, Mark::high, ZoneKind::dma, 0)) {
      if (faults_->should_fail("reclaim.progress", reclaim_batch, subject::GFP_KERNEL, order)) break;
      std::uint32_t freed = 0;
      for (unsigned priority = def_priority + 1; priority-- != 0 && freed < reclaim_batch;)
        freed += shrink_zone(zone, subject::GFP_KERNEL, priority, reclaim_batch - freed);
      if (freed == 0 && shrink_slab(subject::GFP_KERNEL, reclaim_batch) == 0) break;
    }
  }
}

}  // namespace memtorture::page
