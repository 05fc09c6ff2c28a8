#include "model/oracle/geometry.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>

namespace memtorture::oracle {

using machine::index_of;
using machine::ZoneKind;

namespace {

constexpr std::array<std::uint64_t, zone_kinds> reserve_ratio = {256, 256, 32, 1};
constexpr unsigned highmem_kind = index_of(ZoneKind::highmem);

std::uint64_t overlap(std::uint64_t a0, std::uint64_t a1, std::uint64_t b0, std::uint64_t b1) {
  const std::uint64_t from = std::max(a0, b0), to = std::min(a1, b1);
  return from < to ? to - from : 0;
}

}  // namespace

std::uint64_t int_sqrt(std::uint64_t n) {
  std::uint64_t root = 0;
  for (std::uint64_t bit = std::uint64_t{1} << 31; bit != 0; bit >>= 1) {
    if ((root + bit) * (root + bit) <= n) root += bit;
  }
  return root;
}

std::uint32_t pcp_batch_of(std::uint64_t zone_pages, std::uint64_t page_bytes) {
  std::uint64_t b = std::min<std::uint64_t>(zone_pages / 1024, 512 * 1024 / page_bytes) / 4;
  b = std::max<std::uint64_t>(b, 1);
  return static_cast<std::uint32_t>(std::bit_floor(b + b / 2) - 1);
}

Marks marks_of(std::uint64_t pages_min, std::uint64_t zone_pages, std::uint64_t lowmem_pages, bool highmem) {
  const std::uint64_t share = lowmem_pages == 0 ? 0 : pages_min * zone_pages / lowmem_pages;
  const std::uint64_t min = highmem ? std::clamp<std::uint64_t>(zone_pages / 1024, 32, 128) : share;
  return {min, min + share / 4, min + share / 2};
}

void Geometry::build(const machine::Shape& shape, std::span<const subject::ZoneInfo> published) {
  if (built_ && shape == shape_) return reset_min_free();
  shape_ = shape;
  frames_ = shape.frames();
  build_zones(published);
  build_zonelists();
  build_reserves();
  set_min_free(default_min_free());
  marks_changed_ = false;
  built_ = true;
}

void Geometry::build_zones(std::span<const subject::ZoneInfo> published) {
  divide(0);
  if (shape_.nodes > 1 && frames_ % shape_.nodes != 0 && layout_differs(published)) {
    divide(1);
    if (layout_differs(published)) divide(0);
  }
}

// Even division of RAM: equal shares with the rest on the last node (0), or the nearest frame below each fraction (1).
void Geometry::divide(unsigned variant) {
  count_ = 0;
  for (unsigned node = 0; node != shape_.nodes; ++node) {
    const auto border = [&](unsigned n) -> std::uint64_t {
      if (n == shape_.nodes) return frames_;
      return variant == 0 ? frames_ / shape_.nodes * n : std::uint64_t{frames_} * n / shape_.nodes;
    };
    std::uint64_t below = 0;
    for (unsigned kind = 0; kind != zone_kinds; ++kind) {
      const std::uint64_t limit =
          kind == highmem_kind ? frames_
                               : std::min<std::uint64_t>(frames_, shape_.zone_end_bytes[kind] >> shape_.page_shift);
      const std::uint64_t start = std::max(below, border(node)), end = std::min(limit, border(node + 1));
      below = std::max(below, limit);
      if (start >= end) continue;
      const std::uint64_t hole = overlap(start, end, shape_.hole_start, shape_.hole_end);
      if (hole == end - start) continue;  // not populated: in no zonelist
      const std::uint64_t kept = overlap(start, end, 0, shape_.reserved_pages);
      const std::uint64_t both = overlap(std::max<std::uint64_t>(start, shape_.hole_start),
                                         std::min<std::uint64_t>(end, shape_.hole_end), 0, shape_.reserved_pages);
      Zone& zone = zones_[count_];
      zone = {.start = static_cast<Pfn>(start),
              .end = static_cast<Pfn>(end),
              .node = static_cast<std::uint8_t>(node),
              .kind = static_cast<std::uint8_t>(kind)};
      zone.present = end - start - hole;
      zone.managed = zone.present - (kept - both);
      const std::uint32_t batch = pcp_batch_of(zone.present, shape_.page_bytes());
      zone.pcp_batch = std::max<std::uint32_t>(1, shape_.pcp_batch.value_or(static_cast<std::uint16_t>(batch)));
      zone.pcp_high = shape_.pcp_high.value_or(static_cast<std::uint16_t>(6 * batch));
      if (zone.pcp_high == 0) zone.pcp_batch = 1;  // pass-through: the list is not used
      ++count_;
    }
  }
}

void Geometry::build_zonelists() {
  // A kind exists in the layout if its boundary lies above the one before it, whether or not RAM reaches it.
  std::array<bool, zone_kinds> exists{};
  std::uint64_t below = 0;
  for (unsigned kind = 0; kind != highmem_kind; ++kind) {
    exists[kind] = shape_.zone_end_bytes[kind] > below;
    below = std::max(below, shape_.zone_end_bytes[kind]);
  }
  exists[highmem_kind] = below != machine::zone_end_none;
  const unsigned normal = index_of(ZoneKind::normal);
  const auto or_normal = [&](ZoneKind kind) {
    return static_cast<std::uint8_t>(exists[index_of(kind)] ? index_of(kind) : normal);
  };
  highest_.fill(0xff);
  highest_[0x0] = highest_[0x8] = static_cast<std::uint8_t>(normal);
  highest_[0x1] = highest_[0x9] = or_normal(ZoneKind::dma);
  highest_[0x2] = highest_[0xa] = or_normal(ZoneKind::highmem);
  highest_[0x4] = highest_[0xc] = or_normal(ZoneKind::dma32);

  for (unsigned node = 0; node != shape_.nodes; ++node) {
    for (unsigned high = 0; high != zone_kinds; ++high) {
      Zonelist& list = zonelists_[node][high];
      list = {};
      std::array<std::uint8_t, machine::nodes_max> top{};  // of each node, + 1
      for (unsigned z = 0; z != count_; ++z) {
        if (zones_[z].kind > high) continue;
        const ZoneSet bit = zone_bit(z);
        list.allowed |= bit;
        top[zones_[z].node] = std::max(top[zones_[z].node], static_cast<std::uint8_t>(zones_[z].kind + 1));
        if (zones_[z].node == node) list.local |= bit;
      }
      std::uint8_t least = zone_kinds, most = 1;
      for (unsigned n = 0; n != shape_.nodes; ++n) {
        if (top[n] == 0 || (list.local != 0 && n != node)) continue;
        least = std::min(least, top[n]);
        most = std::max(most, top[n]);
      }
      list.classzone_least = static_cast<std::uint8_t>(least - 1);
      list.classzone_most = static_cast<std::uint8_t>(most - 1);
    }
    for (unsigned z = 0; z != count_; ++z) {
      ZoneSet& set = before_[node][z];
      set = 0;
      for (unsigned other = 0; other != count_; ++other) {
        const bool above = zones_[other].node == zones_[z].node && zones_[other].kind > zones_[z].kind;
        const bool nearer =
            zones_[other].node == node && zones_[z].node != node && zones_[other].kind >= zones_[z].kind;
        if (above || nearer) set |= zone_bit(other);
      }
    }
  }
}

void Geometry::build_reserves() {
  for (unsigned z = 0; z != count_; ++z) {
    std::uint64_t above = 0;
    zones_[z].reserve = {};
    for (unsigned kind = zones_[z].kind + 1u; kind != zone_kinds; ++kind) {
      for (unsigned other = 0; other != count_; ++other) {
        if (zones_[other].node == zones_[z].node && zones_[other].kind == kind) above += zones_[other].present;
      }
      zones_[z].reserve[kind] = above / reserve_ratio[zones_[z].kind];
    }
  }
}

std::uint64_t Geometry::default_min_free() const {
  if (shape_.min_free_kbytes) return *shape_.min_free_kbytes;
  std::uint64_t low_pages = 0;
  for (const Zone& zone : zones()) low_pages += zone.kind == highmem_kind ? 0 : zone.present;
  return std::clamp<std::uint64_t>(int_sqrt(16 * low_pages * (shape_.page_bytes() / 1024)), 128, 65536);
}

void Geometry::adopt_pcp(std::span<const subject::ZoneInfo> published) {
  for (unsigned z = 0; z != count_; ++z) zones_[z].pcp_high = published[z].pcp_high;
}

void Geometry::set_min_free(std::uint64_t kbytes) {
  min_free_kbytes_ = kbytes;
  marks_changed_ = true;
  std::uint64_t low_pages = 0;
  for (const Zone& zone : zones()) low_pages += zone.kind == highmem_kind ? 0 : zone.present;
  for (unsigned z = 0; z != count_; ++z) {
    const Marks marks =
        marks_of(kbytes >> (shape_.page_shift - 10), zones_[z].present, low_pages, zones_[z].kind == highmem_kind);
    zones_[z].mark_min = marks.min;
    zones_[z].mark_low = marks.low;
    zones_[z].mark_high = marks.high;
  }
}

void Geometry::reset_min_free() {
  if (!marks_changed_) return;
  set_min_free(default_min_free());
  marks_changed_ = false;
}

std::uint64_t Geometry::totalreserve() const {
  std::uint64_t sum = 0;
  for (const Zone& zone : zones())
    sum += std::min(zone.present, *std::ranges::max_element(zone.reserve) + zone.mark_high);
  return sum;
}

// --- comparison with what the subject publishes ----------------------------------------------------------------------

namespace {

std::string zone_text(const Zone& zone) {
  return fmt::format("node {} zone {}", zone.node, machine::zone_names[zone.kind]);
}

}  // namespace

std::optional<std::string> Geometry::layout_differs(std::span<const subject::ZoneInfo> published) const {
  if (published.size() != count_)
    return fmt::format("the machine has {} populated zones, published are {}", count_, published.size());
  std::size_t i = 0;
  for (const Zone& zone : zones()) {
    const subject::ZoneInfo& info = published[i++];
    const std::uint64_t end = info.start + info.spanned;
    // A hole at a zone's edge may be counted as spanned or not.
    const bool start_right = info.start >= zone.start && (info.start == zone.start || absent(info.start - 1));
    const bool end_right = end <= zone.end && end != 0 && (end == zone.end || absent(static_cast<Pfn>(end)));
    if (info.node != zone.node || index_of(info.kind) != zone.kind || !start_right || !end_right) {
      return fmt::format("{} spans frames {}..{}, published is node {} {} {}..{}", zone_text(zone), zone.start,
                         zone.end, info.node, machine::zone_names[index_of(info.kind)], info.start, end);
    }
    if (info.present != zone.present || info.managed != zone.managed) {
      return fmt::format("{} has {} present and {} managed frames, published are {} and {}", zone_text(zone),
                         zone.present, zone.managed, info.present, info.managed);
    }
  }
  return std::nullopt;
}

std::optional<std::string> Geometry::marks_differ(std::span<const subject::ZoneInfo> published) const {
  std::size_t i = 0;
  for (const Zone& zone : zones()) {
    const subject::ZoneInfo& info = published[i++];
    if (info.mark_min != zone.mark_min || info.mark_low != zone.mark_low || info.mark_high != zone.mark_high) {
      return fmt::format("{} has marks {}/{}/{}, published are {}/{}/{}", zone_text(zone), zone.mark_min, zone.mark_low,
                         zone.mark_high, info.mark_min, info.mark_low, info.mark_high);
    }
    for (unsigned kind = 0; kind != zone_kinds; ++kind) {
      if (info.lowmem_reserve[kind] != zone.reserve[kind]) {
        return fmt::format("{} has lowmem_reserve[{}] = {}, published is {}", zone_text(zone),
                           machine::zone_names[kind], zone.reserve[kind], info.lowmem_reserve[kind]);
      }
    }
  }
  return std::nullopt;
}

std::optional<std::string> Geometry::pcp_differs(std::span<const subject::ZoneInfo> published) const {
  std::size_t i = 0;
  for (const Zone& zone : zones()) {
    const subject::ZoneInfo& info = published[i++];
    const std::uint32_t formula = 6 * pcp_batch_of(zone.present, shape_.page_bytes());
    const bool follows =
        !shape_.pcp_high && (info.pcp_high == formula || (shape_.pcp_batch && info.pcp_high == 6u * *shape_.pcp_batch));
    if (info.pcp_batch != zone.pcp_batch || (info.pcp_high != zone.pcp_high && !follows)) {
      return fmt::format("{} has per-CPU lists of batch {} and high {}, published are {} and {}", zone_text(zone),
                         zone.pcp_batch, zone.pcp_high, info.pcp_batch, info.pcp_high);
    }
  }
  return std::nullopt;
}

}  // namespace memtorture::oracle
