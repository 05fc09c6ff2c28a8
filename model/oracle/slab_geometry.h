// What domain.md 10.4, 10.5 and 11.2 say about sizes, as functions of a request and a machine: the second answer to the
// question, written from the reference alone.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "allocator/machine/shape.h"
#include "allocator/subject/objects.h"

namespace memtorture::oracle {

struct SlabLayout {
  std::uint32_t align = 0;
  std::uint32_t buffer_bytes = 0;  // distance of two objects
  std::uint32_t object_at = 0;     // of the object in its buffer
  std::uint32_t num = 0;
  std::uint32_t order = 0;
  bool off_slab = false;
  bool words = false;  // red zone words stand beside the object
  std::uint32_t management_bytes = 0;
  std::uint32_t colours = 0, colour_bytes = 0;
};

std::uint32_t word_bytes(const machine::Shape& shape);
std::uint64_t kmalloc_most(const machine::Shape& shape);  // bytes; more is refused

// The flags that are in force for a cache of that size: the caller's, the machine's, less what excludes another.
std::uint32_t flags_in_force(const machine::Shape& shape, std::uint64_t size, std::uint32_t flags);
// size: word_bytes..kmalloc_most, align: 0 or a power of two. Nothing: it does not fit into the largest slab.
std::optional<SlabLayout> slab_layout(const machine::Shape& shape, std::uint64_t size, std::uint64_t align,
                                      std::uint32_t flags);

// Buckets (11.5): a descriptor, then blocks, each with a header in front of its bytes.
inline constexpr std::uint32_t bucket_descriptor = 16, bucket_header = 8;
struct BucketLayout {
  std::uint32_t block_bytes;  // with its header
  std::uint32_t blocks;       // in an area
  std::uint32_t order;        // of an area
};
std::vector<BucketLayout> bucket_layouts(const machine::Shape& shape);  // ascending
// Bytes of the block that serves a request, without its header; 0: it is too large.
std::uint64_t bucket_usable(const machine::Shape& shape, std::uint64_t bytes);

// SlabDebug bits that are in force for a cache with these flags.
std::uint8_t checks_in_force(const machine::Shape& shape, const SlabLayout& layout, std::uint32_t flags);

// kmalloc: the size of the general cache that serves `bytes`, which is 1..kmalloc_most.
std::uint64_t kmalloc_class(std::uint64_t bytes);

}  // namespace memtorture::oracle
