#include "model/oracle/slab_geometry.h"

#include <algorithm>
#include <bit>

namespace memtorture::oracle {

namespace {

using machine::Shape;

constexpr std::uint64_t cache_line = 64, long_long = 8, bufctl = 4;

std::uint64_t up(std::uint64_t value, std::uint64_t to) { return (value + to - 1) / to * to; }

bool is_32bit(const Shape& shape) {
  return machine::shape_table()[shape.base].ram_bytes_limit < machine::ram_bytes_max;
}
std::uint64_t descriptor_bytes(const Shape& shape) { return is_32bit(shape) ? 28 : 48; }
std::uint64_t guard_of(std::uint64_t size) {  // 20.1
  constexpr std::uint64_t limits[] = {48, 96, 448, 3968, 16128, 32256, 64512};
  return std::uint64_t{16} << (std::ranges::lower_bound(limits, size) - std::begin(limits));
}
unsigned order_most(const Shape& shape) {
  return static_cast<unsigned>(std::countr_zero(kmalloc_most(shape))) - shape.page_shift;
}

// The classes of 11.5, ascending, until f says false.
template <class F>
void for_each_bucket(const Shape& shape, F&& f) {
  const std::uint64_t page = shape.page_bytes(), room = page - bucket_descriptor;
  for (std::uint64_t nominal = 32; nominal <= page; nominal *= 2) {
    const std::uint64_t block = nominal <= 128 ? nominal : room / (page / nominal) / 4 * 4;
    const std::uint64_t blocks = nominal <= 128 ? room / nominal : page / nominal;
    if (!f(BucketLayout{static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(blocks), 0})) return;
  }
  for (unsigned order = 1; order < std::min<unsigned>(shape.orders, 6); ++order) {
    if (!f(BucketLayout{static_cast<std::uint32_t>((page << order) - bucket_descriptor), 1, order})) return;
  }
}

}  // namespace

std::uint32_t word_bytes(const Shape& shape) { return is_32bit(shape) ? 4 : 8; }

std::uint64_t kmalloc_most(const Shape& shape) {
  return std::min(std::uint64_t{32} << 20, shape.page_bytes() << (shape.orders - 1));
}

std::uint32_t flags_in_force(const Shape& shape, std::uint64_t size, std::uint32_t flags) {
  const auto asked = [&](machine::SlabDebug letter) { return (shape.slab_debug & letter) != 0; };
  // K26: the three words must not push a large object over a power of two.
  const bool room_for_words = size < 4096 || std::bit_ceil(size) == std::bit_ceil(size + 3 * long_long);
  if (asked(machine::debug_sanity)) flags |= subject::SLAB_DEBUG_FREE;
  if (asked(machine::debug_redzone) && room_for_words) flags |= subject::SLAB_RED_ZONE;
  if (asked(machine::debug_user) && room_for_words) flags |= subject::SLAB_STORE_USER;
  if (asked(machine::debug_poison) && (flags & subject::SLAB_DESTROY_BY_RCU) == 0) flags |= subject::SLAB_POISON;
  if (asked(machine::debug_shadow)) flags |= subject::SLAB_KASAN;
  return flags;
}

std::optional<SlabLayout> slab_layout(const Shape& shape, std::uint64_t size, std::uint64_t align,
                                      std::uint32_t flags) {
  const std::uint64_t page = shape.page_bytes(), word = word_bytes(shape), desc = descriptor_bytes(shape);
  const std::uint64_t request = size;
  size = up(size, word);
  std::uint64_t ralign = word;
  if ((flags & subject::SLAB_HWCACHE_ALIGN) != 0)
    for (ralign = cache_line; size <= ralign / 2;) ralign /= 2;
  if ((flags & subject::SLAB_STORE_USER) != 0) ralign = word;  // K26; 10.4 leaves it out
  if ((flags & subject::SLAB_RED_ZONE) != 0) {
    ralign = long_long;
    size = up(size, long_long);
  }
  const bool shadow = (flags & subject::SLAB_KASAN) != 0;
  if (shadow) ralign = std::max(ralign, long_long);  // what a byte of the shadow stands for
  ralign = std::max(ralign, align);
  const bool room_for_debug = ralign <= long_long;
  SlabLayout layout{.align = static_cast<std::uint32_t>(ralign)};
  const bool zones = room_for_debug && (flags & subject::SLAB_RED_ZONE) != 0;
  if (zones) {
    layout.words = true;
    layout.object_at = long_long;
    size += 2 * long_long;
  }
  if (room_for_debug && (flags & subject::SLAB_STORE_USER) != 0) size += zones ? long_long : word;
  const bool early_off = size >= page / 8 && (flags & subject::SLAB_NOLEAKTRACE) == 0;
  // A guard behind the object, and in front of the first one where no descriptor lies there. The largest go without.
  if (const std::uint64_t guard = guard_of(request); shadow && up(size + guard, ralign) <= kmalloc_most(shape)) {
    size += guard;
    if (early_off && !zones && ralign <= guard / 2) layout.object_at = static_cast<std::uint32_t>(ralign);
  }
  size = up(size, ralign);
  const auto management = [&](std::uint64_t num) { return up(desc + bufctl * num, ralign); };

  const unsigned break_order = shape.ram_bytes > std::uint64_t{32} << 20 ? 1 : 0;
  std::uint64_t best = 0, left = 0;
  for (unsigned order = 0; order <= order_most(shape); ++order) {
    const std::uint64_t bytes = page << order;
    std::uint64_t num = bytes / size, rest = bytes - num * size;
    if (!early_off) {
      num = bytes > desc ? (bytes - desc) / (size + bufctl) : 0;
      while (num != 0 && management(num) + num * size > bytes) --num;
      rest = bytes - num * size - management(num);
    }
    if (num == 0) continue;
    if (early_off && num > (size - desc) / bufctl) break;
    best = num;
    left = rest;
    layout.order = order;
    if ((flags & subject::SLAB_RECLAIM_ACCOUNT) != 0 || order >= break_order || left * 8 <= bytes) break;
  }
  if (best == 0) return std::nullopt;
  layout.off_slab = early_off && left < management(best);
  if (early_off && !layout.off_slab) left -= management(best);
  layout.buffer_bytes = static_cast<std::uint32_t>(size);
  layout.num = static_cast<std::uint32_t>(best);
  layout.management_bytes = static_cast<std::uint32_t>(layout.off_slab ? desc + bufctl * best : management(best));
  layout.colour_bytes = static_cast<std::uint32_t>(std::max(cache_line, ralign));
  layout.colours = static_cast<std::uint32_t>(left / layout.colour_bytes);
  return layout;
}

std::uint8_t checks_in_force(const Shape& shape, const SlabLayout& layout, std::uint32_t flags) {
  unsigned checks = shape.slab_debug & machine::debug_user;
  if ((flags & subject::SLAB_DEBUG_FREE) != 0) checks |= machine::debug_sanity;
  if (layout.words) checks |= machine::debug_redzone;
  if ((flags & subject::SLAB_POISON) != 0) checks |= machine::debug_poison;
  if ((flags & subject::SLAB_STORE_USER) != 0) checks |= machine::debug_user;
  if ((flags & subject::SLAB_KASAN) != 0) checks |= machine::debug_shadow | machine::debug_sanity;  // sees frees, too
  return static_cast<std::uint8_t>(checks);
}

std::uint64_t bucket_usable(const Shape& shape, std::uint64_t bytes) {
  std::uint64_t usable = 0;
  for_each_bucket(shape, [&](const BucketLayout& bucket) {
    if (bucket.block_bytes < bytes + bucket_header) return true;
    usable = bucket.block_bytes - bucket_header;
    return false;
  });
  return usable;
}

std::vector<BucketLayout> bucket_layouts(const Shape& shape) {
  std::vector<BucketLayout> all;
  for_each_bucket(shape, [&](const BucketLayout& bucket) {
    all.push_back(bucket);
    return true;
  });
  return all;
}

std::uint64_t kmalloc_class(std::uint64_t bytes) {
  if (bytes > 128 && bytes <= 192) return 192;  // lines of 64 bytes: there is a class of 192, and none of 96
  return std::max<std::uint64_t>(32, std::bit_ceil(bytes));
}

}  // namespace memtorture::oracle
