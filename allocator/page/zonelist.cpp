#include "allocator/page/zonelist.h"

namespace memtorture::page {
namespace {

using machine::nodes_max;

constexpr unsigned distance(unsigned a, unsigned b) { return a == b ? 10 : 20; }

// find_next_best_node of 3.5: nearest first, then the next node upwards, nodes without CPUs before others, and then the
// one that came first least often in the lists built so far.
struct NodeOrder {
  unsigned nodes, cpus;
  unsigned load[nodes_max] = {};

  unsigned cost(unsigned local, unsigned node) const {
    constexpr unsigned load_max = nodes_max;
    const unsigned value = distance(local, node) + (node < local ? 1 : 0) + (node < cpus ? 1 : 0);
    return value * load_max * nodes_max + load[node];
  }

  unsigned next(unsigned local, unsigned used) const {
    unsigned best = nodes_max;
    for (unsigned node = 0; node != nodes; ++node) {
      if ((used >> node & 1) != 0) continue;
      if (best == nodes_max || cost(local, node) < cost(local, best)) best = node;
    }
    return best;
  }

  void order_for(unsigned local, unsigned (&order)[nodes_max]) {
    order[0] = local;
    unsigned used = 1u << local;
    for (unsigned i = 1; i != nodes; ++i) {
      order[i] = next(local, used);
      if (distance(local, order[i]) != distance(local, order[i - 1])) load[order[i]] = nodes - i;
      used |= 1u << order[i];
    }
  }
};

void append_node(Zonelist& list, std::span<const Zone> zones, unsigned node, unsigned highest) {
  for (auto zone = zones.rbegin(); zone != zones.rend(); ++zone) {
    if (zone->node == node && machine::index_of(zone->kind) <= highest) list.zones[list.count++] = zone->index;
  }
}

}  // namespace

void Zonelists::build(std::span<const Zone> zones, unsigned nodes, unsigned cpus) {
  NodeOrder by_distance{.nodes = nodes, .cpus = cpus};
  for (unsigned local = 0; local != nodes; ++local) {
    unsigned order[nodes_max];
    by_distance.order_for(local, order);
    for (unsigned highest = 0; highest != zone_kinds; ++highest) {
      auto& [all_nodes, this_node] = lists_[local][highest];
      all_nodes.count = this_node.count = 0;
      for (unsigned i = 0; i != nodes; ++i) append_node(all_nodes, zones, order[i], highest);
      append_node(this_node, zones, local, highest);
    }
  }
}

Zonelist on_nodes(const Zonelist& list, std::span<const Zone> zones, machine::NodeSet nodes) {
  Zonelist left;
  for (const std::uint8_t index : list.all()) {
    if ((nodes >> zones[index].node & 1) != 0) left.zones[left.count++] = index;
  }
  return left;
}

std::optional<ZoneKind> gfp_zone(gfp_t gfp, unsigned kinds) {
  ZoneKind named = ZoneKind::normal;
  switch (gfp & subject::gfp_zone_mask) {
    case 0:
    case subject::gfp_movable: break;
    case subject::gfp_dma:
    case subject::gfp_dma | subject::gfp_movable: named = ZoneKind::dma; break;
    case subject::gfp_dma32:
    case subject::gfp_dma32 | subject::gfp_movable: named = ZoneKind::dma32; break;
    case subject::gfp_highmem:
    case subject::gfp_highmem | subject::gfp_movable: named = ZoneKind::highmem; break;
    default: return std::nullopt;
  }
  return (kinds >> machine::index_of(named) & 1) != 0 ? named : ZoneKind::normal;
}

}  // namespace memtorture::page
