#include "allocator/slab/geometry.h"

#include <algorithm>
#include <bit>

#include "allocator/slab/size_classes.h"

namespace memtorture::slab {
namespace {

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t to) { return (value + to - 1) / to * to; }

// Small objects share a line, but none straddles two.
std::uint32_t line_align(std::uint64_t size) {
  std::uint32_t align = cache_line_bytes;
  while (size <= align / 2) align /= 2;
  return align;
}

constexpr std::uint32_t shadow_align = 8;  // no byte of shadow is shared by two buffers

struct Fit {
  std::uint64_t num, left_over;
};

std::uint64_t management_bytes(const Platform& platform, std::uint64_t num, std::uint32_t align) {
  return round_up(platform.descriptor_bytes + num * bufctl_bytes, align);
}

// How many buffers a slab of `order` holds (cache_estimate).
Fit estimate(const Platform& platform, unsigned order, std::uint64_t buffer, std::uint32_t align, bool off_slab) {
  const std::uint64_t slab = std::uint64_t{platform.page_bytes()} << order;
  if (off_slab) return {slab / buffer, slab % buffer};
  if (slab < platform.descriptor_bytes) return {0, slab};
  std::uint64_t num = (slab - platform.descriptor_bytes) / (buffer + bufctl_bytes);
  if (num != 0 && management_bytes(platform, num, align) + num * buffer > slab) --num;
  if (num == 0) return {0, slab};
  return {num, slab - num * buffer - management_bytes(platform, num, align)};
}

// The smallest order that wastes little (calculate_slab_order). False: no order holds an object.
bool choose_order(const Platform& platform, Geometry& g) {
  for (unsigned order = 0; order <= platform.order_max; ++order) {
    const Fit fit = estimate(platform, order, g.buffer_size, g.align, g.off_slab);
    if (fit.num == 0) continue;
    // A descriptor must be smaller than a buffer, or it would need an off-slab cache like this one for itself.
    if (g.off_slab && fit.num > (g.buffer_size - platform.descriptor_bytes) / bufctl_bytes) break;
    g.num = static_cast<std::uint32_t>(fit.num);
    g.order = order;
    g.left_over = static_cast<std::uint32_t>(fit.left_over);
    if ((g.flags & subject::SLAB_RECLAIM_ACCOUNT) != 0 || order >= platform.break_order) break;
    if (fit.left_over * 8 <= std::uint64_t{platform.page_bytes()} << order) break;
  }
  return g.num != 0;
}

}  // namespace

Platform platform_of(const machine::Shape& shape) {
  const bool narrow = machine::shape_table()[shape.base].ram_bytes_limit < machine::ram_bytes_max;
  const unsigned shift_max = std::min(shape.orders + shape.page_shift - 1u, 25u);
  return {.word_bytes = narrow ? 4u : 8u,
          .descriptor_bytes = narrow ? 28u : 48u,
          .page_shift = shape.page_shift,
          .order_max = shift_max - shape.page_shift,
          .break_order = shape.ram_bytes > std::uint64_t{32} << 20 ? 1u : 0u};
}

// K26: words around a large object only where they do not push it over a power of two, which would double its slab;
// no poison where objects may be read after they were freed.
slab_flags_t flags_with(std::uint8_t letters, std::uint64_t size, slab_flags_t flags) {
  constexpr std::uint64_t zones_bytes = 3 * redzone_align;
  const bool roomy = size < 4096 || std::bit_width(size - 1) == std::bit_width(size - 1 + zones_bytes);
  if ((letters & machine::debug_sanity) != 0) flags |= subject::SLAB_DEBUG_FREE;
  if ((letters & machine::debug_redzone) != 0 && roomy) flags |= subject::SLAB_RED_ZONE;
  if ((letters & machine::debug_user) != 0 && roomy) flags |= subject::SLAB_STORE_USER;
  if ((letters & machine::debug_poison) != 0 && (flags & subject::SLAB_DESTROY_BY_RCU) == 0)
    flags |= subject::SLAB_POISON;
  if ((letters & machine::debug_shadow) != 0) flags |= subject::SLAB_KASAN;
  return flags;
}

// The sizes of domain.md 20.1.
std::uint32_t guard_bytes(std::uint32_t object_size) {
  constexpr struct {
    std::uint32_t object_max, guard;
  } rows[] = {{48, 16}, {96, 32}, {448, 64}, {3968, 128}, {16128, 256}, {32256, 512}, {64512, 1024}};
  for (const auto& row : rows) {
    if (object_size <= row.object_max) return row.guard;
  }
  return 2048;
}

std::optional<Geometry> geometry_for(const Platform& platform, std::uint32_t size, std::uint32_t align,
                                     slab_flags_t flags) {
  constexpr slab_flags_t zones = subject::SLAB_RED_ZONE, user = subject::SLAB_STORE_USER;
  const std::uint32_t word = platform.word_bytes;
  std::uint64_t bytes = round_up(size, word);
  std::uint32_t ralign = (flags & subject::SLAB_HWCACHE_ALIGN) != 0 ? line_align(bytes) : word;
  if ((flags & user) != 0) ralign = word;
  if ((flags & zones) != 0) {
    ralign = redzone_align;
    bytes = round_up(bytes, redzone_align);
  }
  if ((flags & subject::SLAB_KASAN) != 0) ralign = std::max(ralign, shadow_align);
  ralign = std::max(ralign, align);
  if (ralign > redzone_align) flags &= ~(zones | user);

  Geometry g{.flags = flags, .align = ralign, .object_size = static_cast<std::uint32_t>(bytes)};
  if ((flags & zones) != 0) {
    g.object_offset = redzone_align;
    bytes += 2 * redzone_align;
  }
  if ((flags & user) != 0) bytes += (flags & zones) != 0 ? redzone_align : word;
  g.off_slab = bytes >= platform.page_bytes() >> 3 && (flags & subject::SLAB_NOLEAKTRACE) == 0;
  if ((flags & subject::SLAB_KASAN) != 0) {
    const std::uint32_t guard = guard_bytes(size);
    if (round_up(bytes + guard, ralign) <= platform.kmalloc_max()) {  // the largest objects go without, as in KASAN
      bytes += guard;
      if (g.off_slab && g.object_offset == 0 && ralign <= guard / 2) g.object_offset = ralign;
    }
  }
  bytes = round_up(bytes, ralign);
  if (bytes > platform.kmalloc_max()) return std::nullopt;
  g.buffer_size = static_cast<std::uint32_t>(bytes);
  if (!choose_order(platform, g)) return std::nullopt;

  const auto management = static_cast<std::uint32_t>(management_bytes(platform, g.num, ralign));
  if (!g.off_slab) {
    g.management_bytes = management;
  } else if (g.left_over >= management) {  // there is room after all
    g.off_slab = false;
    g.management_bytes = management;
    g.left_over -= management;
  } else {
    g.management_bytes = platform.descriptor_bytes + g.num * bufctl_bytes;
  }
  g.colour_off = std::max(cache_line_bytes, ralign);
  g.colour = g.left_over / g.colour_off;
  return g;
}

}  // namespace memtorture::slab
