// The table of named shapes and the one-line reasons against impossible ones.
#include "allocator/machine/shape.h"

#include <algorithm>

namespace memtorture::machine {
namespace {

constexpr std::uint64_t KiB = 1024, MiB = 1024 * KiB, GiB = 1024 * MiB;

constexpr Shape zoned(std::uint8_t base, std::uint64_t ram, std::uint64_t dma, std::uint64_t dma32,
                      std::uint64_t normal) {
  Shape shape;
  shape.base = base;
  shape.ram_bytes = ram;
  shape.zone_end_bytes = {dma, dma32, normal};
  return shape;
}

constexpr Shape alpha_shape() {
  Shape shape = zoned(7, 64 * MiB, 0, 0, zone_end_none);
  shape.page_shift = 13;
  shape.hz = 1000;
  return shape;
}

constexpr Shape buddy16_shape() {
  Shape shape = zoned(8, 64 * KiB, 0, 0, zone_end_none);
  shape.orders = 5;
  shape.min_free_kbytes = 0;
  return shape;
}

// domain.md 3.2 for the real layouts; the tiny ones have the same zones scaled to a few MiB.
constexpr ShapeRow table[] = {
    {"x86-32", "PC with 32-bit processors: DMA, Normal, HighMem", 64 * GiB,
     zoned(0, 1 * GiB, 16 * MiB, 16 * MiB, 896 * MiB)},
    {"x86-64", "PC with 64-bit processors: DMA, DMA32, Normal", ram_bytes_max,
     zoned(1, 8 * GiB, 16 * MiB, 4 * GiB, zone_end_none)},
    {"tiny-32", "x86-32 scaled down: every zone of it in 8 MiB", 64 * GiB,
     zoned(2, 8 * MiB, 1 * MiB, 1 * MiB, 6 * MiB)},
    {"tiny-64", "x86-64 scaled down", ram_bytes_max, zoned(3, 8 * MiB, 1 * MiB, 4 * MiB, zone_end_none)},
    {"tiny-all", "DMA, DMA32, Normal and HighMem in 8 MiB", ram_bytes_max,
     zoned(4, 8 * MiB, 1 * MiB, 3 * MiB, 6 * MiB)},
    {"toy", "16 MiB with DMA of 1024 pages and Normal of 3072", ram_bytes_max,
     zoned(5, 16 * MiB, 4 * MiB, 4 * MiB, zone_end_none)},
    {"flat", "no DMA restriction: all memory is Normal", ram_bytes_max, zoned(6, 4 * MiB, 0, 0, zone_end_none)},
    {"alpha", "8 KiB pages, no DMA restriction", ram_bytes_max, alpha_shape()},
    {"buddy16", "one zone of 16 pages, orders 0..4, no watermarks", ram_bytes_max, buddy16_shape()},
};

static_assert(std::ranges::all_of(table, [](const ShapeRow& row) { return &table[row.shape.base] == &row; }),
              "each row's shape names that row");

bool reaches_low_memory(const Shape& shape) {
  const Pfn low_end =
      static_cast<Pfn>(std::min(shape.zone_end_bytes[index_of(ZoneKind::normal)], shape.ram_bytes) >> shape.page_shift);
  if (shape.reserved_pages >= low_end) return false;
  // The hole may not swallow all that is left of low memory.
  return shape.hole_start > shape.reserved_pages || shape.hole_end < low_end || shape.hole_start == shape.hole_end;
}

std::optional<std::string> why_zones_impossible(const Shape& shape) {
  std::uint64_t before = 0;
  for (const std::uint64_t end : shape.zone_end_bytes) {
    if (end < before) return "zone boundaries must ascend: dma <= dma32 <= normal";
    if (end != zone_end_none && end % shape.page_bytes() != 0)
      return "a zone boundary must be a multiple of the page size";
    before = end;
  }
  if (shape.hole_start > shape.hole_end || shape.hole_end > shape.frames()) return "the hole must lie inside RAM";
  if (!reaches_low_memory(shape))
    return "zones do not fit: no low memory (DMA, DMA32 or Normal) is left for the kernel";
  return std::nullopt;
}

std::optional<std::string> why_stacks_impossible(const Shape& shape) {
  if (shape.stack_bytes == 0) {
    const bool has_extras = shape.irq_stacks == Toggle::on || shape.stack_cache == Toggle::on;
    return has_extras ? std::optional<std::string>("irqstacks and stackcache need a stack") : std::nullopt;
  }
  if (shape.stack_bytes != 4 * KiB && shape.stack_bytes != 8 * KiB && shape.stack_bytes != 16 * KiB)
    return "stack must be 4K, 8K or 16K";
  if (shape.stack_bytes < shape.page_bytes()) return "a stack must be whole pages";
  if (shape.stack_bytes >> shape.page_shift >= std::uint64_t{1} << shape.orders)
    return "a stack must not be larger than the largest block";
  return std::nullopt;
}

}  // namespace

std::string_view Shape::name() const { return table[base].name; }

std::span<const ShapeRow> shape_table() { return table; }

std::optional<Shape> shape_named(std::string_view name) {
  const auto* row = std::ranges::find(table, name, &ShapeRow::name);
  if (row == std::end(table)) return std::nullopt;
  return row->shape;
}

std::optional<std::string> why_impossible(const Shape& shape) {
  if (shape.base >= std::size(table)) return "unknown shape";
  if (shape.page_shift != 12 && shape.page_shift != 13) return "page must be 4K or 8K";
  if (shape.cpus < 1 || shape.cpus > cpus_max) return "cpus must be 1..64";
  if (shape.nodes < 1 || shape.nodes > nodes_max) return "nodes must be 1..4";
  if (shape.orders < 1 || shape.orders > orders_max) return "orders must be 1..11";
  if (shape.hz != 100 && shape.hz != 250 && shape.hz != 1000) return "hz must be 100, 250 or 1000";
  if (shape.ram_bytes == 0 || shape.ram_bytes % shape.page_bytes() != 0)
    return "ram must be a positive multiple of the page size";
  const std::uint64_t limit = table[shape.base].ram_bytes_limit;
  if (shape.ram_bytes > limit)
    return "more RAM than address space: " + std::string(shape.name()) + " reaches " + std::to_string(limit / GiB) +
           "G";
  if (shape.frames() < 2 * shape.nodes) return "ram must hold at least two pages a node";
  if (shape.pcp_batch && (*shape.pcp_batch < 1 || *shape.pcp_batch > 1024)) return "pcp batch must be 1..1024";
  if (shape.pcp_high && *shape.pcp_high > 8192) return "pcp high must be 0..8192";
  if (shape.pcp_high.has_value() != shape.pcp_batch.has_value()) return "pcp needs both high and batch";
  if (shape.min_free_kbytes && *shape.min_free_kbytes > shape.ram_bytes / KiB)
    return "min_free_kbytes is more than all of RAM";
  if (shape.slab_debug >= 1u << slab_debug_letters.size()) return "slab_debug has the letters F, Z, P, U and K";
  if (shape.slab_debug != 0 && shape.objects != ObjectLayer::slab) return "slab_debug needs objects=slab";
  if (shape.quarantine_bytes != 0 && (shape.slab_debug & debug_shadow) == 0)
    return "a quarantine needs the letter K in slab_debug";
  if (shape.reap == Toggle::on && shape.objects != ObjectLayer::slab) return "reap needs objects=slab";
  if (const auto why = why_stacks_impossible(shape)) return why;
  if (shape.percpu == Toggle::on && shape.objects != ObjectLayer::slab) return "percpu needs objects=slab";
  return why_zones_impossible(shape);
}

}  // namespace memtorture::machine
