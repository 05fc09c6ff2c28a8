// Chunks and their maps come and go; the work item. The argument is in percpu.h.
//
// The work item is for what a caller cannot or need not do: it gives back chunks without areas, but for one; grows maps
// that an atomic request found full; and keeps pages without areas populated, so that atomic requests find some. It
// makes a new chunk for them only after one failed.
#include "allocator/percpu/percpu.h"

#include <new>
#include <utility>

namespace memtorture::percpu {

using machine::Masked;
using subject::PercpuRole;

namespace {

constexpr gfp_t work_gfp = subject::GFP_KERNEL | subject::gfp_noretry | subject::gfp_nowarn;

}  // namespace

// --- chunks ---------------------------------------------------------------------------------------------------------

Chunk* PercpuAllocator::new_descriptor(std::uint32_t map_words, gfp_t gfp) {
  const Address self = slab_.kmalloc(Chunk::bytes_for(layout_.units), gfp);
  if (self == 0) return nullptr;
  Chunk& chunk = *new (slab_.at(self)) Chunk{.self = self, .map_alloc = map_words};
  std::fill_n(chunk.backed(), layout_.units, std::uint16_t{0});
  chunk.map = slab_.kmalloc_array(map_words, sizeof(std::int32_t), gfp);
  if (chunk.map != 0) return &chunk;
  slab_.kfree(self);
  return nullptr;
}

void PercpuAllocator::free_descriptor(Chunk& chunk) {
  slab_.kfree(chunk.map);
  slab_.kfree(chunk.self);
}

// With the mutex. On no list yet.
Chunk* PercpuAllocator::create_chunk(gfp_t gfp) {
  Chunk* const chunk = new_descriptor(map_default, gfp);
  if (chunk == nullptr) return nullptr;
  if (!backing_.create(*chunk, gfp)) {
    free_descriptor(*chunk);
    return nullptr;
  }
  chunk->free_bytes = chunk->largest = layout_.unit_bytes;
  reinterpret_cast<std::int32_t*>(slab_.at(chunk->map))[0] = static_cast<std::int32_t>(layout_.unit_bytes);
  chunk->map_used = 1;
  return chunk;
}

void PercpuAllocator::add_chunk(Chunk& chunk) {
  Masked masked;
  Held held(lock_, masked, "percpu.lock", "percpu.unlock");
  unpopulated_pages_ += layout_.unit_pages;
  link(chunk, slot_for(chunk), false);
}

void PercpuAllocator::destroy_chunk(Chunk& chunk) {
  backing_.destroy(chunk);
  free_descriptor(chunk);
}

// With the mutex, so that the chunk stays and nobody else extends it; its map may become shorter meanwhile, not longer
// than it can be.
bool PercpuAllocator::extend_map(Chunk& chunk, gfp_t gfp) {
  std::uint32_t words;
  {
    Masked masked;
    Held held(lock_, masked, "percpu.lock", "percpu.unlock");
    chunk.wants_map = false;
    if (chunk.map_alloc - chunk.map_used >= 2) return true;
    words = chunk.map_alloc * 2;
  }
  if (faults_.should_fail("percpu.map", words * sizeof(std::int32_t), gfp, 0)) return false;
  Address map = slab_.kmalloc_array(words, sizeof(std::int32_t), gfp);
  if (map == 0) return false;
  {
    Masked masked;
    Held held(lock_, masked, "percpu.lock", "percpu.unlock");
    std::memcpy(slab_.at(map), slab_.at(chunk.map), chunk.map_used * sizeof(std::int32_t));
    std::swap(chunk.map, map);
    chunk.map_alloc = words;
  }
  slab_.kfree(map);
  return true;
}

// --- the work item --------------------------------------------------------------------------------------------------

void PercpuAllocator::schedule_work() {
  if (work_pending_.exchange(true, std::memory_order_relaxed)) return;
  machine_.wake_daemon({.id = machine::percpu_work,
                        .kind = machine::ContextKind::task,
                        .cpu = 0,
                        .flags = 0,
                        .body = &PercpuAllocator::worker,
                        .arg = this});
}

void PercpuAllocator::worker(void* allocator) {
  PercpuAllocator& self = *static_cast<PercpuAllocator*>(allocator);
  do {
    self.pages_.trace().work_began();
    self.balance();
    self.pages_.trace().work_ended();
  } while (self.machine_.daemon_wait());
}

void PercpuAllocator::balance() {
  machine::point("percpu.balance");
  work_pending_.store(false, std::memory_order_relaxed);  // what is asked for from here on is for the next time
  mutex_.lock();
  release_chunks();
  extend_maps();
  std::uint32_t wanted;
  bool failed;
  {
    Masked masked;
    Held held(lock_, masked, "percpu.lock", "percpu.unlock");
    failed = std::exchange(atomic_failed_, false);
    wanted = failed ? empty_pages_high : empty_pages_high - std::min(empty_pages_high, empty_pages_);
  }
  refill_reserve(wanted);
  if (failed && !has_reserve()) {
    if (Chunk* const chunk = create_chunk(work_gfp)) {
      add_chunk(*chunk);
      refill_reserve(wanted);
      release_chunks();  // while it was made another one may have lost its last area
    }
  }
  mutex_.unlock();
}

// A chunk without areas will do, however small it is: of two one would have to go again.
bool PercpuAllocator::has_reserve() {
  Masked masked;
  Held held(lock_, masked, "percpu.lock", "percpu.unlock");
  return empty_pages_ >= empty_pages_low || slots_[slot_of(layout_.unit_bytes) + 1].first != 0;
}

// All of whose bytes are free, but for one; linked by `next`.
Chunk* PercpuAllocator::unlink_surplus(const Held&) {
  Chunk* doomed = nullptr;
  SlotList& list = slots_[slot_of(layout_.unit_bytes) + 1];
  while (list.first != list.last) {
    Chunk& chunk = chunk_at(list.last);
    unlink(chunk);
    empty_pages_ -= chunk.empty_pages;
    unpopulated_pages_ -= layout_.unit_pages - static_cast<std::uint32_t>(std::popcount(chunk.populated));
    chunk.next = doomed != nullptr ? doomed->self : 0;
    doomed = &chunk;
  }
  return doomed;
}

void PercpuAllocator::release_chunks() {
  Chunk* doomed;
  {
    Masked masked;
    Held held(lock_, masked, "percpu.lock", "percpu.unlock");
    doomed = unlink_surplus(held);
  }
  while (doomed != nullptr) {
    Chunk& chunk = *doomed;
    doomed = chunk.next != 0 ? &chunk_at(chunk.next) : nullptr;
    destroy_chunk(chunk);
  }
}

// One after another, for the lists may change while the lock is not held; who cannot get a map is left as he is.
void PercpuAllocator::extend_maps() {
  for (;;) {
    Chunk* chunk = nullptr;
    {
      Masked masked;
      Held held(lock_, masked, "percpu.lock", "percpu.unlock");
      for_each_chunk([&](Chunk& c) { chunk = chunk == nullptr && c.wants_map ? &c : chunk; });
    }
    if (chunk == nullptr) return;
    (void)extend_map(*chunk, work_gfp);
  }
}

void PercpuAllocator::refill_reserve(std::uint32_t wanted) {
  while (wanted != 0 && populate_one_more()) --wanted;
}

// A page of a chunk that has areas, if there is one; only the mutex's holder adds or takes away chunks.
bool PercpuAllocator::populate_one_more() {
  Chunk* chunk = nullptr;
  {
    Masked masked;
    Held held(lock_, masked, "percpu.lock", "percpu.unlock");
    const std::uint32_t all = (1u << layout_.unit_pages) - 1;
    for_each_chunk([&](Chunk& c) {
      if (chunk == nullptr && c.role != PercpuRole::reserved && c.populated != all && c.free_bytes != 0) chunk = &c;
    });
  }
  if (chunk == nullptr) return false;
  return populate_page(*chunk, static_cast<unsigned>(std::countr_one(chunk->populated)), work_gfp);
}

}  // namespace memtorture::percpu
