// What the machine's shape implies before anything ran: zones, marks, reserves, sizes of per-CPU lists, zonelists.
//
// Computed here from the formulas of domain.md 3.2-3.5, 5.2-5.4 and 6.2 (K26 column), never taken from the subject;
// what the subject publishes is compared with it. Where the reference leaves a choice (which of two even divisions of
// RAM over nodes, which overridden value the other follows) the published value is accepted if it is one of the
// choices.
//
// Not checked: the order of remote nodes in a zonelist; distances are not part of a shape.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "allocator/machine/shape.h"
#include "allocator/subject/pages.h"

namespace memtorture::oracle {

using machine::Pfn;
using machine::zone_kinds;

inline constexpr unsigned zones_max = machine::nodes_max * zone_kinds;
using ZoneSet = std::uint16_t;  // bit z = zone z of the geometry
constexpr ZoneSet zone_bit(unsigned zone) { return static_cast<ZoneSet>(1u << zone); }
template <class F>
void for_each_zone(ZoneSet set, F&& f) {
  for (unsigned rest = set; rest != 0; rest &= rest - 1) f(static_cast<unsigned>(std::countr_zero(rest)));
}
static_assert(zones_max <= 16);

inline constexpr unsigned costly_order = 3;  // PAGE_ALLOC_COSTLY_ORDER

struct Zone {
  Pfn start = 0, end = 0;
  std::uint8_t node = 0, kind = 0;
  std::uint64_t present = 0, managed = 0;
  std::uint64_t mark_min = 0, mark_low = 0, mark_high = 0;
  std::array<std::uint64_t, zone_kinds> reserve{};  // lowmem_reserve
  std::uint32_t pcp_high = 0, pcp_batch = 1;
};

struct Marks {
  std::uint64_t min, low, high;
};

// Which zones a request may use, from node `node` with highest allowed kind `high`.
struct Zonelist {
  ZoneSet allowed = 0;  // every zone <= high
  ZoneSet local = 0;    // those of the node itself
  // Index of the preferred zone's kind (domain.md 5.5, K26). Where the node has none of the zones, which one is
  // preferred hangs on the order of nodes, a boot option (3.5): the lowest and the highest that it may be.
  std::uint8_t classzone_least = 0, classzone_most = 0;
};

class Geometry {
 public:
  void build(const machine::Shape& shape, std::span<const subject::ZoneInfo> published);  // cheap for an equal shape
  std::optional<std::string> layout_differs(std::span<const subject::ZoneInfo> published) const;
  std::optional<std::string> marks_differ(std::span<const subject::ZoneInfo> published) const;
  std::optional<std::string> pcp_differs(std::span<const subject::ZoneInfo> published) const;
  void adopt_pcp(std::span<const subject::ZoneInfo> published);  // after pcp_differs() found nothing
  void set_min_free(std::uint64_t kbytes);                       // recomputes every mark (P-WMARK-9)
  void reset_min_free();

  std::span<const Zone> zones() const { return {zones_.data(), count_}; }
  const Zone& zone(unsigned z) const { return zones_[z]; }
  unsigned count() const { return count_; }
  unsigned nodes() const { return shape_.nodes; }
  Pfn frames() const { return frames_; }
  bool absent(Pfn pfn) const { return pfn >= frames_ || (pfn >= shape_.hole_start && pfn < shape_.hole_end); }
  bool reserved(Pfn pfn) const { return pfn < shape_.reserved_pages; }  // of a present frame
  unsigned zone_of(Pfn pfn) const {                                     // of a frame below frames()
    unsigned z = 0;
    while (pfn >= zones_[z].end) ++z;
    return z;
  }
  // The 16 combinations of zone modifiers; none: illegal (domain.md 3.4).
  std::optional<unsigned> highest_kind(std::uint32_t gfp) const {
    const std::uint8_t kind = highest_[gfp & 0xf];
    return kind == 0xff ? std::nullopt : std::optional<unsigned>(kind);
  }
  const Zonelist& zonelist(unsigned node, unsigned high) const { return zonelists_[node][high]; }
  // Zones that come before z in every legal zonelist of `node` (node order and zone order agree on these).
  ZoneSet before(unsigned z, unsigned node) const { return before_[node][z]; }
  std::uint64_t totalreserve() const;
  std::uint32_t min_free_kbytes() const { return static_cast<std::uint32_t>(min_free_kbytes_); }

 private:
  void build_zones(std::span<const subject::ZoneInfo> published);
  void divide(unsigned variant);
  void build_zonelists();
  void build_reserves();
  std::uint64_t default_min_free() const;

  machine::Shape shape_;
  bool built_ = false, marks_changed_ = false;
  Pfn frames_ = 0;
  unsigned count_ = 0;
  std::uint64_t min_free_kbytes_ = 0;
  std::array<Zone, zones_max> zones_{};
  std::array<std::uint8_t, 16> highest_{};
  std::array<std::array<Zonelist, zone_kinds>, machine::nodes_max> zonelists_{};
  std::array<std::array<ZoneSet, zones_max>, machine::nodes_max> before_{};
};

// The pure formulas, for tests.
std::uint64_t int_sqrt(std::uint64_t n);
std::uint32_t pcp_batch_of(std::uint64_t zone_pages, std::uint64_t page_bytes);
Marks marks_of(std::uint64_t pages_min, std::uint64_t zone_pages, std::uint64_t lowmem_pages, bool highmem);

}  // namespace memtorture::oracle
