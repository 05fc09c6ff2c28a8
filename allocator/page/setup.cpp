// Boot of the page layer: zones from the shape, free memory to the buddy lists, marks and lists sized (domain.md 3, 5,
// 6).
#include <new>

#include "allocator/page/page_alloc.h"

namespace memtorture::page {

using machine::Held;
using machine::Masked;

void PageAllocator::boot(machine::Machine& machine, boot::Bank& bank, fault::Injector& faults,
                         subject::PagesTrace& trace) {
  const machine::Shape& shape = machine.shape();
  machine_ = &machine;
  faults_ = &faults;
  trace_ = &trace;
  nodes_ = shape.nodes;
  orders_ = shape.orders;
  for (unsigned cpu = 0; cpu != shape.cpus; ++cpu) cpu_node_[cpu] = static_cast<std::uint8_t>(node_of_cpu(cpu, nodes_));
  zone_table_.build(boot::zone_kinds_of(shape));
  shared_ = machine::Machine::concurrent();
  poisons_ = shape.poison == machine::Toggle::on;
  oom_busy_.store(false, std::memory_order_relaxed);
  clients_.boot();
  shrinkers_ = nullptr;
  shrinker_rwsem_.reset();
  bank.reset();
  map_.boot(bank, boot::MemoryMap(shape), shared_ ? MemMap::Validity::eager : MemMap::Validity::lazy);

  boot::ZonePlace places[zones_max];
  zone_count_ = boot::place_zones(shape, places);
  zones_ = bank.array<Zone>(zone_count_);
  for (unsigned i = 0; i != zone_count_; ++i) {
    Zone& zone = *new (&zones_[i]) Zone;
    zone.index = static_cast<std::uint8_t>(i);
    setup_zone(zone, places[i], bank);
  }
  zonelists_.build(zones(), nodes_, shape.cpus);
  for (unsigned nid = 0; nid != nodes_; ++nid) {
    node_[nid].allocator = this;
    node_[nid].nid = static_cast<std::uint8_t>(nid);
    node_[nid].kswapd_order.store(0, std::memory_order_relaxed);
  }
  setup_lowmem_reserve(zones());
  min_free_kbytes_.set(shape.min_free_kbytes.value_or(min_free_kbytes_for(lowmem_pages_of(zones()), shape.page_shift)));
  for (Zone& zone : zones()) setup_marks(zone);
}

void PageAllocator::setup_zone(Zone& zone, const boot::ZonePlace& place, boot::Bank& bank) {
  const machine::Shape& shape = machine_->shape();
  zone.node = place.node;
  zone.kind = place.kind;
  zone.orders = shape.orders;
  zone.span = place.span;
  zone.present = map_.memory().present(place.span);
  map_.memory().for_each_usable(place.span, [&](Span run) { give_run(map_, zone, run); });

  PcpSize size = pcp_size_for(zone.present, shape.page_shift);
  if (shape.pcp_batch) size = {.high = 6u * *shape.pcp_batch, .batch = *shape.pcp_batch};
  if (shape.pcp_high) size.high = *shape.pcp_high;
  if (size.high == 0 || size.batch == 0) size.batch = 1;
  zone.pcp = bank.array<Pcp>(shape.cpus);
  for (unsigned cpu = 0; cpu != shape.cpus; ++cpu) {
    Pcp& pcp = *new (&zone.pcp[cpu]) Pcp;
    pcp.high = size.high;
    pcp.batch = size.batch;
  }
}

void PageAllocator::setup_marks(Zone& zone) {
  const std::uint64_t pages_min = min_free_kbytes_.get() >> (machine_->shape().page_shift - 10);
  const Marks marks = marks_for(zone.kind, zone.present, pages_min, lowmem_pages_of(zones()));
  zone.mark[static_cast<unsigned>(Mark::min)].set(marks.min);
  zone.mark[static_cast<unsigned>(Mark::low)].set(marks.low);
  zone.mark[static_cast<unsigned>(Mark::high)].set(marks.high);
}

// The three marks of a zone change together: whoever holds the zone's lock sees all old or all new ones (P-WMARK-9).
void PageAllocator::set_min_free_kbytes(std::uint32_t kbytes) {
  if (reject_nmi(0, 0, no_pfn)) return;
  min_free_kbytes_.set(kbytes);
  for (Zone& zone : zones()) {
    Masked masked;
    Held held(zone.lock, masked, "zone.lock", "zone.unlock");
    setup_marks(zone);
  }
}

std::uint64_t PageAllocator::nr_free_pages() const {
  std::uint64_t pages = 0;
  for (const Zone& zone : zones()) pages += zone.nr_free_pages.get();
  return pages;
}

void PageAllocator::report_nmi(gfp_t gfp, unsigned order, Pfn pfn) {
  machine::report(
      {.kind = machine::ReportKind::nmi_entry, .order = static_cast<std::uint8_t>(order), .pfn = pfn, .gfp = gfp});
}

}  // namespace memtorture::page
