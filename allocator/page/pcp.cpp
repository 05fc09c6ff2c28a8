// Per-CPU page lists: order 0 without the zone's lock (domain.md section 6, K26 sizes).
//
// Pages here are free, but neither in NR_FREE nor merged. A list with high 0 is not used at all: pages go straight
// between caller and buddy lists (see rmqueue_single and free_block), which is what "pass-through" means.
//
// Lock order: Pcp::lock > Zone::lock. See zone.h for why a list has a lock.
#include <algorithm>

#include "allocator/page/page_alloc.h"

namespace memtorture::page {

using machine::Held;
using machine::Masked;
using machine::point;

Pfn PageAllocator::pcp_alloc(Zone& zone, gfp_t gfp, const Masked& masked) {
  Pcp& pcp = zone.pcp[masked.cpu()];
  Held held(pcp.lock, masked, "pcp.alloc", "pcp.alloc");
  if (pcp.list.empty()) pcp_refill(zone, pcp, masked);
  const Pfn pfn = (gfp & subject::gfp_cold) != 0 ? pcp.list.last : pcp.list.first;
  if (pfn == no_pfn) return no_pfn;
  pcp.list.remove(map_, pfn);
  pcp.count.sub(1);
  Page& page = map_[pfn];
  page.set_flags(page.flags() & ~pg_pcp);
  return pfn;
}

void PageAllocator::pcp_refill(Zone& zone, Pcp& pcp, const Masked& masked) {
  point("pcp.refill");
  Held held(zone.lock, masked, "zone.lock", "zone.unlock");
  for (std::uint32_t i = 0; i != pcp.batch; ++i) {
    const Pfn pfn = take_block(map_, zone, 0, held);
    if (pfn == no_pfn) return;
    Page& page = map_[pfn];
    page.set_flags(page.flags() | pg_pcp);
    pcp.list.push_back(map_, pfn);
    pcp.count.add(1);
    trace_->refilled(pfn, masked.cpu());
  }
}

void PageAllocator::pcp_free(Zone& zone, Pfn pfn, const Masked& masked) {
  const unsigned cpu = masked.cpu();
  Pcp& pcp = zone.pcp[cpu];
  Held held(pcp.lock, masked, "pcp.free", "pcp.free");
  Page& page = map_[pfn];
  page.set_flags(page.flags() | pg_pcp);
  pcp.list.push_front(map_, pfn);
  pcp.count.add(1);
  trace_->parked(pfn, cpu);
  if (pcp.count.get() >= pcp.high) pcp_drain(zone, cpu, pcp.batch, masked);
}

// The coldest pages go back. The caller holds the list's lock.
void PageAllocator::pcp_drain(Zone& zone, unsigned cpu, std::uint32_t pages, const Masked& masked) {
  Pcp& pcp = zone.pcp[cpu];
  point("pcp.drain");
  Held held(zone.lock, masked, "zone.lock", "zone.unlock");
  for (std::uint64_t left = std::min<std::uint64_t>(pages, pcp.count.get()); left != 0; --left) {
    const Pfn pfn = pcp.list.last;
    pcp.list.remove(map_, pfn);
    pcp.count.sub(1);
    Page& page = map_[pfn];
    page.set_flags(page.flags() & ~pg_pcp);
    trace_->drained(pfn, cpu);
    give_block(map_, zone, pfn, 0, held);
  }
}

void PageAllocator::drain_cpu(Zone& zone, unsigned cpu, const Masked& masked) {
  Pcp& pcp = zone.pcp[cpu];
  if (pcp.high == 0 || pcp.count.get() == 0) return;
  Held held(pcp.lock, masked, "pcp.drain", "pcp.drain");
  pcp_drain(zone, cpu, ~0u, masked);
}

void PageAllocator::drain_local_pages() {
  if (reject_nmi(0, 0, no_pfn)) return;
  Masked masked;
  for (Zone& zone : zones()) drain_cpu(zone, masked.cpu(), masked);
}

void PageAllocator::drain_every_cpu() {
  for (Zone& zone : zones()) {
    for (unsigned cpu = 0; cpu != machine_->shape().cpus; ++cpu) {
      Masked masked;
      drain_cpu(zone, cpu, masked);  // of a CPU that has just gone, too
    }
  }
}

void PageAllocator::cpu_dead(unsigned cpu) {
  for (Zone& zone : zones()) {
    Masked masked;
    drain_cpu(zone, cpu, masked);
  }
}

void PageAllocator::drain_all_pages() {
  if (reject_nmi(0, 0, no_pfn)) return;
  machine::might_sleep();
  drain_every_cpu();
}

}  // namespace memtorture::page
