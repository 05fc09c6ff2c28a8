// Caches: what kmem_cache_create, destroy, shrink and size must come to (domain.md 10.2, 10.4).
//
// Rulings. Where another operation on objects is under way the name and the emptiness of a cache are what they were or
// what they become: either outcome is accepted. In an interrupt these functions are refused with a report (K26: BUG);
// in process context that may not sleep they are reported and may or may not work. To go on using a cache whose
// destruction was called is a crime that nobody can notice.
#include <fmt/core.h>

#include <algorithm>
#include <bit>

#include "model/oracle/state.h"

namespace memtorture::oracle {

using subject::no_cache;

namespace {

constexpr std::uint32_t rcu_poison = subject::SLAB_DESTROY_BY_RCU | subject::SLAB_POISON;

}  // namespace

CacheRecord* Oracle::State::live_cache(std::uint16_t index) {
  const Slot* held = slot(index, Held::cache);
  if (held == nullptr) return nullptr;
  CacheRecord& record = caches[held->object];
  return record.alive && record.serial == held->serial ? &record : nullptr;
}

bool Oracle::State::cache_may_be_made(const Request& r) const {
  const std::uint64_t most = kmalloc_most(shape);
  const std::string_view name = the_case->slot_names[r.out];
  return !buckets && name.size() <= subject::cache_name_bytes_max && r.number >= word_bytes(shape) &&
         r.number <= most && r.align <= most && (r.align & (r.align - 1)) == 0 &&
         (r.slab_flags & ~subject::slab_flags_known) == 0 && (r.slab_flags & rcu_poison) != rcu_poison &&
         slab_layout(shape, r.number, r.align, flags_in_force(shape, r.number, r.slab_flags)).has_value();
}

Ruling Oracle::State::chain_call(Flight& f, Ruling ruling) {
  if (sleepable_at(f)) return ruling;
  f.atomic_crime = true;
  if (in_interrupt(f)) {
    f.owe(ReportKind::bad_cache, 1, 1);
  } else {
    f.owe(ReportKind::sleeping, f.least[static_cast<unsigned>(ReportKind::bad_cache)] != 0 ? 0 : 1, many);
  }
  return crime("sleep-in-atomic", machine::no_pfn, "a function of the chain of caches in atomic context");
}

Ruling Oracle::State::call_cache_create(ContextState& state) {
  Flight& f = state.flight;
  const Request& r = f.request;
  f.use_reports();
  ++own_allocations;
  Ruling ruling = Ruling::fine;
  if (!cache_may_be_made(r)) {
    ruling = crime("bad-cache", machine::no_pfn,
                   fmt::format("a cache for {} bytes, aligned to {}, flags {:#x}", r.number, r.align, r.slab_flags));
    f.owe(ReportKind::bad_cache, 1, 1);
  }
  state.object.doomed = std::ranges::any_of(caches, [&](const CacheRecord& c) { return c.alive && c.name == r.out; });
  const bool found = ruling == Ruling::fine && state.object.doomed && state.object.alone && sleepable_at(f);
  f.owe(ReportKind::duplicate_cache, found ? 1 : 0, 1);
  return chain_call(f, ruling);
}

// Of a creation that nothing speaks against only a request for memory can have been refused.
bool Oracle::State::may_be_refused(const ContextState& state) const {
  const Flight& f = state.flight;
  return !cache_may_be_made(f.request) || in_interrupt(f) || state.object.doomed || state.object.refused || f.faulted ||
         f.atomic_crime || !undisturbed(state);
}

// SLAB_PANIC: whoever asked so cannot do without the cache.
Ruling Oracle::State::on_cache_panic(ContextState& state) {
  const Flight& f = state.flight;
  const bool asked =
      f.active && f.request.act == Act::cache_create && (f.request.slab_flags & subject::SLAB_PANIC) != 0;
  if (!asked) return broken("cache.create", machine::no_pfn, "a panic that nobody asked for");
  if (!may_be_refused(state)) return broken("cache.create", machine::no_pfn, "a cache was refused without a reason");
  panicked = true;
  return Ruling::fine;
}

Ruling Oracle::State::judge_cache_create(const Event& event, ContextState& state) {
  const Flight& f = state.flight;
  const Request& r = f.request;
  const bool possible = cache_may_be_made(r) && !in_interrupt(f);
  const bool alone = undisturbed(state);
  if (event.value == no_cache) {
    if ((r.slab_flags & subject::SLAB_PANIC) != 0 && !buckets)
      return broken("cache.create", machine::no_pfn, "refused in spite of SLAB_PANIC, and the machine goes on");
    return may_be_refused(state) ? Ruling::fine
                                 : broken("cache.create", machine::no_pfn, "a cache was refused without a reason");
  }
  if (!possible) return broken("cache.create", event.pfn, "a cache was made that cannot be");
  const auto alive_with = [&](auto&& same) {
    return std::ranges::any_of(caches, [&](const CacheRecord& c) { return c.alive && same(c); });
  };
  // One that somebody is at may be on its way out; one that nobody is at was there before this one was linked.
  if (alive_with([&](const CacheRecord& c) { return c.name == r.out && (alone || c.users == 0); }))
    return broken("cache.create", event.pfn, "there is a cache of that name");
  if (alive_with([&](const CacheRecord& c) { return c.handle == event.value; }))
    return broken("cache.create", event.pfn, "the handle is another cache's");
  ++serial;
  const std::uint32_t in_force = flags_in_force(shape, r.number, r.slab_flags);
  caches.push_back({.handle = event.value,
                    .size = r.number,
                    .align = r.align,
                    .flags = r.slab_flags,
                    .serial = serial,
                    .name = r.out,
                    .ctor = r.byte,
                    .checks = checks_in_force(shape, *slab_layout(shape, r.number, r.align, in_force), in_force),
                    .alive = true});
  fill_slot(r.out, {.what = Held::cache,
                    .address = event.value,
                    .object = static_cast<std::uint32_t>(caches.size() - 1),
                    .serial = serial});
  return Ruling::fine;
}

Ruling Oracle::State::call_cache_end(ContextState& state) {
  Flight& f = state.flight;
  f.use_reports();
  const std::uint16_t index = f.request.of;
  CacheRecord* cache = live_cache(index);
  if (cache == nullptr) {
    if (slot(index, Held::cache) == nullptr) return Ruling::fine;  // the harness skips it
    return fatal("dead-cache", machine::no_pfn, "a cache is destroyed again");
  }
  if (f.request.act == Act::cache_shrink) return chain_call(f, Ruling::fine);
  if (cache->users != 0) return fatal("dead-cache", machine::no_pfn, "a cache is destroyed while it is in use");
  state.object.cache = static_cast<std::uint32_t>(cache - caches.data()) + 1;
  ++cache->users;
  Ruling ruling = Ruling::fine;
  const auto [least, most] = set_aside(state.object.cache);  // by pools
  state.object.doomed = cache->live != 0 || least != 0;
  if (!state.object.doomed && most != 0)
    return fatal("busy-cache", machine::no_pfn, "a cache is destroyed whose pool may hold objects");
  if (state.object.doomed) {
    ruling = crime("busy-cache", machine::no_pfn,
                   fmt::format("a cache with {} live objects is destroyed", cache->live + least));
    f.owe(ReportKind::cache_busy, sleepable_at(f) ? 1 : 0, 1);
  } else {
    cache->alive = false;  // nobody may use it from here
  }
  return chain_call(f, ruling);
}

Ruling Oracle::State::judge_cache_end(const Event& event, ContextState& state) {
  const Flight& f = state.flight;
  if (state.object.cache == 0) return Ruling::fine;
  CacheRecord& cache = caches[state.object.cache - 1];
  const auto told = static_cast<std::int64_t>(event.value);
  if (f.request.act == Act::cache_shrink) {
    if (f.atomic_crime || !undisturbed(state)) return Ruling::fine;
    const auto [least, most] = set_aside(state.object.cache);
    const bool known = cache.live != 0 || least != 0 || most == 0;
    if (!known || (told == 0) == (cache.live == 0 && least == 0)) return Ruling::fine;
    return broken("cache.shrink", machine::no_pfn,
                  fmt::format("shrink told {} with {} live objects", told, cache.live + least));
  }
  if (told == 0 && state.object.doomed)
    return broken("cache.destroy", machine::no_pfn, "a cache with live objects went");
  if (told != 0 && !state.object.doomed) {
    if (!f.atomic_crime)
      return broken("cache.destroy", machine::no_pfn, fmt::format("an empty cache stayed: {} was told", told));
    cache.alive = true;  // refused, because the caller may not sleep
  }
  return Ruling::fine;
}

Ruling Oracle::State::judge_cache_size(const Event& event, ContextState& state) {
  if (state.object.cache == 0) return Ruling::fine;
  const std::uint64_t size = caches[state.object.cache - 1].size;
  if (event.value >= size && event.value < size + 8) return Ruling::fine;
  return broken("object.size", machine::no_pfn, fmt::format("kmem_cache_size told {} for {}", event.value, size));
}

}  // namespace memtorture::oracle
