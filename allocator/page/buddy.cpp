#include "allocator/page/buddy.h"

#include <algorithm>
#include <bit>

namespace memtorture::page {

using machine::point;
using subject::pg_buddy;

namespace {

inline void add_free(MemMap& map, Zone& zone, Pfn pfn, unsigned order) {
  FreeArea& area = zone.area[order];
  Page& page = map[pfn];
  page.set_private(order);
  page.set_flags(page.flags() | pg_buddy);
  page.next = area.first;
  page.prev = no_pfn;
  if (area.first != no_pfn) map.touched(area.first).prev = pfn;
  area.first = pfn;
  area.nr_free.add(1);
  zone.orders_free |= 1u << order;
}

inline void count_taken(Zone& zone, unsigned order) {
  const std::uint64_t left = zone.area[order].nr_free.get() - 1;
  zone.area[order].nr_free.set(left);
  if (left == 0) zone.orders_free &= ~(1u << order);
}

inline void remove_free(MemMap& map, Zone& zone, Pfn pfn, unsigned order) {
  Page& page = map.touched(pfn);
  (page.prev == no_pfn ? zone.area[order].first : map.touched(page.prev).next) = page.next;
  if (page.next != no_pfn) map.touched(page.next).prev = page.prev;
  page.set_flags(page.flags() & ~std::uint32_t{pg_buddy});
  page.set_private(0);
  count_taken(zone, order);
}

// The top list is empty but nr_free says that there are blocks: they are implicit.
Pfn materialise(Zone& zone) {
  for (Span& run : zone.runs) {
    if (run.pages() == 0) continue;
    const Pfn pfn = run.first;
    run.first += Pfn{1} << zone.order_top();
    count_taken(zone, zone.order_top());
    return pfn;
  }
  return no_pfn;
}

Pfn take_first(MemMap& map, Zone& zone, unsigned order) {
  const Pfn pfn = zone.area[order].first;
  if (pfn == no_pfn) return materialise(zone);
  remove_free(map, zone, pfn, order);
  return pfn;
}

// Lower half kept, upper half freed, until the block has the order asked for.
void expand(MemMap& map, Zone& zone, Pfn pfn, unsigned from, unsigned to) {
  point("page.expand");
  while (from != to) {
    --from;
    add_free(map, zone, pfn + (Pfn{1} << from), from);
  }
}

bool is_free_buddy(MemMap& map, const Zone& zone, Pfn buddy, unsigned order) {
  if (!zone.span.contains(buddy)) return false;  // P-BUDDY-12: never merge across a zone's end
  Page& page = map[buddy];
  return (page.flags() & pg_buddy) != 0 && page.order() == order;
}

}  // namespace

Pfn take_block(MemMap& map, Zone& zone, unsigned order, const machine::Held&) {
  const std::uint32_t fitting = zone.orders_free >> order;
  if (fitting == 0) return no_pfn;
  const unsigned from = order + static_cast<unsigned>(std::countr_zero(fitting));
  const Pfn pfn = take_first(map, zone, from);
  zone.nr_free_pages.sub(std::uint64_t{1} << order);
  if (from != order) expand(map, zone, pfn, from, order);
  return pfn;
}

void give_block(MemMap& map, Zone& zone, Pfn pfn, unsigned order, const machine::Held&) {
  zone.nr_free_pages.add(std::uint64_t{1} << order);
  while (order < zone.order_top()) {
    const Pfn buddy = pfn ^ (Pfn{1} << order);
    if (!is_free_buddy(map, zone, buddy, order)) break;
    point("page.merge");
    remove_free(map, zone, buddy, order);
    pfn &= ~(Pfn{1} << order);
    ++order;
  }
  add_free(map, zone, pfn, order);
}

void give_run(MemMap& map, Zone& zone, Span run) {
  const unsigned top = zone.order_top();
  const std::uint64_t block = std::uint64_t{1} << top;
  const Pfn middle = static_cast<Pfn>(std::min<std::uint64_t>((run.first + block - 1) & ~(block - 1), run.end));
  const Pfn tail = std::max(middle, static_cast<Pfn>(run.end & ~(block - 1)));
  zone.managed += run.pages();
  zone.nr_free_pages.add(run.pages());
  const auto cut = [&](Pfn first, Pfn end) {
    while (first != end) {
      const auto aligned = static_cast<unsigned>(std::countr_zero(first | static_cast<Pfn>(block)));
      const auto fits = static_cast<unsigned>(std::bit_width(end - first)) - 1;
      const unsigned order = std::min(aligned, fits);
      map.open(first);
      add_free(map, zone, first, order);
      first += Pfn{1} << order;
    }
  };
  cut(run.first, middle);
  if (tail > middle) {
    Span* const slot = std::ranges::find_if(zone.runs, [](Span s) { return s.pages() == 0; });
    *slot = {middle, tail};
    zone.area[top].nr_free.add((tail - middle) >> top);
    zone.orders_free |= 1u << top;
  }
  cut(tail, run.end);
}

bool in_runs(const Zone& zone, Pfn pfn) {
  const Pfn aligned = pfn & ~((Pfn{1} << zone.order_top()) - 1);
  return pfn == aligned && std::ranges::any_of(zone.runs, [&](Span run) { return run.contains(pfn); });
}

}  // namespace memtorture::page
