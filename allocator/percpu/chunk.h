// A chunk: one unit for each possible CPU, all cut alike (domain.md 16.5), and the arithmetic of slots.
//
//   descriptor (kmalloc):  | Chunk | backed of unit 0 | of unit 1 | ... |      map (kmalloc): | area | area | ...
//   block of pages:        | unit 0 | unit 1 | ... | what the power of two leaves over |
//
// Chunks are in lists by how many bytes are free in a unit, slot 0 those with nothing to give. A page of the unit is
// populated when all CPUs' pages are backed; only then may an area that touches it be used.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "allocator/subject/percpu.h"

namespace memtorture::percpu {

using machine::Pfn;
using Address = std::uint64_t;

inline constexpr unsigned slots_max = 17;         // slot_of(64 KiB) is 15, one above it for a chunk without areas
inline constexpr std::uint32_t map_default = 16;  // words

struct Chunk {
  Address self = 0, next = 0, prev = 0;  // in the list of its slot
  Pfn first = machine::no_pfn;
  std::uint8_t order = 0;
  subject::PercpuRole role = subject::PercpuRole::later;
  std::uint8_t slot = 0;
  bool wants_map = false;        // an atomic request found the map full
  std::uint32_t free_bytes = 0;  // of a unit
  std::uint32_t largest = 0;     // no free area is longer
  std::uint32_t map_used = 0, map_alloc = 0;
  Address map = 0;
  std::uint32_t populated = 0;  // bit p: page p of every unit
  std::uint32_t empty_pages = 0;

  std::uint16_t* backed() { return reinterpret_cast<std::uint16_t*>(this + 1); }  // by unit: bit p = page p
  static constexpr std::uint64_t bytes_for(unsigned units) { return sizeof(Chunk) + units * sizeof(std::uint16_t); }
};

// max(highbit(bytes) - 5 + 2, 1), with highbit(1) = 1.
constexpr unsigned slot_of(std::uint32_t bytes) {
  return static_cast<unsigned>(std::max(static_cast<int>(std::bit_width(bytes)) - 5 + 2, 1));
}
static_assert(slot_of(1) == 1 && slot_of(15) == 1 && slot_of(16) == 2 && slot_of(31) == 2 && slot_of(32) == 3);
static_assert(slot_of(std::uint32_t{64} << 10) + 2 <= slots_max);

}  // namespace memtorture::percpu
