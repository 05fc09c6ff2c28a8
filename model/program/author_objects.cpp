// What the actions on objects and caches write. The books: which objects this program owns, of which of its caches.
//
// An object may be made for another program to give up: that is skipped where the object is not there yet, and the
// harness gives back what stays, so no schedule makes it a crime.
#include <algorithm>
#include <bit>

#include "model/program/author.h"
#include "model/program/random_parts.h"

namespace memtorture::program {
namespace {

using namespace subject;

constexpr std::uint64_t kmalloc_max = std::uint64_t{4} << 20;

}  // namespace

bool Author::has_objects() const { return case_.shape.objects != machine::ObjectLayer::none; }
bool Author::has_caches() const { return case_.shape.objects == machine::ObjectLayer::slab; }

bool Author::perform_on_objects(Action action) {
  if (!has_objects()) return false;
  const bool owns = !objects_.empty();
  switch (action) {
    case Action::object: own_object(some_size(), has_caches() && !caches_.empty() && random_.percent(60)); return true;
    case Action::object_burst:
      if (is_task() && sections_ == 0) object_burst();
      return is_task() && sections_ == 0;
    case Action::object_release:
      if (owns) release_object(random_.percent(50) ? objects_.size() - 1 : some_object());
      return owns;
    case Action::object_use:
      if (owns) use_object();
      return owns;
    case Action::object_move:
      if (owns) move_object();
      return owns;
    case Action::object_hand_over:
      if (owns) hand_over();
      return owns;
    case Action::object_odd: odd_object(); return true;
    case Action::cache:
      if (has_caches() && is_sleepable()) cache();
      return has_caches() && is_sleepable();
    case Action::pool: return has_caches() && perform_on_pools();
    default: return false;
  }
}

// Where classes, words, lines and pages begin and end.
std::uint64_t Author::some_size() {
  const std::uint32_t dice = random_.below(100);
  if (dice < 45) return 1 + random_.below(600);
  if (dice < 80) return (std::uint64_t{1} << (3 + random_.below(11))) + random_.below(3) - 1;
  if (dice < 88) return 192 + random_.below(3) - 1;
  if (dice < 97) return case_.shape.page_bytes() * (1 + random_.below(8)) + random_.below(3) - 1;
  return std::uint64_t{1} << (12 + random_.below(11));
}

gfp_t Author::object_gfp(std::uint64_t bytes, bool dma) {
  static constexpr gfp_t sleeping[] = {GFP_KERNEL, GFP_KERNEL, GFP_KERNEL, GFP_NOFS, GFP_NOIO,
                                       GFP_ATOMIC, GFP_ATOMIC, GFP_NOWAIT, GFP_USER};
  static constexpr gfp_t atomic[] = {GFP_ATOMIC, GFP_ATOMIC, GFP_NOWAIT};
  static constexpr gfp_t hints[] = {gfp_zero,     gfp_nowarn, gfp_nowarn, gfp_noretry,   gfp_noretry,
                                    gfp_thisnode, gfp_cold,   gfp_high,   gfp_nomemalloc};
  gfp_t bits = is_sleepable() ? one_of(sleeping, random_) : one_of(atomic, random_);
  while (random_.percent(25)) bits |= one_of(hints, random_);
  if (dma) bits |= gfp_dma;
  // A small request that may sleep has to succeed; where memory is scarce that is how runs end.
  const bool narrow = dma || (bits & (gfp_fs | gfp_thisnode)) != gfp_fs;
  const std::uint32_t timid = is_crowded() ? 90 : narrow ? 70 : bytes > 4 * case_.shape.page_bytes() ? 50 : 5;
  if ((bits & gfp_wait) != 0 && random_.percent(timid)) bits |= gfp_noretry;
  return bits;
}

Slot Author::object_of(const Cache& cache) {
  const Slot slot = fresh();
  const gfp_t flags = object_gfp(cache.bytes, cache.dma);
  const std::uint32_t dice = random_.below(10);
  // Zeros are not what a constructor made.
  if (cache.constructed && dice < 2) {
    emit(CacheAllocNode{{slot}, {cache.slot}, {flags & ~gfp_zero}, some_node()});
  } else if (cache.constructed) {
    emit(CacheAlloc{{slot}, {cache.slot}, {flags & ~gfp_zero}});
  } else if (dice < 2) {
    emit(CacheZalloc{{slot}, {cache.slot}, {flags}});
  } else if (dice < 4) {
    emit(CacheAllocNode{{slot}, {cache.slot}, {flags}, some_node()});
  } else {
    emit(CacheAlloc{{slot}, {cache.slot}, {flags}});
  }
  return slot;
}

Author::OwnObject Author::kmalloced(std::uint64_t bytes) {
  const Slot slot = fresh();
  const gfp_t flags = object_gfp(bytes, random_.percent(5));
  const std::uint32_t dice = random_.below(10);
  if (dice < 2) {
    emit(Kzalloc{{slot}, {bytes}, {flags}});
  } else if (dice < 4) {
    emit(KmallocNode{{slot}, {bytes}, {flags}, some_node()});
  } else if (dice < 5) {
    const std::uint32_t n = 1 + random_.below(8);
    const std::uint64_t each = std::max<std::uint64_t>(1, bytes / n);
    emit(Kcalloc{{slot}, {n}, {each}, {flags}});
    bytes = n * each;
  } else {
    emit(Kmalloc{{slot}, {bytes}, {flags}});
  }
  return {.slot = slot, .bytes = bytes, .exact = true};
}

Node Author::some_node() {
  return {static_cast<std::int8_t>(static_cast<int>(random_.below(case_.shape.nodes + 1U)) - 1)};
}

void Author::own_object(std::uint64_t bytes, bool of_cache) {
  if (!of_cache) {
    objects_.push_back(kmalloced(bytes));
    return;
  }
  const auto index = random_.below(static_cast<std::uint32_t>(caches_.size()));
  const Cache& cache = caches_[index];
  objects_.push_back({.slot = object_of(cache),
                      .bytes = cache.bytes,
                      .cache = cache.slot,
                      .of_cache = true,
                      .constructed = cache.constructed});
}

void Author::release_object(std::size_t index) {
  const OwnObject object = objects_[index];
  objects_.erase(objects_.begin() + static_cast<std::ptrdiff_t>(index));
  give_back(object);
}

// kfree takes an object of any cache.
void Author::give_back(const OwnObject& object) {
  if (object.of_pool) return emit(PoolFree{{object.slot}, {object.pool}});
  const std::uint32_t dice = random_.below(10);
  if (object.of_cache && dice < 8) return emit(CacheFree{{object.cache}, {object.slot}});
  if (dice == 9 && !object.constructed) return emit(Kzfree{{object.slot}});
  if (dice == 8 && !object.of_cache) return emit(KfreeS{{object.slot}, {object.exact ? object.bytes : 0}});
  emit(Kfree{{object.slot}});
}

void Author::use_object() {
  OwnObject& object = objects_[some_object()];
  object.used = true;
  switch (random_.below(6)) {
    case 0: return emit(CheckContents{{object.slot}});
    case 1:
      if (!object.of_pool) return use_whole_class(object);
      return emit(object.is_pages ? Op(CheckContents{{object.slot}}) : Op(Ksize{{object.slot}}));
    case 2:
      if (object.bytes == 0) return emit(KfreeNull{});
      return emit(Peek{{object.slot}, {static_cast<std::int64_t>(random_.next() % object.bytes)}});
    case 3:
      if (object.bytes < 16 || object.constructed || object.is_pages) return emit(CheckContents{{object.slot}});
      return emit(Link{{object.slot}, {objects_[some_object()].slot}});
    default: return emit(Fill{{object.slot}, {static_cast<std::uint8_t>(random_.next())}});
  }
}

// Who asks how much there is may use all of it.
void Author::use_whole_class(const OwnObject& object) {
  emit(Ksize{{object.slot}});
  const std::uint64_t end = class_end(object.bytes);
  if (!has_caches() || object.of_cache || !object.exact || end == object.bytes) return;
  for (std::uint32_t n = random_.below(3); n != 0; --n) {
    const auto beyond = static_cast<std::uint32_t>(end - object.bytes);
    const std::uint64_t at = random_.percent(50) ? end - 1 : object.bytes + random_.below(beyond);
    const Offset offset{static_cast<std::int64_t>(at)};
    emit(random_.percent(70) ? Op(Poke{{object.slot}, offset, {static_cast<std::uint8_t>(random_.next())}})
                             : Op(Peek{{object.slot}, offset}));
  }
}

void Author::move_object() {
  const std::size_t index = some_object();
  const OwnObject object = objects_[index];
  if (object.of_cache || object.of_pool) return release_object(index);
  const std::uint64_t bytes = random_.percent(5)    ? 0
                              : random_.percent(30) ? object.bytes * 2 + 1
                              : random_.percent(20) ? std::max<std::uint64_t>(1, object.bytes / 2)
                                                    : some_size();
  // Refused, the old name stays good; granted, the new one is: with one name for both the books are right either way.
  emit(Krealloc{{object.slot}, {object.slot}, {bytes}, {object_gfp(bytes, false)}});
  const bool surely = bytes != 0 && bytes <= object.bytes;  // in place, whatever memory there is
  objects_[index].bytes = std::min(bytes, object.bytes);
  objects_[index].exact = object.exact && surely;
  objects_[index].used = true;
}

// What another program has to do to give it up; from here on its cache or pool has to stay.
Op Author::release_by_other(const OwnObject& object) {
  if (object.of_cache) handed_out_.insert(object.cache);
  if (object.of_pool) handed_out_.insert(object.pool);
  return object.of_pool    ? Op(PoolFree{{object.slot}, {object.pool}})
         : object.of_cache ? Op(CacheFree{{object.cache}, {object.slot}})
                           : Op(Kfree{{object.slot}});
}

// A new object, which nobody uses before the other program gives it up: whenever that is, it is no crime.
void Author::hand_over() {
  const auto programs = static_cast<std::uint32_t>(case_.programs.size());
  const std::size_t to = random_.below(programs);
  if (to == program_ || case_.programs[to].kind == machine::ContextKind::nmi) return use_object();
  if (has_pool() && random_.percent(40)) {
    take_element(some_pool(), GFP_NOWAIT);
  } else {
    own_object(some_size(), has_caches() && !caches_.empty() && random_.percent(60));
  }
  const Op release = release_by_other(objects_.back());
  objects_.pop_back();
  auto& ops = case_.programs[to].ops;
  ops.insert(ops.begin() + random_.below(static_cast<std::uint32_t>(ops.size()) + 1), release);
}

void Author::odd_object() {
  switch (random_.below(6)) {
    case 0: return emit(KfreeNull{});
    case 1: return emit(Kmalloc{{fresh()}, {kmalloc_max * 8 + random_.below(2)}, {object_gfp(0, false)}});
    case 2: return emit(Kmalloc{{fresh()}, {~std::uint64_t{0} - random_.below(64)}, {object_gfp(0, false)}});
    case 3:
      return emit(
          Kcalloc{{fresh()}, {0x8000'0000U + random_.below(2)}, {std::uint64_t{1} << 33}, {object_gfp(0, false)}});
    default: {
      const Slot slot = fresh();
      emit(Kmalloc{{slot}, {0}, {object_gfp(0, false)}});
      emit(Ksize{{slot}});
      if (random_.percent(70)) emit(Kfree{{slot}});
    }
  }
}

void Author::cache() {
  const std::uint32_t dice = random_.below(100);
  if (caches_.empty() || dice < 45) return create_cache(some_size());
  const auto index = random_.below(static_cast<std::uint32_t>(caches_.size()));
  const Cache chosen = caches_[index];
  if (dice < 65) return emit(CacheShrink{{chosen.slot}});
  if (dice < 72) return emit(CacheSize{{chosen.slot}});
  // Its name is taken; or it is made now, if it was refused the first time.
  const bool is_mine = !style_.focus || !style_.focus->shared || style_.focus->shared->slot != chosen.slot;
  if (dice < 76 && is_mine) return emit(chosen.creation);
  const auto of_it = [&](const OwnObject& object) { return object.of_cache && object.cache == chosen.slot; };
  if (handed_out_.contains(chosen.slot) || !destroy_pools_of(chosen.slot)) return emit(CacheShrink{{chosen.slot}});
  for (std::size_t i = objects_.size(); i-- != 0;) {
    if (of_it(objects_[i])) release_object(i);
  }
  emit(CacheDestroy{{chosen.slot}});
  caches_.erase(caches_.begin() + index);
}

void Author::create_cache(std::uint64_t bytes) {
  static constexpr slab_flags_t flags[] = {0,
                                           0,
                                           SLAB_HWCACHE_ALIGN,
                                           SLAB_HWCACHE_ALIGN,
                                           SLAB_RECLAIM_ACCOUNT,
                                           SLAB_CACHE_DMA,
                                           SLAB_POISON,
                                           SLAB_RED_ZONE,
                                           SLAB_RED_ZONE | SLAB_POISON | SLAB_STORE_USER,
                                           SLAB_DEBUG_FREE,
                                           SLAB_DESTROY_BY_RCU};
  Cache made{.slot = fresh()};
  // Well inside of what any machine can make slabs of.
  const std::uint64_t page = case_.shape.page_bytes();
  made.bytes = std::clamp<std::uint64_t>(bytes, 8, case_.shape.orders > 3 ? page * 4 : page / 4);
  const slab_flags_t bits = one_of(flags, random_);
  made.dma = (bits & SLAB_CACHE_DMA) != 0;
  const Byte ctor{static_cast<std::uint8_t>(random_.percent(25) ? 1 + random_.below(255) : 0)};
  made.constructed = ctor.value != 0;
  const std::uint64_t align = random_.percent(60) ? 0 : std::uint64_t{1} << random_.below(random_.percent(80) ? 8 : 10);
  made.creation = {{made.slot}, {made.bytes}, {align}, {bits}, ctor};
  emit(made.creation);
  caches_.push_back(made);
}

// More objects than arrays and slabs hold, and their way back in some order.
void Author::object_burst() {
  const bool of_cache = has_caches() && !caches_.empty() && random_.percent(70);
  const std::uint64_t bytes = std::min<std::uint64_t>(some_size(), case_.shape.page_bytes());
  const std::uint32_t count = 8 + random_.below(random_.percent(30) ? 300 : 60);
  const std::size_t before = objects_.size();
  const auto cache = of_cache ? random_.below(static_cast<std::uint32_t>(caches_.size())) : 0;
  for (std::uint32_t i = 0; i != count; ++i) {
    const Slot slot = fresh();
    if (of_cache) {
      const Cache& chosen = caches_[cache];
      const gfp_t flags = (object_gfp(chosen.bytes, chosen.dma) | gfp_noretry) & ~gfp_zero;
      emit(CacheAlloc{{slot}, {chosen.slot}, {flags}});
      objects_.push_back({.slot = slot,
                          .bytes = chosen.bytes,
                          .cache = chosen.slot,
                          .of_cache = true,
                          .constructed = chosen.constructed});
    } else {
      emit(Kmalloc{{slot}, {bytes}, {object_gfp(bytes, false) | gfp_noretry}});
      objects_.push_back({.slot = slot, .bytes = bytes});
    }
  }
  const std::uint32_t kept = random_.percent(60) ? 0 : random_.below(count);
  const std::uint32_t order = random_.below(3);
  while (objects_.size() > before + kept) {
    const auto span = static_cast<std::uint32_t>(objects_.size() - before);
    release_object(order == 0 ? objects_.size() - 1 : order == 1 ? before : before + random_.below(span));
  }
}

}  // namespace memtorture::program
