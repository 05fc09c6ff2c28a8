// Getting pages back: direct reclaim, kswapd, the OOM killer (domain.md 9.3, 9.5, 9.6).
//
// What a page needs to be freed decides who may free it: clean pages anybody who may block, dirty file pages only with
// __GFP_FS, anonymous pages only with __GFP_IO. The flags are the caller's after its scope masks, so P-GFP-3 and
// P-GFP-9 hold by construction. A reclaimer has PF_MEMALLOC for the time, so it cannot come here again (P-RECLAIM-7).
// Pages of clients are taken on nodes of the task's cpuset only; slabs know no nodes here and come from anywhere.
// Clients come first; what they leave of the batch other layers are asked for (subject::Shrinker), who need nothing for
// it.
//
// Not modelled: LRU ageing, priorities, writeback that takes time. A round frees up to reclaim_batch pages at once.
#include "allocator/page/page_alloc.h"

namespace memtorture::page {

using machine::point;
using subject::ClientKind;

namespace {

// A task has pages taken, and kswapd woken, only on the nodes of its cpuset, whatever its flags say; a victim anywhere.
const Zonelist& to_shrink(const Request& request) {
  return (machine::current().flags & machine::tif_memdie) != 0 ? *request.zonelist : *request.home;
}

}  // namespace

std::uint32_t PageAllocator::try_to_free_pages(const Request& request) {
  machine::cond_resched();
  point("reclaim.enter");
  machine::Context& me = machine::current();
  me.flags |= machine::pf_memalloc;
  trace_->reclaim_began(request.gfp);
  std::uint32_t freed = 0;
  if (!faults_->should_fail("reclaim.progress", reclaim_batch, request.gfp, request.order)) {
    for (const std::uint8_t index : to_shrink(request).all()) {
      if (freed < reclaim_batch) freed += shrink_zone(zones_[index], request.gfp, reclaim_batch - freed);
    }
    if (freed < reclaim_batch) freed += shrink_slab(request.gfp, reclaim_batch - freed);
  }
  trace_->reclaim_ended(freed);
  me.flags &= ~std::uint32_t{machine::pf_memalloc};
  return freed;
}

std::uint32_t PageAllocator::shrink_zone(Zone& zone, gfp_t gfp, std::uint32_t target) {
  std::uint32_t freed = clients_.shrink(zone, ClientKind::clean, target);
  const auto write = [&](ClientKind kind, machine::Site device) {
    if (freed == target || clients_.pages(kind) == 0 || faults_->should_fail(device, target - freed, gfp, 0)) return;
    freed += clients_.shrink(zone, kind, target - freed);
  };
  if ((gfp & subject::gfp_fs) != 0) write(ClientKind::dirty, "reclaim.writeback");
  if ((gfp & subject::gfp_io) != 0) write(ClientKind::anon, "reclaim.swap");
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
// come after clients of the zone, wherever they lie: a cache may have pages of every zone.
void PageAllocator::balance(Node& node) {
  const unsigned order = node.kswapd_order.exchange(0, std::memory_order_relaxed);
  for (Zone& zone : zones()) {
    if (zone.node != node.nid) continue;
    point("kswapd.balance");
    while (!zone_watermark_ok(zone, order, Mark::high, ZoneKind::dma, 0)) {
      if (faults_->should_fail("reclaim.progress", reclaim_batch, subject::GFP_KERNEL, order)) break;
      if (shrink_zone(zone, subject::GFP_KERNEL, reclaim_batch) == 0 &&
          shrink_slab(subject::GFP_KERNEL, reclaim_batch) == 0)
        break;
    }
  }
}

void PageAllocator::out_of_memory(const Request& request) {
  point("oom.kill");
  const std::uint32_t pages = clients_.kill_largest();
  if (pages == 0) machine::panic(machine::PanicKind::out_of_memory);
  trace_->oom_killed(pages);
  machine::report(
      {.kind = machine::ReportKind::oom_kill, .order = static_cast<std::uint8_t>(request.order), .gfp = request.given});
}

}  // namespace memtorture::page
