// Watermark arithmetic and rights (domain.md 5.5, 5.6; K26 with the rulings).
//
// A request has up to three stages: the fast pass at LOW, the slow pass at MIN less its rights, and the pass without
// marks. Each is judged twice: `must` with the least that the reference gives it, `may` with the most that it could be
// read to give. The two differ only where the reference is silent, and everywhere else the judgement is exact.
#pragma once

#include <array>
#include <cstdint>

#include "allocator/machine/context.h"
#include "model/oracle/ledger.h"

namespace memtorture::oracle {

enum Right : std::uint8_t { right_high = 1, right_harder = 2, right_no_watermarks = 4 };

struct Rights {
  std::uint8_t must = 0, may = 0;  // Right bits
};

inline Rights rights_of(std::uint32_t gfp, std::uint32_t preempt_count, std::uint32_t task_flags) {
  const bool interrupt = (preempt_count & (machine::softirq_mask | machine::hardirq_mask | machine::nmi_mask)) != 0;
  const bool wait = (gfp & subject::gfp_wait) != 0;
  Rights rights;
  if ((gfp & subject::gfp_high) != 0) rights.must = right_high | (wait ? 0 : right_harder);
  rights.may = rights.must;
  if (!interrupt && (task_flags & machine::pf_realtime) != 0) {
    rights.may |= right_harder;  // the table of 5.6 names blocking requests only
    if (wait) rights.must |= right_harder;
  }
  const bool privileged = (task_flags & (machine::pf_memalloc | machine::tif_memdie)) != 0;
  if (privileged && !interrupt && (gfp & subject::gfp_nomemalloc) == 0) {
    rights.must |= right_no_watermarks;
    rights.may |= right_no_watermarks;
  }
  return rights;
}

inline std::uint64_t effective_mark(std::uint64_t mark, std::uint8_t rights) {
  if ((rights & right_high) != 0) mark -= mark / 2;
  if ((rights & right_harder) != 0) mark -= mark / 4;
  return mark;
}

// zone_watermark_ok of K26 for `free` pages of which nr_free[o] blocks of each order.
inline bool watermark_ok(std::uint64_t nr_free_pages, const std::array<std::uint32_t, machine::orders_max>& nr_free,
                         unsigned order, std::uint64_t mark, std::uint64_t reserve) {
  std::int64_t free = static_cast<std::int64_t>(nr_free_pages) - (std::int64_t{1} << order) + 1;
  std::int64_t min = static_cast<std::int64_t>(mark);
  if (free <= min + static_cast<std::int64_t>(reserve)) return false;
  for (unsigned o = 0; o != order; ++o) {
    free -= static_cast<std::int64_t>(nr_free[o]) << o;
    min >>= 1;
    if (free <= min) return false;
  }
  return true;
}

}  // namespace memtorture::oracle
