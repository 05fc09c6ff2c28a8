// The sizes of kmalloc's general caches (domain.md 11.2): 32, 64, (96), 128, (192), 256, 512, ... doubling.
//
// 96 and 192 exist where objects of those sizes would not straddle cache lines anyway: below a line of 64 and of 128
// bytes. A machine uses the classes up to its kmalloc_max. The table proves itself at compile time: ascending, every
// size maps to the smallest class that holds it, every class keeps the alignment that kmalloc promises.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace memtorture::slab {

inline constexpr std::uint32_t cache_line_bytes = 64;
inline constexpr std::uint32_t kmalloc_align_min = 8;          // alignof(unsigned long long)
inline constexpr std::uint32_t kmalloc_bytes_max = 32u << 20;  // whatever the machine

constexpr unsigned count_size_classes(std::uint32_t line) {
  return std::bit_width(kmalloc_bytes_max) - std::bit_width(32u) + 1 + (line < 64 ? 1 : 0) + (line < 128 ? 1 : 0);
}

template <std::uint32_t line>
constexpr auto make_size_classes() {
  std::array<std::uint32_t, count_size_classes(line)> table{};
  unsigned n = 0;
  for (std::uint32_t size = 32; size <= kmalloc_bytes_max; size *= 2) {
    table[n++] = size;
    if (size == 64 && line < 64) table[n++] = 96;
    if (size == 128 && line < 128) table[n++] = 192;
  }
  return table;
}

inline constexpr auto size_classes = make_size_classes<cache_line_bytes>();
inline constexpr unsigned size_classes_max = size_classes.size();

// Up to fine_bytes_max each step of 32 bytes has its entry; above, classes are powers of two.
inline constexpr std::uint32_t fine_bytes_max = 1024, fine_step = 32;

constexpr auto make_fine_classes() {
  std::array<std::uint8_t, fine_bytes_max / fine_step> table{};
  for (unsigned i = 0; i != table.size(); ++i) {
    table[i] =
        static_cast<std::uint8_t>(std::ranges::lower_bound(size_classes, (i + 1) * fine_step) - size_classes.begin());
  }
  return table;
}
inline constexpr auto fine_classes = make_fine_classes();

// Index of the smallest class that holds `bytes`: 1..kmalloc_bytes_max.
constexpr unsigned size_class_of(std::uint64_t bytes) {
  if (bytes <= fine_bytes_max) return fine_classes[(bytes - 1) / fine_step];
  constexpr int widest = std::bit_width(kmalloc_bytes_max - 1);
  return size_classes_max - 1 - static_cast<unsigned>(widest - std::bit_width(bytes - 1));
}

namespace proof {

constexpr bool smallest_that_fits(std::uint64_t bytes) {
  const unsigned i = size_class_of(bytes);
  return size_classes[i] >= bytes && (i == 0 || size_classes[i - 1] < bytes);
}
constexpr bool every_fine_size_fits() {
  for (std::uint32_t bytes = 1; bytes <= 2 * fine_bytes_max; ++bytes) {
    if (!smallest_that_fits(bytes)) return false;
  }
  return true;
}
// Above, the index depends on bit_width(bytes - 1) alone, which changes only between size and size + 1 of a class.
constexpr bool every_boundary_fits() {
  for (const std::uint32_t size : size_classes) {
    if (!smallest_that_fits(size) || !smallest_that_fits(size - 1)) return false;
    if (size != kmalloc_bytes_max && !smallest_that_fits(std::uint64_t{size} + 1)) return false;
  }
  return true;
}

static_assert(size_classes.front() == 32 && size_classes.back() == kmalloc_bytes_max);
static_assert(std::ranges::is_sorted(size_classes, std::ranges::less_equal{}), "ascending, no class twice");
static_assert(std::ranges::all_of(size_classes, [](std::uint32_t size) { return size % kmalloc_align_min == 0; }));
static_assert(every_fine_size_fits() && every_boundary_fits());

}  // namespace proof

}  // namespace memtorture::slab
