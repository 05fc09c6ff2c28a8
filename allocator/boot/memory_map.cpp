#include "allocator/boot/memory_map.h"

namespace memtorture::boot {
namespace {

Span span_of(const machine::Shape& shape, unsigned kind) {
  const auto boundary = [&](unsigned below) {
    return static_cast<Pfn>(std::min(shape.zone_end_bytes[below], shape.ram_bytes) >> shape.page_shift);
  };
  const Pfn first = kind == 0 ? 0 : boundary(kind - 1);
  const Pfn end = kind == machine::index_of(ZoneKind::highmem) ? shape.frames() : boundary(kind);
  return {first, end};
}

}  // namespace

unsigned place_zones(const machine::Shape& shape, ZonePlace (&places)[zones_max]) {
  const MemoryMap map(shape);
  const Pfn node_frames = shape.frames() / shape.nodes;
  unsigned count = 0;
  for (unsigned node = 0; node != shape.nodes; ++node) {
    const bool last = node + 1u == shape.nodes;
    const Span bank{node * node_frames, last ? shape.frames() : (node + 1) * node_frames};
    for (unsigned kind = 0; kind != machine::zone_kinds; ++kind) {
      const Span span = intersect(bank, span_of(shape, kind));
      if (span.pages() == 0 || map.present(span) == 0) continue;
      places[count++] = {static_cast<std::uint8_t>(node), static_cast<ZoneKind>(kind), span};
    }
  }
  return count;
}

unsigned zone_kinds_of(const machine::Shape& shape) {
  unsigned kinds = 1u << machine::index_of(ZoneKind::normal);
  std::uint64_t before = 0;
  for (unsigned kind = 0; kind != machine::index_of(ZoneKind::normal); ++kind) {
    if (shape.zone_end_bytes[kind] > before) kinds |= 1u << kind;
    before = shape.zone_end_bytes[kind];
  }
  if (shape.zone_end_bytes[machine::index_of(ZoneKind::normal)] != machine::zone_end_none) {
    kinds |= 1u << machine::index_of(ZoneKind::highmem);
  }
  return kinds;
}

}  // namespace memtorture::boot
