// What frames there are, before there is an allocator: the firmware's memory map, seen from a machine shape.
//
//   0        reserved_pages      hole_start   hole_end           frames
//   | reserved    | usable           | absent     | usable          |
//
// reserved: exists, PG_reserved, never given to the page allocator. absent: does not exist. Everything else is handed
// over at the end of boot (P-BOOT-3: free pages = all memory - reserved).
#pragma once

#include <algorithm>
#include <cstdint>

#include "allocator/machine/shape.h"

namespace memtorture::boot {

using machine::Pfn;
using machine::ZoneKind;

struct Span {  // [first, end)
  Pfn first = 0, end = 0;
  constexpr std::uint64_t pages() const { return end > first ? end - first : 0; }
  constexpr bool contains(Pfn pfn) const { return pfn >= first && pfn < end; }
  friend bool operator==(const Span&, const Span&) = default;
};
constexpr Span intersect(Span a, Span b) { return {std::max(a.first, b.first), std::min(a.end, b.end)}; }

struct MemoryMap {
  Span all, reserved, hole;

  explicit MemoryMap(const machine::Shape& shape)
      : all{0, shape.frames()}, reserved{0, shape.reserved_pages}, hole{shape.hole_start, shape.hole_end} {}
  MemoryMap() = default;

  bool exists(Pfn pfn) const { return all.contains(pfn) && !hole.contains(pfn); }
  bool is_reserved(Pfn pfn) const { return reserved.contains(pfn); }
  std::uint64_t present(Span span) const {
    span = intersect(span, all);
    return span.pages() - intersect(span, hole).pages();
  }

  // f(Span) for each run of usable frames inside `span`, ascending; at most two.
  template <class F>
  void for_each_usable(Span span, F&& f) const {
    span = intersect(span, {reserved.end, all.end});
    const bool split = hole.pages() != 0;
    const Span below = split ? intersect(span, {0, hole.first}) : span;
    const Span above = split ? intersect(span, {hole.end, all.end}) : Span{};
    if (below.pages() != 0) f(below);
    if (above.pages() != 0) f(above);
  }
};

// A zone's place: kind and node by position alone (domain.md 3.2, 3.5).
struct ZonePlace {
  std::uint8_t node;
  ZoneKind kind;
  Span span;  // spanned frames, holes included; never empty
};

inline constexpr unsigned zones_max = machine::nodes_max * machine::zone_kinds;

// The populated zones in ascending order. Nodes are consecutive banks of equal size, the last takes the remainder; a
// zone boundary cuts every bank that it runs through. Returns how many were written.
unsigned place_zones(const machine::Shape& shape, ZonePlace (&places)[zones_max]);

// Which zone kinds the layout has at all; a bit set by zone index. Zone modifiers naming others mean Normal (3.4).
unsigned zone_kinds_of(const machine::Shape& shape);

}  // namespace memtorture::boot
