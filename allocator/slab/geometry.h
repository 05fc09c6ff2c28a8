// How objects of one size are laid out in slabs (domain.md 10.4): a function of the request and the machine, no state.
//
//   on-slab    | colour | struct slab, bufctl[num], padding | buffer 0 | buffer 1 | ... | rest |
//   off-slab   | colour | buffer 0 | buffer 1 | ... | rest |          descriptor and bufctl in a general cache
//
//   buffer     | red zone 8 | object | padding | red zone 8 | last user | guard |      the debug parts as the flags ask
//
// The guard is KASAN's red zone: bytes whose shadow forbids them. Behind an object the next buffer or the guard keeps
// the neighbour away; before the first object of an off-slab slab there would be another frame, so there the guard is
// parted and an alignment's worth of it goes in front.
//
// The descriptor takes the bytes of the modelled kernel's struct slab, so that the numbers of 10.4 come out; ours needs
// no more on either word size (cache.h).
//
// Debug flags change the layout here and nothing else: who fills and checks the zones is another layer's business.
#pragma once

#include <cstdint>
#include <optional>

#include "allocator/machine/shape.h"
#include "allocator/subject/objects.h"

namespace memtorture::slab {

using subject::slab_flags_t;

inline constexpr std::uint32_t redzone_align = 8;  // alignof(unsigned long long), on both word sizes
inline constexpr std::uint32_t bufctl_bytes = 4;

// What the layout depends on besides the request.
struct Platform {
  std::uint32_t word_bytes = 8;         // of the modelled processor
  std::uint32_t descriptor_bytes = 48;  // sizeof(struct slab): 28 on 32 bits
  unsigned page_shift = 12;
  unsigned order_max = 10;   // KMALLOC_MAX_ORDER
  unsigned break_order = 0;  // no slab larger than this for the sake of waste: 1 above 32 MiB of RAM

  std::uint32_t page_bytes() const { return std::uint32_t{1} << page_shift; }
  std::uint32_t kmalloc_max() const { return page_bytes() << order_max; }
};

// A shape does not name its word size. A row of shapes whose processors address less than the largest machine has
// 32-bit processors; that is the only place where this is decided.
Platform platform_of(const machine::Shape& shape);

struct Geometry {
  slab_flags_t flags;  // RED_ZONE and STORE_USER are dropped when the alignment leaves no place for them
  std::uint32_t align;
  std::uint32_t object_size;    // rounded up to words: what the caller may use
  std::uint32_t object_offset;  // of the object within its buffer
  std::uint32_t buffer_size;
  std::uint32_t num;  // buffers a slab
  unsigned order;
  bool off_slab;
  std::uint32_t management_bytes;
  std::uint32_t left_over;
  std::uint32_t colour, colour_off;  // how many offsets, and their distance
};

// The flags of a cache on a machine whose checks are `letters` (machine::SlabDebug bits).
slab_flags_t flags_with(std::uint8_t letters, std::uint64_t size, slab_flags_t flags);

// KASAN's red zone behind an object.
std::uint32_t guard_bytes(std::uint32_t object_size);

// size: word_bytes..kmalloc_max, align: 0 or a power of two. Nothing: no slab can hold even one object.
std::optional<Geometry> geometry_for(const Platform& platform, std::uint32_t size, std::uint32_t align,
                                     slab_flags_t flags);

}  // namespace memtorture::slab
