// Memory pools: what mempool_create, alloc, free, resize and destroy must come to (domain.md 12.1, P-POOL-1..7).
//
// An element that is out is an object of the ledger, as any of kmalloc or of a cache; one of a page pool is its block.
// What is set aside nobody sees but by its consequences, so it is known as an interval: exactly, while the pool is used
// by one at a time and its backend says yes; one less at least after each element that came while the backend was seen
// to refuse; anything, once two have used it at a time. An audit makes it exact again (pool_audit.cpp).
//
// From that follows when a request may be refused: never if it may wait (P-POOL-2), else only if the backend refused
// and there may be nothing left (P-POOL-3). The backend is asked with NOMEMALLOC, NORETRY and NOWARN, and for the first
// time without WAIT and IO (P-POOL-6): that is judged at each request for pages, by pool_rights().
//
// Rulings. __GFP_NOFAIL means nothing to a pool, which does not pass it on, so failures are injected into it. Who frees
// what is no element is noticed if none is out; otherwise he is believed, so that nothing can be demanded any more. An
// element that is given up behind its pool's back is such a case, too. A destroyed pool is told by its memory, as long
// as nobody else can have it.
//
// Not checked: that a return wakes a waiter at once (P-POOL-7): 5 seconds later everybody looks again, and what is
// missed is only time; tested where pools live.
#include <fmt/core.h>

#include <algorithm>

#include "model/oracle/state.h"

namespace memtorture::oracle {

using subject::PoolKind;

namespace {

constexpr std::uint64_t elements_most = 0x7fff'ffff;  // min_nr is an int

}  // namespace

PoolRecord* Oracle::State::live_pool(std::uint16_t index) {
  const Slot* held = slot(index, Held::pool);
  if (held == nullptr) return nullptr;
  PoolRecord& record = pools[held->object];
  return record.alive ? &record : nullptr;
}

// The backend is a function for objects that cannot have any of that size: it says no to everybody.
bool Oracle::State::never_comes(const PoolRecord& pool) const {
  return pool.kind == PoolKind::kmalloc && pool.bytes > kmalloc_most(shape);
}

// What the backend may have been told, as far as one can see from outside.
bool Oracle::State::backend_refused(const ContextState& state) const {
  return state.object.refused || state.flight.faulted || never_comes(pools[state.object.pool - 1]);
}

// With which rights may a function of pools ask for pages now?
std::uint32_t Oracle::State::pool_rights(const ContextState& state) const {
  const Request& r = state.flight.request;
  if (r.act == Act::pool_create) return subject::GFP_KERNEL;
  if (r.act == Act::pool_resize) return r.gfp;
  const std::uint32_t rights = (r.gfp | pool_adds) & ~subject::gfp_nofail;
  return backend_refused(state) ? rights : rights & ~(subject::gfp_wait | subject::gfp_io);
}

// How many objects of a cache the pools that are made of them set aside: at least, at most.
std::pair<std::uint64_t, std::uint64_t> Oracle::State::set_aside(std::uint32_t cache) const {
  std::pair<std::uint64_t, std::uint64_t> sum{0, 0};
  for (const PoolRecord& pool : pools) {
    if (!pool.alive || pool.cache != cache) continue;
    sum.first += pool.low;
    sum.second += pool.high;
  }
  return sum;
}

bool Oracle::State::has_pool(std::uint32_t cache) const {
  return std::ranges::any_of(pools, [&](const PoolRecord& p) { return p.alive && p.cache == cache; });
}

// The only user of its pool since the call.
bool Oracle::State::steady(const ContextState& state) const {
  return state.object.alone_on_pool && pools[state.object.pool - 1].changes == state.object.pool_changes;
}

// --- calls ----------------------------------------------------------------------------------------------------------

Ruling Oracle::State::call_pool(ContextState& state) {
  Flight& f = state.flight;
  const Request& r = f.request;
  ++own_allocations;
  if (r.act == Act::pool_create) return call_pool_create(state);
  const Slot* held = slot(r.of, Held::pool);
  if (held == nullptr) return Ruling::fine;  // the harness skips it
  if (r.act == Act::pool_free && slot(r.in.slot, Held::object) == nullptr && slot(r.in.slot) == nullptr)
    return Ruling::fine;
  PoolRecord* pool = live_pool(r.of);
  if (pool == nullptr) return dead_pool(state, pools[held->object]);
  if (pool->cache != 0 && !caches[pool->cache - 1].alive)
    return fatal("dead-cache", machine::no_pfn, "a pool is used whose cache was destroyed");
  f.use_reports();
  state.object.pool = static_cast<std::uint32_t>(pool - pools.data()) + 1;
  state.object.alone_on_pool = pool->users == 0;
  state.object.pool_changes = ++pool->changes;
  if (r.act == Act::pool_destroy && pool->users != 0)
    return fatal("dead-pool", machine::no_pfn, "a pool is destroyed while it is in use");
  ++pool->users;
  use_cache(state, pool->cache);
  owe_smears(f, *pool);
  switch (r.act) {
    case Act::pool_alloc: return call_pool_alloc(state, *pool);
    case Act::pool_free: return call_pool_free(state, *pool);
    case Act::pool_resize: return call_pool_resize(state, *pool);
    default: return call_pool_destroy(state, *pool);
  }
}

// It is in use while the operation runs: destroying it meanwhile is a crime.
void Oracle::State::use_cache(ContextState& state, std::uint32_t cache) {
  if (cache == 0) return;
  state.object.cache = cache;
  ++caches[cache - 1].users;
}

Ruling Oracle::State::dead_pool(ContextState& state, const PoolRecord& pool) {
  const Pfn frame = frame_of(pool.handle);
  const bool untouched =
      object_ops == 1 && pool.own == own_allocations - 1 && objects.owner(pool.handle, 1) == ObjectLedger::nobody;
  const std::string what = "a pool is used that was destroyed";
  if (!untouched) return fatal("dead-pool", frame, what);
  state.object.missing = true;
  if (!sleepable_at(state.flight)) state.flight.owe(ReportKind::sleeping, 0, many);
  state.flight.owe(ReportKind::bad_pool, 1, 1);
  return noticed_if_free(state.flight, "dead-pool", frame, what);
}

// Functions that may sleep, whatever they do.
Ruling Oracle::State::pool_management(Flight& f, Ruling ruling, unsigned least) {
  if (sleepable_at(f)) return ruling;
  f.atomic_crime = true;
  f.owe(ReportKind::sleeping, least, many);
  return crime("sleep-in-atomic", machine::no_pfn, "a function that manages pools in atomic context");
}

// Flags that no object of the backend can have are told each time that it is asked.
Ruling Oracle::State::told_flags(Flight& f, const PoolRecord& pool, std::uint32_t gfp, unsigned least) {
  if (pool.kind == PoolKind::pages || never_comes(pool)) return Ruling::fine;
  const bool dma = (gfp & subject::gfp_dma) != 0;
  const bool disagrees = pool.cache != 0 && dma != ((caches[pool.cache - 1].flags & subject::SLAB_CACHE_DMA) != 0);
  if ((gfp & never_for_objects) == 0 && !disagrees) return Ruling::fine;
  f.owe(ReportKind::slab_gfp, least, many);
  return crime("slab-gfp", machine::no_pfn, fmt::format("gfp {:#x} for an element of a pool", gfp));
}

Ruling Oracle::State::told_highmem(Flight& f, const PoolRecord& pool, std::uint32_t gfp, unsigned least) {
  if (pool.kind != PoolKind::pages || (gfp & subject::gfp_highmem) == 0) return Ruling::fine;
  f.owe(ReportKind::highmem_address, least, 1);
  return crime("highmem-address", machine::no_pfn, "__GFP_HIGHMEM to a pool, whose elements have addresses");
}

Ruling Oracle::State::call_pool_create(ContextState& state) {
  Flight& f = state.flight;
  const Request& r = f.request;
  const auto kind = static_cast<PoolKind>(r.byte);
  f.use_reports();
  PoolRecord made{.kind = kind, .order = r.order, .bytes = r.number, .min_nr = r.count};
  bool possible = r.count <= elements_most;
  if (kind == PoolKind::slab) {
    const CacheRecord* cache = live_cache(r.of);
    if (cache == nullptr && slot(r.of, Held::cache) == nullptr) return Ruling::fine;  // the harness skips it
    if (cache == nullptr) return fatal("dead-cache", machine::no_pfn, "a pool is made of a cache that was destroyed");
    made.cache = static_cast<std::uint32_t>(cache - caches.data()) + 1;
    made.bytes = cache->size;
    use_cache(state, made.cache);
    caches[made.cache - 1].pooled = true;
  } else if (kind == PoolKind::kmalloc) {
    possible = possible && r.number != 0;
  } else {
    possible = possible && r.order < ledger.orders();
    made.bytes = shape.page_bytes() << std::min<unsigned>(r.order, machine::orders_max);
  }
  state.object.doomed = !possible;
  pools.push_back(made);
  state.object.pool = static_cast<std::uint32_t>(pools.size());
  Ruling ruling = Ruling::fine;
  if (!possible) {
    f.owe(ReportKind::bad_pool, 1, 1);
    ruling = crime("bad-pool", machine::no_pfn,
                   fmt::format("a pool of {} elements of {} bytes", static_cast<std::int32_t>(r.count), made.bytes));
  } else if (r.count != 0 && told_flags(f, made, subject::GFP_KERNEL, 0) == Ruling::crime) {
    ruling = Ruling::crime;
  }
  return pool_management(f, ruling, possible ? 1 : 0);
}

Ruling Oracle::State::call_pool_alloc(ContextState& state, const PoolRecord& pool) {
  Flight& f = state.flight;
  const std::uint32_t gfp = f.request.gfp;
  Ruling ruling = told_highmem(f, pool, gfp, 1);
  if (told_flags(f, pool, gfp, 1) == Ruling::crime) ruling = Ruling::crime;
  if (may_sleep(gfp) && !sleepable_at(f)) {
    f.atomic_crime = true;
    f.owe(ReportKind::sleeping, 1, many);
    ruling = crime("sleep-in-atomic", machine::no_pfn, "a blocking request to a pool in atomic context");
  }
  return ruling;
}

Ruling Oracle::State::call_pool_free(ContextState& state, PoolRecord& pool) {
  Flight& f = state.flight;
  const Request& r = f.request;
  const Slot* held = slot(r.in.slot, Held::object);
  const std::uint32_t index = held != nullptr && r.in.offset == 0 ? owned(*held) : ObjectLedger::nobody;
  if (index == ObjectLedger::nobody || objects.piece(index).pool != state.object.pool) {
    const std::string what = "what is given to a pool is none of its elements";
    if (pool.out != 0 || !state.object.alone_on_pool) return fatal("wrong-pool-free", machine::no_pfn, what);
    state.object.missing = true;
    f.owe(ReportKind::bad_object, 1, 1);
    const Slot* block = slot(r.in.slot);
    const Pfn frame = held != nullptr ? frame_of(held->address) : block->first + r.in.offset;
    return noticed_if_free(f, "wrong-pool-free", frame, what);
  }
  returns_to_pool(f, objects.piece(index));
  objects.remove(index);
  return Ruling::fine;
}

// What was written beside elements is told whenever their cache gets them: not necessarily now.
void Oracle::State::owe_smears(Flight& f, const PoolRecord& pool) {
  if (pool.smeared != 0) f.owe(ReportKind::object_redzone, 0, std::min(pool.smeared, many));
}

// An element is its pool's again, or its backend's.
void Oracle::State::returns_to_pool(Flight& f, const Piece& piece) {
  PoolRecord& pool = pools[piece.pool - 1];
  --pool.out;
  if (piece.smeared || piece.maybe_smeared) ++pool.smeared;
  owe_smears(f, pool);
  if (piece.cache == 0) return;
  CacheRecord& owner = caches[piece.cache - 1];
  --owner.live;
  if (piece.broken) owner.unreliable = true;  // as it is, it may go to the next
}

// Kept, if too few are set aside.
void Oracle::State::one_came_back(PoolRecord& pool) {
  if (pool.low < pool.min_nr) ++pool.low;
  if (pool.high < pool.min_nr) ++pool.high;
}

Ruling Oracle::State::call_pool_resize(ContextState& state, const PoolRecord& pool) {
  Flight& f = state.flight;
  const Request& r = f.request;
  state.object.doomed = r.count < 1 || r.count > elements_most;
  Ruling ruling = Ruling::fine;
  const bool grows = !state.object.doomed && (r.count > pool.min_nr || !state.object.alone_on_pool || pool.unsure);
  if (state.object.doomed) {
    f.owe(ReportKind::bad_pool, 1, 1);
    ruling = crime("bad-pool", machine::no_pfn, "a pool is to set aside less than one element");
  }
  if (grows) {
    ruling = told_highmem(f, pool, r.gfp, 0);
    const std::uint32_t array_gfp = pool.kind == PoolKind::pages ? r.gfp & ~subject::gfp_highmem : r.gfp;
    const bool array_told = (array_gfp & never_for_objects) != 0;
    if (array_told) f.owe(ReportKind::slab_gfp, 0, many);
    if (array_told) ruling = crime("slab-gfp", machine::no_pfn, fmt::format("gfp {:#x} for an array", array_gfp));
    if (told_flags(f, pool, r.gfp, 0) == Ruling::crime) ruling = Ruling::crime;
  }
  return pool_management(f, ruling, 1);
}

Ruling Oracle::State::call_pool_destroy(ContextState& state, PoolRecord& pool) {
  Flight& f = state.flight;
  Ruling ruling = Ruling::fine;
  state.object.doomed = pool.out != 0;
  if (state.object.doomed) {
    f.owe(ReportKind::pool_busy, 1, 1);
    ruling = crime("busy-pool", machine::no_pfn, fmt::format("a pool is destroyed with {} elements out", pool.out));
  } else {
    pool.alive = false;  // nobody may use it from here
  }
  return pool_management(f, ruling, 1);
}

}  // namespace memtorture::oracle
