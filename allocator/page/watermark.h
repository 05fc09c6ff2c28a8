// Watermarks, lowmem reserve and the sizes of per-CPU lists: pure arithmetic of domain.md 5.2-5.6 and 6.2 (K26).
//
// zone_watermark_ok reads counters that others change; what it says held at one instant, roughly. The slack that
// follows is P-WMARK-3's.
#pragma once

#include <cstdint>
#include <span>

#include "allocator/page/zone.h"

namespace memtorture::page {

// Alloc flags (domain.md 5.5); a bit set.
inline constexpr unsigned alloc_no_watermarks = 0x04, alloc_harder = 0x10, alloc_high = 0x20;

// Would a request of 2^order pages leave `zone` above its mark and what it keeps for `classzone` requests?
bool zone_watermark_ok(const Zone& zone, unsigned order, Mark mark, ZoneKind classzone, unsigned alloc_flags);

std::uint32_t int_sqrt(std::uint64_t n);
// 5.2: from the pages of all zones but HighMem; clamped to 128..65536.
std::uint32_t min_free_kbytes_for(std::uint64_t lowmem_pages, unsigned page_shift);

struct Marks {
  std::uint64_t min, low, high;
  friend bool operator==(const Marks&, const Marks&) = default;
};
Marks marks_for(ZoneKind kind, std::uint64_t zone_pages, std::uint64_t pages_min, std::uint64_t lowmem_pages);

std::uint64_t lowmem_pages_of(std::span<const Zone> zones);
void setup_lowmem_reserve(std::span<Zone> zones);
std::uint64_t totalreserve_pages(std::span<const Zone> zones);

struct PcpSize {
  std::uint32_t high, batch;  // batch is the effective one: >= 1
  friend bool operator==(const PcpSize&, const PcpSize&) = default;
};
PcpSize pcp_size_for(std::uint64_t zone_pages, unsigned page_shift);

}  // namespace memtorture::page
