// The white-box view: the page layer's own structures, as they are, for audits. Reads without locks: nothing may run.
#include "allocator/kernel/kernel.h"

namespace memtorture::kernel {

using page::Mark;
using page::Zone;

namespace {

subject::ZoneInfo describe(const Zone& zone) {
  subject::ZoneInfo info{};
  info.node = zone.node;
  info.kind = zone.kind;
  info.start = zone.span.first;
  info.spanned = zone.span.pages();
  info.present = zone.present;
  info.managed = zone.managed;
  info.mark_min = zone.mark[static_cast<unsigned>(Mark::min)].get();
  info.mark_low = zone.mark[static_cast<unsigned>(Mark::low)].get();
  info.mark_high = zone.mark[static_cast<unsigned>(Mark::high)].get();
  for (unsigned kind = 0; kind != machine::zone_kinds; ++kind)
    info.lowmem_reserve[kind] = zone.lowmem_reserve[kind].get();
  info.nr_free_pages = zone.nr_free_pages.get();
  for (unsigned order = 0; order != machine::orders_max; ++order) info.nr_free[order] = zone.area[order].nr_free.get();
  info.pcp_high = zone.pcp[0].high;
  info.pcp_batch = zone.pcp[0].batch;
  return info;
}

}  // namespace

std::span<const subject::ZoneInfo> Kernel::zones() {
  const auto zones = pages_.zones();
  for (std::size_t i = 0; i != zones.size(); ++i) zone_info_[i] = describe(zones[i]);
  return {zone_info_, zones.size()};
}

void Kernel::for_each_free(unsigned zone_index, unsigned order, FreeBlocks f, void* arg) {
  const Zone& zone = pages_.zones()[zone_index];
  for (Pfn pfn = zone.area[order].first; pfn != machine::no_pfn; pfn = pages_.map()[pfn].next) f(arg, pfn, 1);
  if (order != zone.order_top()) return;
  for (const page::Span run : zone.runs) {
    if (run.pages() != 0) f(arg, run.first, run.pages() >> order);
  }
}

std::uint32_t Kernel::pcp_count(unsigned zone, unsigned cpu) {
  return static_cast<std::uint32_t>(pages_.zones()[zone].pcp[cpu].count.get());
}

void Kernel::for_each_pcp(unsigned zone, unsigned cpu, PcpPage f, void* arg) {
  for (Pfn pfn = pages_.zones()[zone].pcp[cpu].list.first; pfn != machine::no_pfn; pfn = pages_.map()[pfn].next)
    f(arg, pfn);
}

subject::PageInfo Kernel::page(Pfn pfn) {
  page::Page& page = pages_.map()[pfn];
  subject::PageInfo info{.count = page.count(),
                         .mapcount = page.mapcount,
                         .flags = page.flags() & ~page::pg_internal,
                         .private_ = page.private_,
                         .mapping = page.mapping != 0};
  if (!pages_.exists(pfn) || (info.flags & subject::pg_reserved) != 0) return info;
  const Zone& zone = pages_.zone_of(pfn);
  if (page::in_runs(zone, pfn)) {  // free by its number alone (page/zone.h)
    info.flags |= subject::pg_buddy;
    info.private_ = zone.order_top();
  }
  return info;
}

}  // namespace memtorture::kernel
