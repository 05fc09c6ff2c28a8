// Misuse of objects, caches and pools.
#include "model/program/crimes.h"
#include "model/program/op_table.h"
#include "model/program/random_parts.h"

namespace memtorture::program {
namespace {

using namespace subject;

constexpr std::uint64_t sizes[] = {8, 32, 33, 96, 192, 500, 1024, 3000, 5000};

std::uint64_t some_bytes(Author& a) { return one_of(sizes, a.random()); }
Slot object(Author& a, std::uint64_t bytes) {
  const Slot slot = a.fresh();
  a.emit(Kmalloc{{slot}, {bytes}, {GFP_ATOMIC}});
  return slot;
}
Slot object(Author& a) { return object(a, some_bytes(a)); }
Slot cache(Author& a, std::uint64_t bytes, slab_flags_t flags = 0, std::uint8_t ctor = 0) {
  const Slot slot = a.fresh();
  a.emit(CacheCreate{{slot}, {bytes}, {0}, {flags}, {ctor}});
  return slot;
}
Slot object_of(Author& a, Slot cache) {
  const Slot slot = a.fresh();
  a.emit(CacheAlloc{{slot}, {cache}, {GFP_ATOMIC}});
  return slot;
}
void maybe_between(Author& a, std::uint64_t bytes) {  // somebody may have got the place
  if (a.random().percent(40)) object(a, bytes);
}
Byte some_byte(Author& a) { return {static_cast<std::uint8_t>(a.random().next())}; }

void double_free(Author& a) {
  const std::uint64_t bytes = some_bytes(a);
  const Slot slot = object(a, bytes), other = object(a, bytes);
  a.emit(Kfree{{slot}});
  if (a.random().percent(50)) a.emit(Kfree{{other}});  // not on top of the free list any more
  maybe_between(a, bytes);
  a.emit(a.random().percent(70) ? Op(Kfree{{slot}}) : Op(Kzfree{{slot}}));
}
void double_free_to_cache(Author& a) {
  const Slot c = cache(a, some_bytes(a)), o = object_of(a, c);
  a.emit(CacheFree{{c}, {o}});
  a.emit(a.random().percent(50) ? Op(CacheFree{{c}, {o}}) : Op(Kfree{{o}}));
}
void interior_free(Author& a) {
  const auto at = static_cast<std::uint16_t>(one_of(std::array{1, 4, 8, 16, 24}, a.random()));
  a.emit(Kfree{{object(a, 100), at}});
}
void free_of_pages(Author& a) { a.emit(Kfree{{a.granted(0, GFP_ATOMIC)}}); }
void free_of_returned_pages(Author& a) {
  const Slot slot = a.granted(0, GFP_ATOMIC);
  a.emit(FreePageOf{{slot}});
  a.emit(Kfree{{slot}});
}
void wrong_size(Author& a) {
  const std::uint64_t bytes = some_bytes(a);
  const Slot slot = object(a, bytes);
  a.emit(KfreeS{{slot}, {bytes + 1}});
  if (a.random().percent(50)) a.emit(Kfree{{slot}});
}
void free_of_nothing(Author& a) {
  const Slot slot = a.fresh();
  a.emit(Kmalloc{{slot}, {0}, {GFP_ATOMIC}});
  a.emit(Kfree{{slot, 1}});
}
void pages_of_object(Author& a) { a.emit(FreePages{{object(a)}, {0}}); }
void wrong_cache(Author& a) {
  const Slot right = cache(a, 64), wrong = cache(a, a.random().percent(50) ? 64 : 512);
  a.emit(CacheFree{{wrong}, {a.random().percent(70) ? object_of(a, right) : object(a)}});
}
void use_freed(Author& a) {
  const std::uint64_t bytes = some_bytes(a);
  const Slot slot = object(a, bytes);
  a.emit(Kfree{{slot}});
  maybe_between(a, bytes);
  const Offset at{static_cast<std::int64_t>(a.random().next() % bytes)};
  a.emit(a.random().percent(50) ? Op(Poke{{slot}, at, some_byte(a)}) : Op(Peek{{slot}, at}));
  for (unsigned i = 0; i != 3; ++i) object(a, bytes);
}
void end_of_freed(Author& a, Slot slot, std::uint64_t bytes) {
  switch (a.random().below(5)) {
    case 0: return a.emit(Ksize{{slot}});
    case 1: return a.emit(Kzfree{{slot}});
    case 2: return a.emit(Krealloc{{slot}, {slot}, {bytes}, {GFP_ATOMIC}});  // would stay where it is
    case 3: return a.emit(Krealloc{{slot}, {slot}, {0}, {GFP_ATOMIC}});
    default: return a.emit(Krealloc{{slot}, {slot}, {some_bytes(a)}, {GFP_ATOMIC}});
  }
}
void resize_freed(Author& a) {
  const std::uint64_t bytes = some_bytes(a);
  const Slot slot = object(a, bytes);
  a.emit(Kfree{{slot}});
  maybe_between(a, bytes);
  end_of_freed(a, slot, bytes);
}
void resize_freed_of_cache(Author& a) {
  const std::uint64_t bytes = some_bytes(a);
  const Slot c = cache(a, bytes), slot = object_of(a, c);
  a.emit(CacheFree{{c}, {slot}});
  if (a.random().percent(30)) a.emit(CacheShrink{{c}});
  end_of_freed(a, slot, bytes);
}
// One byte, a word, a line; on either side; into the padding up to the class, or beyond it.
void write_outside(Author& a) {
  const std::uint64_t bytes = some_bytes(a);
  const Slot slot = a.random().percent(60) ? object(a, bytes) : object_of(a, cache(a, bytes));
  static constexpr std::int64_t distances[] = {0, 1, 7, 63};
  const std::int64_t by = one_of(distances, a.random());
  const auto last = static_cast<std::int64_t>(class_end(bytes));
  const Offset at{a.random().percent(25)   ? last - by
                  : a.random().percent(60) ? static_cast<std::int64_t>(bytes) + by
                                           : -1 - by};
  a.emit(a.random().percent(70) ? Op(Poke{{slot}, at, some_byte(a)}) : Op(Peek{{slot}, at}));
  if (a.random().percent(60)) a.emit(Kfree{{slot}});
}
void leave_unconstructed(Author& a) {
  const Slot c = cache(a, 128, 0, 0x33), o = object_of(a, c);
  a.emit(Poke{{o}, {5}, {0x44}});
  a.emit(CacheFree{{c}, {o}});
  object_of(a, c);
}
void lose(Author& a) {
  const Slot slot = object(a);
  if (a.random().percent(40)) a.emit(Link{{object(a, 64)}, {slot}});
  a.emit(Forget{{slot}});
}
void destroy_busy(Author& a) {
  const Slot c = cache(a, some_bytes(a)), o = object_of(a, c);
  a.emit(CacheDestroy{{c}});
  if (a.random().percent(70)) a.emit(CacheFree{{c}, {o}});
}
void use_destroyed(Author& a) {
  const Slot c = cache(a, some_bytes(a));
  a.emit(CacheDestroy{{c}});
  static constexpr std::size_t uses[] = {op_index<CacheAlloc>(), op_index<CacheShrink>(), op_index<CacheDestroy>(),
                                         op_index<CacheSize>()};
  Op op = default_op(one_of(uses, a.random()));
  field_of<Of>(op)->slot = c;
  if (Out* out = field_of<Out>(op)) out->slot = a.fresh();
  a.emit(op);
}
void same_name(Author& a) {
  const Slot c = cache(a, 64);
  if (a.random().percent(60)) cache(a, some_bytes(a));  // not the newest on the chain any more
  a.emit(CacheCreate{{c}, {64}, {0}, {0}, {0}});
}
void impossible_cache(Author& a) {
  switch (a.random().below(4)) {
    case 0: return a.emit(CacheCreate{{a.fresh()}, {a.random().below(4)}, {0}, {0}, {0}});
    case 1: return a.emit(CacheCreate{{a.fresh()}, {std::uint64_t{1} << 40}, {0}, {0}, {0}});
    case 2: return a.emit(CacheCreate{{a.fresh()}, {64}, {3 + 2 * a.random().below(9)}, {0}, {0}});
    default: return a.emit(CacheCreate{{a.fresh()}, {64}, {0}, {2}, {0}});
  }
}
Slot pool(Author& a, std::uint32_t min_nr = 2) {
  const Slot slot = a.fresh();
  a.emit(PoolCreateKmalloc{{slot}, {min_nr}, {some_bytes(a)}});
  return slot;
}
Slot element_of(Author& a, Slot pool) {
  const Slot slot = a.fresh();
  a.emit(PoolAlloc{{slot}, {pool}, {GFP_ATOMIC}});
  return slot;
}
void destroy_busy_pool(Author& a) {
  const Slot p = pool(a), e = element_of(a, p);
  a.emit(PoolDestroy{{p}});
  if (a.random().percent(70)) a.emit(PoolFree{{e}, {p}});
}
void use_destroyed_pool(Author& a) {
  const Slot p = pool(a);
  a.emit(PoolDestroy{{p}});
  switch (a.random().below(3)) {
    case 0: return a.emit(PoolAlloc{{a.fresh()}, {p}, {GFP_ATOMIC}});
    case 1: return a.emit(PoolResize{{p}, {3}, {GFP_KERNEL}});
    default: return a.emit(PoolDestroy{{p}});
  }
}
void wrong_pool(Author& a) {
  const Slot right = pool(a), wrong = pool(a);
  const Slot e = element_of(a, right);
  if (a.random().percent(20)) element_of(a, wrong);
  switch (a.random().below(4)) {
    case 0: return a.emit(PoolFree{{object(a)}, {wrong}});
    case 1: return a.emit(Kfree{{e}});
    case 2: a.emit(PoolFree{{e}, {right}}); return a.emit(PoolFree{{e}, {right}});
    default: return a.emit(PoolFree{{e}, {wrong}});
  }
}
void impossible_pool(Author& a) {
  switch (a.random().below(4)) {
    case 0: return a.emit(PoolCreateKmalloc{{a.fresh()}, {1}, {0}});
    case 1: return a.emit(PoolCreateKmalloc{{a.fresh()}, {0x8000'0000U + a.random().below(9)}, {64}});
    case 2: return a.emit(PoolCreatePages{{a.fresh()}, {1}, {static_cast<std::uint8_t>(a.the_case().shape.orders)}});
    default: return a.emit(PoolResize{{pool(a)}, {0}, {GFP_KERNEL}});
  }
}
void pool_locked(Author& a) {
  const Slot p = pool(a);
  a.emit(PreemptDisable{});
  switch (a.random().below(4)) {
    case 0: a.emit(PoolAlloc{{a.fresh()}, {p}, {GFP_KERNEL}}); break;
    case 1: a.emit(PoolResize{{p}, {3}, {GFP_ATOMIC}}); break;
    case 2: a.emit(PoolDestroy{{p}}); break;
    default: pool(a);
  }
  a.emit(PreemptEnable{});
}
void odd_flags_to_pool(Author& a) {
  const Slot p = a.fresh();
  if (a.random().percent(50)) {
    a.emit(PoolCreatePages{{p}, {1}, {0}});
  } else {
    a.emit(PoolCreateKmalloc{{p}, {1}, {100}});
  }
  a.emit(PoolAlloc{{a.fresh()}, {p}, {GFP_ATOMIC | gfp_highmem}});
}
void wrong_zone(Author& a) {
  static constexpr gfp_t zones[] = {gfp_highmem, gfp_dma32};
  a.emit(Kmalloc{{a.fresh()}, {some_bytes(a)}, {GFP_ATOMIC | one_of(zones, a.random())}});
}
void wrong_dma(Author& a) {
  const bool dma = a.random().percent(50);
  a.emit(CacheAlloc{{a.fresh()}, {cache(a, 64, dma ? SLAB_CACHE_DMA : 0)}, {dma ? GFP_ATOMIC : GFP_ATOMIC | gfp_dma}});
}
void sleep_locked(Author& a) {
  a.emit(SpinLockOp{{0}});
  a.emit(Kmalloc{{a.fresh()}, {some_bytes(a)}, {GFP_KERNEL}});
  a.emit(SpinUnlockOp{{0}});
}
void create_locked(Author& a) {
  a.emit(PreemptDisable{});
  cache(a, 64);
  a.emit(PreemptEnable{});
}
void sleep_in_handler(Author& a) { a.emit(Kmalloc{{a.fresh()}, {some_bytes(a)}, {GFP_KERNEL}}); }
void create_in_handler(Author& a) { cache(a, 64); }

using Crime = void (*)(Author&);
constexpr Crime anywhere[] = {double_free,     interior_free,   free_of_pages, free_of_returned_pages,
                              free_of_nothing, pages_of_object, use_freed,     resize_freed,
                              write_outside,   write_outside,   lose,          wrong_zone,
                              wrong_size};
constexpr Crime in_tasks[] = {double_free_to_cache,
                              wrong_cache,
                              leave_unconstructed,
                              resize_freed_of_cache,
                              destroy_busy,
                              use_destroyed,
                              same_name,
                              impossible_cache,
                              wrong_dma,
                              sleep_locked,
                              create_locked,
                              destroy_busy_pool,
                              use_destroyed_pool,
                              wrong_pool,
                              impossible_pool,
                              pool_locked,
                              odd_flags_to_pool};

}  // namespace

void commit_object_crime(Author& a) {
  const bool task = a.program().kind == machine::ContextKind::task;
  const bool caches = a.the_case().shape.objects == machine::ObjectLayer::slab;
  if (a.program().kind == machine::ContextKind::nmi) {
    object(a);
  } else if (task && caches && a.random().percent(45)) {
    one_of(in_tasks, a.random())(a);
  } else if (!task && a.random().percent(30)) {
    (caches && a.random().percent(40) ? create_in_handler : sleep_in_handler)(a);
  } else {
    one_of(anywhere, a.random())(a);
  }
}

}  // namespace memtorture::program
