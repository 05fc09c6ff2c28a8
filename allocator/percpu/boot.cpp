// The first chunk: the static variables of the kernel, the area for modules, and what is left for everybody.
//
//   unit of every CPU:   | static (image) | reserved | dynamic ... |      all of it populated, for ever
//   reserved chunk:      | used           | free     |
//   first chunk:         | used                      | free        |
//
// Two descriptors for one block of pages, so that a module never competes with the rest. It asks with GFP_NOWAIT, and
// without injected failures: there is no caller yet who could be told.
#include <algorithm>

#include "allocator/percpu/percpu.h"

namespace memtorture::percpu {

using subject::PercpuRole;

namespace {

constexpr gfp_t boot_gfp = subject::GFP_NOWAIT | subject::gfp_nowarn;
constexpr std::uint32_t static_align = 8;

}  // namespace

void PercpuAllocator::reset() {
  up_ = false;
  layout_ = {};
  backing_.reset(layout_);
  first_base_ = 0;
  reserved_ = 0;
  mutex_.reset();
  lock_.reset();
  std::ranges::fill(slots_, SlotList{});
  empty_pages_ = unpopulated_pages_ = failures_told_ = 0;
  atomic_failed_ = false;
  work_pending_.store(false, std::memory_order_relaxed);
}

bool PercpuAllocator::boot(std::span<const std::byte> image) {
  const auto image_bytes = static_cast<std::uint32_t>(image.size());
  layout_ = layout_of(machine_.shape(), (image_bytes + static_align - 1) & ~(static_align - 1));
  backing_.reset(layout_);
  if (layout_.unit_bytes <= layout_.static_bytes + layout_.reserved_bytes || !make_first_chunk(image)) {
    reset();
    return false;
  }
  return up_ = true;
}

bool PercpuAllocator::make_first_chunk(std::span<const std::byte> image) {
  Chunk* const first = create_chunk(boot_gfp);
  if (first == nullptr) return false;
  Chunk* const reserved = new_descriptor(map_default, boot_gfp);
  if (reserved == nullptr) {
    destroy_chunk(*first);
    return false;
  }
  const auto cut = [&](Chunk& chunk, PercpuRole role, std::uint32_t used, std::uint32_t free) {
    auto* const areas = reinterpret_cast<std::int32_t*>(slab_.at(chunk.map));
    areas[0] = -static_cast<std::int32_t>(used);
    areas[1] = static_cast<std::int32_t>(free);
    chunk.map_used = 2;
    chunk.role = role;
    chunk.free_bytes = chunk.largest = free;
    chunk.populated = (1u << layout_.unit_pages) - 1;
    std::fill_n(chunk.backed(), layout_.units, static_cast<std::uint16_t>(chunk.populated));
  };
  const std::uint32_t kept = layout_.static_bytes + layout_.reserved_bytes;
  cut(*first, PercpuRole::first, kept, layout_.unit_bytes - kept);
  cut(*reserved, PercpuRole::reserved, layout_.static_bytes, layout_.reserved_bytes);
  reserved->first = first->first;
  reserved->order = first->order;
  reserved_ = reserved->self;
  first_base_ = base_of(*first);
  init_copies(image);

  machine::Masked masked;
  Held held(lock_, masked, "percpu.lock", "percpu.unlock");
  link(*first, slot_for(*first), false);
  recount_empty(*first, held);
  return true;
}

void PercpuAllocator::init_copies(std::span<const std::byte> image) {
  for (unsigned cpu = 0; cpu != layout_.units; ++cpu) std::ranges::copy(image, at(per_cpu_ptr(static_cookie, cpu)));
}

}  // namespace memtorture::percpu
