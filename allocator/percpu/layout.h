// How large units are on a machine, and how the first chunk is cut: a function of the shape and of what the kernel was
// linked with.
//
// K26 has units of 64 KiB, of which the first chunk keeps 8 KiB for modules. Our machines go down to a few MiB, where
// that would be all of memory: a unit is a 512th of RAM, a power of two between two pages and 64 KiB; fewer pages if
// the largest block could not hold a unit for each CPU. The reserved area is an eighth of the unit, as there.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "allocator/machine/shape.h"

namespace memtorture::percpu {

inline constexpr std::uint64_t unit_bytes_max = std::uint64_t{64} << 10;

struct Layout {
  std::uint32_t unit_bytes = 0;  // 0: this machine can have no chunk
  std::uint32_t unit_pages = 0;
  std::uint32_t units = 0;
  std::uint32_t static_bytes = 0;
  std::uint32_t reserved_bytes = 0;
  std::uint8_t order = 0;  // of a chunk's block
};

constexpr Layout layout_of(const machine::Shape& shape, std::uint32_t static_bytes) {
  const std::uint64_t page = shape.page_bytes();
  const std::uint32_t places = std::bit_ceil(std::uint32_t{shape.cpus});
  const std::uint32_t block_pages = 1u << (shape.orders - 1);
  const std::uint64_t wanted = std::clamp(std::bit_floor(shape.ram_bytes / 512), 2 * page, unit_bytes_max);
  const std::uint32_t pages = std::min(static_cast<std::uint32_t>(wanted / page), block_pages / places);
  if (pages == 0) return {};
  const auto unit = static_cast<std::uint32_t>(pages * page);
  return {.unit_bytes = unit,
          .unit_pages = pages,
          .units = shape.cpus,
          .static_bytes = static_bytes,
          .reserved_bytes = unit / 8,
          .order = static_cast<std::uint8_t>(std::countr_zero(pages * places))};
}

}  // namespace memtorture::percpu
