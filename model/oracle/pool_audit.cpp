// White box: what pools have set aside, against what is known of them (P-POOL-1, P-POOL-4).
//
// take_stock() looks at the pools alone; which buffer or block an element is, and that its backend counts it as in use,
// the comparison of slabs and blocks finds out with the list that it makes (object_audit.cpp). From here on each stock
// is known exactly, until something is seen from outside only.
#include "model/oracle/pool_audit.h"

#include <fmt/core.h>

#include <algorithm>

namespace memtorture::oracle {

Ruling Oracle::State::take_stock(subject::MempoolsView& view, Stock& stock) {
  const auto wrong = [&](const PoolRecord& pool, std::string what) {
    return broken("pool.stock", frame_of(pool.handle), fmt::format("pool {:#x}: {}", pool.handle, what));
  };
  for (PoolRecord& pool : pools) {
    if (!pool.alive) continue;
    const subject::PoolInfo is = view.pool_info(pool.handle);
    const std::size_t before = stock.elements.size();
    const auto number = static_cast<std::uint32_t>(&pool - pools.data()) + 1;
    struct Visit {
      std::vector<Stock::Element>& into;
      std::uint32_t pool;
    } visit{stock.elements, number};
    view.for_each_element(
        pool.handle,
        [](void* arg, std::uint64_t element) {
          auto& v = *static_cast<Visit*>(arg);
          v.into.push_back({element, v.pool});
        },
        &visit);
    const std::size_t held = stock.elements.size() - before;
    if (!pool.unsure && is.min_nr != pool.min_nr)
      return wrong(pool, fmt::format("min_nr {}, not {}", is.min_nr, pool.min_nr));
    if (is.curr_nr > is.min_nr || is.min_nr > is.capacity || held != is.curr_nr)
      return wrong(pool, fmt::format("{} elements, counted as {}, of {}, in an array of {}", held, is.curr_nr,
                                     is.min_nr, is.capacity));
    if (is.curr_nr < pool.low || is.curr_nr > pool.high)
      return wrong(pool, fmt::format("{} elements are set aside, not {} to {}", is.curr_nr, pool.low, pool.high));
    if (is.out != pool.out) return wrong(pool, fmt::format("{} elements are out, not {}", is.out, pool.out));
    if (is.waiters != 0) return wrong(pool, fmt::format("{} wait for an element, and nobody asks", is.waiters));
    for (std::size_t i = before; i != stock.elements.size(); ++i) {
      const std::uint64_t address = stock.elements[i].address;
      const bool in_memory =
          frame_of(address) != machine::no_pfn && frame_of(address + pool.bytes - 1) != machine::no_pfn;
      if (!in_memory || objects.owner(address, pool.bytes) != ObjectLedger::nobody)
        return wrong(pool, fmt::format("{:#x} is set aside, and no memory, or somebody's", address));
      if (pool.kind == subject::PoolKind::kmalloc) ++stock.kmalloced;
      if (pool.kind != subject::PoolKind::pages) continue;
      const Ledger::Found found = ledger.find(frame_of(address));
      if (found.entry.holds() != Holds::live || !ledger.object(found.entry.payload()).layer ||
          found.head != frame_of(address) || found.order != pool.order)
        return wrong(pool, fmt::format("{:#x} is set aside, in a frame that is {}", address, whose(frame_of(address))));
      stock.elements[i].seen = true;
      ++stock.blocks;
    }
    stock.kmalloced += is.capacity != 0 ? 2 : 1;  // the pool itself, and its array
    pool.low = pool.high = is.curr_nr;
    pool.min_nr = is.min_nr;
    pool.unsure = false;
  }
  std::ranges::sort(stock.elements, {}, &Stock::Element::address);
  const auto twice = std::ranges::adjacent_find(stock.elements, {}, &Stock::Element::address);
  if (twice == stock.elements.end()) return Ruling::fine;
  return wrong(pools[twice->pool - 1], fmt::format("{:#x} is set aside twice", twice->address));
}

}  // namespace memtorture::oracle
