// Which zones may serve a request, and in which order (domain.md 3.4, 3.5).
//
// Each node has two lists: FALLBACK (all nodes, its own first) and NOFALLBACK (__GFP_THISNODE). Within a node zones
// stand from high to low. The lists are cut for each highest allowed zone when they are built, so that a walk has no
// zones to skip.
#pragma once

#include <cstdint>
#include <iterator>
#include <optional>
#include <span>

#include "allocator/page/zone.h"

namespace memtorture::page {

struct Zonelist {
  std::uint8_t count = 0;
  std::uint8_t zones[zones_max];  // indices of Zone, best first
  std::span<const std::uint8_t> all() const { return {zones, count}; }
};

// The list without the zones of other nodes.
Zonelist on_nodes(const Zonelist& list, std::span<const Zone> zones, machine::NodeSet nodes);

enum class Fallback : std::uint8_t { all_nodes, this_node };

class Zonelists {
 public:
  void build(std::span<const Zone> zones, unsigned nodes, unsigned cpus);
  const Zonelist& of(unsigned node, ZoneKind highest, Fallback fallback) const {
    return lists_[node][machine::index_of(highest)][static_cast<unsigned>(fallback)];
  }

 private:
  Zonelist lists_[machine::nodes_max][zone_kinds][2];
};

// The highest zone that the modifiers allow; nothing for an illegal combination. `kinds`: what the layout has
// (boot::zone_kinds_of); a modifier naming another zone means Normal.
std::optional<ZoneKind> gfp_zone(gfp_t gfp, unsigned kinds);

// The same, looked up: made once at boot for the kinds of the machine.
class ZoneTable {
 public:
  void build(unsigned kinds) {
    for (gfp_t bits = 0; bits != std::size(highest_); ++bits) {
      const std::optional<ZoneKind> highest = gfp_zone(bits, kinds);
      highest_[bits] = static_cast<std::uint8_t>(highest ? machine::index_of(*highest) : illegal);
    }
  }
  bool is_legal(gfp_t gfp) const { return highest_[gfp & subject::gfp_zone_mask] != illegal; }
  ZoneKind highest(gfp_t gfp) const { return static_cast<ZoneKind>(highest_[gfp & subject::gfp_zone_mask]); }

 private:
  static constexpr std::uint8_t illegal = zone_kinds;
  std::uint8_t highest_[subject::gfp_zone_mask + 1] = {};
};

// CPUs are dealt to the nodes in turn.
constexpr unsigned node_of_cpu(unsigned cpu, unsigned nodes) { return cpu % nodes; }

}  // namespace memtorture::page
