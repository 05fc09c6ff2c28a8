#include "allocator/page/watermark.h"

#include <algorithm>
#include <bit>

namespace memtorture::page {
namespace {

constexpr unsigned reserve_ratio[zone_kinds] = {256, 256, 32, 1};  // sysctl lowmem_reserve_ratio
constexpr std::uint32_t min_free_kbytes_min = 128, min_free_kbytes_max = 65536;

}  // namespace

bool zone_watermark_ok(const Zone& zone, unsigned order, Mark mark, ZoneKind classzone, unsigned alloc_flags) {
  auto min = static_cast<std::int64_t>(zone.mark[static_cast<unsigned>(mark)].get());
  auto free = static_cast<std::int64_t>(zone.nr_free_pages.get()) - (std::int64_t{1} << order) + 1;
  if (alloc_flags & alloc_high) min -= min / 2;
  if (alloc_flags & alloc_harder) min -= min / 4;
  if (free <= min + static_cast<std::int64_t>(zone.lowmem_reserve[machine::index_of(classzone)].get())) return false;
  // At each next order everything below is useless, and half the reserve is enough.
  for (unsigned o = 0; o != order; ++o) {
    free -= static_cast<std::int64_t>(zone.area[o].nr_free.get() << o);
    min >>= 1;
    if (free <= min) return false;
  }
  return true;
}

std::uint32_t int_sqrt(std::uint64_t n) {
  std::uint64_t root = 0;
  for (std::uint64_t bit = std::uint64_t{1} << 31; bit != 0; bit >>= 1) {
    if ((root + bit) * (root + bit) <= n) root += bit;
  }
  return static_cast<std::uint32_t>(root);
}

std::uint32_t min_free_kbytes_for(std::uint64_t lowmem_pages, unsigned page_shift) {
  const std::uint64_t lowmem_kbytes = lowmem_pages << (page_shift - 10);
  return std::clamp(int_sqrt(16 * lowmem_kbytes), min_free_kbytes_min, min_free_kbytes_max);
}

Marks marks_for(ZoneKind kind, std::uint64_t zone_pages, std::uint64_t pages_min, std::uint64_t lowmem_pages) {
  const std::uint64_t share = lowmem_pages == 0 ? 0 : pages_min * zone_pages / lowmem_pages;
  const std::uint64_t min = kind == ZoneKind::highmem ? std::clamp<std::uint64_t>(zone_pages / 1024, 32, 128) : share;
  return {min, min + share / 4, min + share / 2};
}

std::uint64_t lowmem_pages_of(std::span<const Zone> zones) {
  std::uint64_t pages = 0;
  for (const Zone& zone : zones) pages += zone.kind == ZoneKind::highmem ? 0 : zone.present;
  return pages;
}

void setup_lowmem_reserve(std::span<Zone> zones) {
  for (Zone& zone : zones) {
    for (unsigned j = 0; j != zone_kinds; ++j) {
      std::uint64_t above = 0;
      for (const Zone& other : zones) {
        const unsigned kind = machine::index_of(other.kind);
        if (other.node == zone.node && kind > machine::index_of(zone.kind) && kind <= j) above += other.present;
      }
      zone.lowmem_reserve[j].set(above / reserve_ratio[machine::index_of(zone.kind)]);
    }
  }
}

std::uint64_t totalreserve_pages(std::span<const Zone> zones) {
  std::uint64_t total = 0;
  for (const Zone& zone : zones) {
    std::uint64_t most = 0;
    for (const Counter& reserve : zone.lowmem_reserve) most = std::max(most, reserve.get());
    total += std::min(zone.present, most + zone.mark[static_cast<unsigned>(Mark::high)].get());
  }
  return total;
}

PcpSize pcp_size_for(std::uint64_t zone_pages, unsigned page_shift) {
  std::uint64_t b = std::min(zone_pages / 1024, (std::uint64_t{512} << 10) >> page_shift) / 4;
  if (b < 1) b = 1;
  const auto batch = static_cast<std::uint32_t>(std::bit_floor(b + b / 2) - 1);
  return {.high = 6 * batch, .batch = std::max(1u, batch)};
}

}  // namespace memtorture::page
