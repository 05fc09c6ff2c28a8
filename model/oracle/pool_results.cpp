// What operations on memory pools came to, and who may go on waiting (domain.md 12.1). The argument is in pools.cpp.
#include <fmt/core.h>

#include <algorithm>

#include "model/oracle/state.h"

namespace memtorture::oracle {

using subject::PoolKind;

Ruling Oracle::State::judge_pool(const Event& event, ContextState& state) {
  const Act act = state.flight.request.act;
  if (state.object.missing) {
    const bool nothing = act == Act::pool_alloc ? event.value == 0
                         : act == Act::pool_resize || act == Act::pool_destroy
                             ? static_cast<std::int64_t>(event.value) == -subject::einval
                             : true;
    if (state.object.pool != 0) --pools[state.object.pool - 1].users;
    return nothing ? Ruling::fine : broken("pool.destroy", event.pfn, "a pool that was destroyed works");
  }
  if (state.object.pool == 0) return Ruling::fine;
  if (act == Act::pool_create) return judge_pool_create(event, state);
  PoolRecord& pool = pools[state.object.pool - 1];
  const bool exact = steady(state);
  --pool.users;
  ++own_allocations;
  pool.own = own_allocations;
  Ruling ruling = Ruling::fine;
  switch (act) {
    case Act::pool_alloc: ruling = judge_pool_alloc(event, state, exact); break;
    case Act::pool_free: one_came_back(pool); break;
    case Act::pool_resize: ruling = judge_pool_resize(event, state, exact); break;
    default: return judge_pool_destroy(event, state);
  }
  if (!exact || pool.unsure) {
    pool.low = 0;
    pool.high = pool.unsure ? ~std::uint32_t{0} : pool.min_nr;
  }
  return ruling;
}

Ruling Oracle::State::judge_pool_create(const Event& event, ContextState& state) {
  const Flight& f = state.flight;
  PoolRecord& pool = pools[state.object.pool - 1];
  const bool huge = std::uint64_t{pool.min_nr} * sizeof(std::uint64_t) > kmalloc_most(shape);
  ++own_allocations;
  if (event.value == subject::no_pool) {
    const bool none_comes = never_comes(pool) && pool.min_nr != 0;
    if (state.object.doomed || state.object.refused || f.faulted || f.atomic_crime || none_comes || huge)
      return Ruling::fine;
    return broken("pool.create", machine::no_pfn, "a pool was refused without a reason");
  }
  if (state.object.doomed) return broken("pool.create", event.pfn, "a pool was made that cannot be");
  const bool in_memory = frame_of(event.value) != machine::no_pfn;
  if (in_memory && objects.owner(event.value, 1) != ObjectLedger::nobody)
    return broken("object.overlap", frame_of(event.value), "a pool lies in an object that is live");
  if (std::ranges::any_of(pools, [&](const PoolRecord& p) { return p.alive && p.handle == event.value; }))
    return broken("pool.create", frame_of(event.value), "the handle is another pool's");
  pool.alive = true;
  pool.handle = event.value;
  pool.low = pool.high = pool.min_nr;
  fill_slot(f.request.out,
            {.what = Held::pool, .address = event.value, .object = state.object.pool - 1, .serial = ++serial});
  return Ruling::fine;
}

Ruling Oracle::State::judge_pool_alloc(const Event& event, ContextState& state, bool exact) {
  const Flight& f = state.flight;
  PoolRecord& pool = pools[state.object.pool - 1];
  const bool refused = backend_refused(state);
  if (event.value == 0) {
    if (may_sleep(f.request.gfp) && !f.atomic_crime)
      return broken("pool.fail", machine::no_pfn, "a request that may wait was refused");
    if (!refused) return broken("pool.fail", machine::no_pfn, "an element was refused, though the backend was not");
    if (exact && pool.low != 0)
      return broken("pool.fail", machine::no_pfn, fmt::format("refused, with {} elements set aside", pool.low));
    pool.high = 0;
    return Ruling::fine;
  }
  if (refused && pool.low != 0) --pool.low;
  ++pool.out;
  if (pool.kind != PoolKind::pages) return grant_object(event, state, pool.cache, pool.bytes, state.object.pool);
  if (const Ruling ruling = judge_place(event.value, pool.bytes, pool.bytes, false); ruling != Ruling::fine)
    return ruling;
  const Object& block = ledger.object(ledger.find(event.pfn).entry.payload());
  if (block.order != pool.order)
    return broken("object.place", event.pfn,
                  fmt::format("an element of order {} in a block of order {}", pool.order, block.order));
  const std::uint32_t index = objects.add({.address = event.value,
                                           .bytes = pool.bytes,
                                           .usable = pool.bytes,
                                           .serial = ++serial,
                                           .block = block.serial,
                                           .open = pool.bytes,
                                           .pool = state.object.pool,
                                           .is_block = true});
  fill_slot(f.request.out, {.what = Held::object, .address = event.value, .object = index, .serial = serial});
  return Ruling::fine;
}

Ruling Oracle::State::judge_pool_resize(const Event& event, ContextState& state, bool exact) {
  const Flight& f = state.flight;
  PoolRecord& pool = pools[state.object.pool - 1];
  const auto told = static_cast<std::int64_t>(event.value);
  const std::uint32_t wanted = f.request.count;
  const auto wrong = [&](std::string_view why) {
    return broken("pool.resize", machine::no_pfn,
                  fmt::format("resize from {} to {} told {}: {}", pool.min_nr, wanted, told, why));
  };
  if (state.object.doomed) return told == -subject::einval ? Ruling::fine : wrong("it cannot be");
  const bool grows = wanted > pool.min_nr;
  if (told == -subject::enomem) {  // nothing has changed
    const bool huge = std::uint64_t{wanted} * sizeof(std::uint64_t) > kmalloc_most(shape);
    const bool reason = state.object.refused || f.faulted || f.atomic_crime || huge;
    return reason && (grows || !exact || pool.unsure) ? Ruling::fine : wrong("no memory was refused");
  }
  if (told != 0) return wrong("no such answer");
  const bool filled = grows && !pool.unsure && !backend_refused(state) && !f.atomic_crime;
  pool.low = filled ? wanted : std::min(pool.low, wanted);
  pool.high = grows ? wanted : std::min(pool.high, wanted);
  pool.min_nr = wanted;
  pool.unsure = !exact;  // of two at a time nobody knows which was the last
  return Ruling::fine;
}

Ruling Oracle::State::judge_pool_destroy(const Event& event, ContextState& state) {
  PoolRecord& pool = pools[state.object.pool - 1];
  const auto told = static_cast<std::int64_t>(event.value);
  if (told == (state.object.doomed ? -subject::ebusy : 0)) {
    if (!state.object.doomed) pool.low = pool.high = 0;
    return Ruling::fine;
  }
  return broken("pool.destroy", machine::no_pfn,
                fmt::format("destroying a pool with {} elements out told {}", pool.out, told));
}

// --- waiting and the end --------------------------------------------------------------------------------------------

// A waiter has a right to what is set aside, and to memory that its backend would be given (P-POOL-2, P-POOL-7).
bool Oracle::State::pool_may_wait_forever(const ContextState& state, const Flight& f) const {
  if (state.object.pool == 0 || !may_sleep(f.request.gfp)) return false;
  const PoolRecord& pool = pools[state.object.pool - 1];
  if (f.atomic_crime) return true;
  if (pool.low != 0 && pool.users == 1) return false;
  return f.faulted || state.object.page_faulted || never_comes(pool) || !backend_would_give(f, pool);
}

// Is there so much memory that a request of the backend for pages passes at once, and one for a descriptor, too?
bool Oracle::State::backend_would_give(const Flight& f, const PoolRecord& pool) const {
  const CacheRecord* cache = pool.cache != 0 ? &caches[pool.cache - 1] : nullptr;
  Flight probe = f;
  probe.gfp = (f.request.gfp | pool_adds) & ~(subject::gfp_nofail | subject::gfp_highmem);
  if (cache != nullptr && (cache->flags & subject::SLAB_CACHE_DMA) != 0) probe.gfp |= subject::gfp_dma;
  const auto high = geometry.highest_kind(probe.gfp);
  if (!high || (probe.gfp & subject::gfp_thisnode) != 0) return false;
  probe.high = static_cast<std::uint8_t>(*high);
  probe.node = 0;
  probe.order = pool.order;
  if (pool.kind != PoolKind::pages) {
    const std::uint64_t bytes = cache != nullptr ? pool.bytes : kmalloc_class(pool.bytes);
    const std::uint32_t flags = cache != nullptr ? cache->flags : std::uint32_t{subject::SLAB_HWCACHE_ALIGN};
    const auto layout =
        slab_layout(shape, bytes, cache != nullptr ? cache->align : 0, flags_in_force(shape, bytes, flags));
    if (!layout) return false;
    probe.order = static_cast<std::uint8_t>(layout->order + 1);
  }
  const ZoneSet zones = reach(probe, 1).least;
  for (unsigned z = 0; z != geometry.count(); ++z) {
    if ((zones & zone_bit(z)) != 0 && passes(probe, z, geometry.zone(z).mark_high, 0)) return true;
  }
  return false;
}

bool Oracle::is_pool(std::uint64_t handle) const {
  return std::ranges::any_of(state_->pools, [&](const PoolRecord& p) { return p.alive && p.handle == handle; });
}

bool Oracle::is_idle_pool(std::uint64_t handle) const {
  return std::ranges::any_of(state_->pools,
                             [&](const PoolRecord& p) { return p.alive && p.handle == handle && p.out == 0; });
}

}  // namespace memtorture::oracle
