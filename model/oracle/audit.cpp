// White box: the subject's lists, counters, descriptors and marks against the ledger, at quiescent points.
//
// Every listed block must be exactly a free block of the ledger, no block twice, and as many as the ledger has: that is
// membership, alignment, bounds, maximal coalescing and completeness in one comparison. Memory that no operation has
// touched comes as runs of maximal blocks and is compared as such.
//
// Not checked: descriptors behind the head of untouched blocks; fields of blemished pages.
#include <fmt/core.h>

#include <algorithm>

#include "model/oracle/state.h"

namespace memtorture::oracle {

namespace {

struct Run {
  Pfn first;
  std::uint64_t blocks;
};

std::vector<Run> free_runs(subject::PagesView& view, unsigned zone, unsigned order) {
  std::vector<Run> runs;
  view.for_each_free(
      zone, order,
      [](void* arg, Pfn first, std::uint64_t blocks) {
        static_cast<std::vector<Run>*>(arg)->push_back({first, blocks});
      },
      &runs);
  std::ranges::sort(runs, {}, &Run::first);
  return runs;
}

std::vector<Pfn> pcp_pages(subject::PagesView& view, unsigned zone, unsigned cpu) {
  std::vector<Pfn> pages;
  view.for_each_pcp(
      zone, cpu, [](void* arg, Pfn page) { static_cast<std::vector<Pfn>*>(arg)->push_back(page); }, &pages);
  return pages;
}

constexpr std::uint32_t compound_marks = subject::pg_head | subject::pg_tail;

}  // namespace

struct Oracle::State::Auditor {
  State& s;
  subject::PagesView& view;

  Ruling free_lists(unsigned z, const subject::ZoneInfo& info);
  Ruling listed_alone(unsigned z, unsigned order, Pfn first);
  Ruling listed_run(unsigned z, unsigned order, const Run& stretch);
  Ruling outside(std::uint64_t first);
  Ruling listed(unsigned z, unsigned order, Pfn first);
  Ruling free_descriptor(unsigned order, Pfn first);
  Ruling per_cpu(unsigned z);
  Ruling counters(unsigned z, const subject::ZoneInfo& info);
  bool maybe_element(const Object& block) const;
  Ruling live_blocks();
  Ruling clients();
};

Ruling Oracle::State::audit(subject::PagesView& view) {
  if (panicked) return Ruling::fine;
  if (over) return first_finding.rule.empty() ? Ruling::fatal : Ruling::broken;
  settle_unannounced();
  if (mutators != 0) return Ruling::fine;  // not quiescent
  const auto zones = view.zones();
  if (const auto difference = geometry.layout_differs(zones))
    return broken("zone.layout", machine::no_pfn, *difference);
  if (const auto difference = geometry.marks_differ(zones))
    return broken("wmark.formula", machine::no_pfn, *difference);
  if (const auto difference = geometry.pcp_differs(zones)) return broken("pcp.size", machine::no_pfn, *difference);
  Auditor auditor{*this, view};
  for (unsigned z = 0; z != geometry.count(); ++z) {
    if (const Ruling ruling = auditor.free_lists(z, zones[z]); ruling != Ruling::fine) return ruling;
    if (promises.traces_placement) {
      if (const Ruling ruling = auditor.per_cpu(z); ruling != Ruling::fine) return ruling;
    }
    if (const Ruling ruling = auditor.counters(z, zones[z]); ruling != Ruling::fine) return ruling;
  }
  if (const Ruling ruling = auditor.live_blocks(); ruling != Ruling::fine) return ruling;
  return auditor.clients();
}

Ruling Oracle::State::Auditor::free_lists(unsigned z, const subject::ZoneInfo& info) {
  for (unsigned order = 0; order != s.ledger.orders(); ++order) {
    std::uint64_t blocks = 0;
    std::uint64_t next = 0;
    for (const Run& stretch : free_runs(view, z, order)) {
      if (blocks != 0 && stretch.first < next)
        return s.broken("buddy.double", stretch.first,
                        fmt::format("block {} order {} is listed twice", stretch.first, order));
      next = stretch.first + (stretch.blocks << order);
      blocks += stretch.blocks;
      const Ruling ruling = stretch.blocks == 1 ? listed_alone(z, order, stretch.first) : listed_run(z, order, stretch);
      if (ruling != Ruling::fine) return ruling;
    }
    const std::uint64_t right = s.ledger.zone(z).nr_free[order];
    if (info.nr_free[order] != blocks) {
      return s.broken("buddy.count", machine::no_pfn,
                      fmt::format("nr_free[{}] is {}, the list has {}", order, info.nr_free[order], blocks));
    }
    if (blocks != right) {
      return s.broken("buddy.lost", machine::no_pfn,
                      fmt::format("{} has {} listed blocks of order {}, the free frames make {}",
                                  machine::zone_names[s.geometry.zone(z).kind], blocks, order, right));
    }
  }
  return Ruling::fine;
}

Ruling Oracle::State::Auditor::listed_alone(unsigned z, unsigned order, Pfn first) {
  if (first >= s.geometry.frames()) return outside(first);
  const Ruling ruling = listed(z, order, first);
  return ruling != Ruling::fine ? ruling : free_descriptor(order, first);
}

// Blocks of the top order that no operation has touched are counted and not looked at: there may be 2^28 of them.
Ruling Oracle::State::Auditor::listed_run(unsigned z, unsigned order, const Run& stretch) {
  const std::uint64_t end = stretch.first + (stretch.blocks << order), last = end - (std::uint64_t{1} << order);
  if (last >= s.geometry.frames()) return outside(last);
  if (order + 1 != s.ledger.orders()) {
    for (std::uint64_t first = stretch.first; first != end; first += std::uint64_t{1} << order) {
      if (const Ruling ruling = listed(z, order, static_cast<Pfn>(first)); ruling != Ruling::fine) return ruling;
    }
    return Ruling::fine;
  }
  for (const std::uint32_t chunk : s.ledger.chunks_touched()) {
    const Pfn first = chunk << order | (stretch.first & ((1u << order) - 1));
    if (first < stretch.first || first >= end) continue;
    if (const Ruling ruling = listed(z, order, first); ruling != Ruling::fine) return ruling;
  }
  return Ruling::fine;
}

Ruling Oracle::State::Auditor::outside(std::uint64_t first) {
  return s.broken("buddy.bound", static_cast<Pfn>(first), "a listed block lies outside of RAM");
}

Ruling Oracle::State::Auditor::listed(unsigned z, unsigned order, Pfn first) {
  const Zone& zone = s.geometry.zone(z);
  if ((first & ((1u << order) - 1)) != 0 || first < zone.start || std::uint64_t{first} + (1u << order) > zone.end) {
    return s.broken("buddy.bound", first,
                    fmt::format("listed block {} order {} is not whole in its zone", first, order));
  }
  if (s.ledger.at(first) == free_entry(order)) return Ruling::fine;
  const Ledger::Found found = s.ledger.find(first);
  const std::string what = fmt::format("listed as free block {} order {} while {}", first, order, s.whose(first));
  switch (found.entry.holds()) {
    case Holds::free:
      return found.order > order ? s.broken("buddy.coalesce", first, what) : s.broken("page.overlap", first, what);
    case Holds::parked: return s.broken("pcp.double", first, what);
    case Holds::bad: return s.broken("page.bad", first, what);
    case Holds::nothing: return s.broken("page.reserved", first, what);
    default: return s.broken("page.overlap", first, what);
  }
}

Ruling Oracle::State::Auditor::free_descriptor(unsigned order, Pfn first) {
  if (!s.flaws.empty() && s.flaws_in(first, 1u << order) != 0) return Ruling::fine;
  const subject::PageInfo head = view.page(first);
  if (head.count != 0 || head.mapcount != 0 || head.mapping || (head.flags & ~subject::pg_buddy) != 0 ||
      (head.flags & subject::pg_buddy) == 0 || head.private_ != order) {
    return s.broken("buddy.mark", first,
                    fmt::format("free block {} order {}: count {} flags {:#x} private {}", first, order, head.count,
                                head.flags, head.private_));
  }
  for (unsigned half = 0; half != order; ++half) {  // where heads of smaller blocks used to be
    const subject::PageInfo inner = view.page(first + (1u << half));
    if (inner.count != 0 || inner.flags != 0)
      return s.broken("buddy.mark", first + (1u << half),
                      fmt::format("inside a free block: count {} flags {:#x}", inner.count, inner.flags));
  }
  return Ruling::fine;
}

Ruling Oracle::State::Auditor::per_cpu(unsigned z) {
  for (unsigned cpu = 0; cpu != s.shape.cpus; ++cpu) {
    std::vector<Pfn> pages = pcp_pages(view, z, cpu);
    for (const Pfn page : pages) {
      if (s.geometry.absent(page)) return s.broken("page.reserved", page, "an absent frame is on a per-CPU list");
      if (s.ledger.at(page) != Entry(Holds::parked, cpu)) {
        const std::string what = fmt::format("frame {} is on cpu {}'s list while {}", page, cpu, s.whose(page));
        return s.ledger.find(page).entry.holds() == Holds::free ? s.broken("pcp.double", page, what)
                                                                : s.broken("page.overlap", page, what);
      }
      const subject::PageInfo info = view.page(page);
      const bool flawed = !s.flaws.empty() && s.flaws_in(page, 1) != 0;
      if (!flawed && (info.count != 0 || info.flags != 0))
        return s.broken("buddy.mark", page,
                        fmt::format("on a per-CPU list: count {} flags {:#x}", info.count, info.flags));
    }
    std::ranges::sort(pages);
    if (const auto twice = std::ranges::adjacent_find(pages); twice != pages.end())
      return s.broken("pcp.double", *twice, fmt::format("frame {} is twice on cpu {}'s list", *twice, cpu));
    if (s.is_surely_offline(cpu) && !pages.empty())
      return s.broken("cpu.left", pages.front(),
                      fmt::format("{} pages on the list of cpu {}, which has gone", pages.size(), cpu));
    const std::uint32_t right = s.ledger.parked(z, cpu), counter = view.pcp_count(z, cpu);
    if (counter != pages.size())
      return s.broken("pcp.count", machine::no_pfn,
                      fmt::format("count of cpu {} is {}, the list has {}", cpu, counter, pages.size()));
    if (right != pages.size())
      return s.broken("buddy.lost", machine::no_pfn,
                      fmt::format("cpu {}'s list has {} pages, {} were put there", cpu, pages.size(), right));
  }
  return Ruling::fine;
}

Ruling Oracle::State::Auditor::counters(unsigned z, const subject::ZoneInfo& info) {
  const ZoneState& zone = s.ledger.zone(z);
  if (info.nr_free_pages != zone.free)
    return s.broken("buddy.count", machine::no_pfn,
                    fmt::format("NR_FREE_PAGES of {} is {}, not {}", machine::zone_names[s.geometry.zone(z).kind],
                                info.nr_free_pages, zone.free));
  const std::uint64_t accounted = info.nr_free_pages + zone.parked + zone.live + zone.clients + zone.bad;
  if (accounted != info.managed)
    return s.broken("page.conserve", machine::no_pfn,
                    fmt::format("{} of {} managed frames are accounted for", accounted, info.managed));
  return Ruling::fine;
}

// A block of a layer is a slab, or an element of a page pool, or a chunk of per-CPU memory.
bool Oracle::State::Auditor::maybe_element(const Object& block) const {
  if (s.percpu_layout.unit_bytes != 0 &&
      s.shape.page_bytes() << block.order >= s.percpu_layout.unit_bytes * s.percpu_layout.units)
    return true;
  return std::ranges::any_of(
      s.pools, [&](const PoolRecord& p) { return p.kind == subject::PoolKind::pages && p.order == block.order; });
}

Ruling Oracle::State::Auditor::live_blocks() {
  for (const Object& object : s.ledger.objects()) {
    if (object.serial == 0 || (!s.flaws.empty() && s.flaws_in(object.first, 1u << object.order) != 0)) continue;
    const subject::PageInfo head = view.page(object.first);
    const bool is_slab =
        object.layer && !object.stack && !s.buckets && !((head.flags & subject::pg_slab) == 0 && maybe_element(object));
    const std::uint32_t own_mark = is_slab ? static_cast<std::uint32_t>(subject::pg_slab) : 0;
    const std::uint32_t head_marks = own_mark | (object.compound ? static_cast<std::uint32_t>(subject::pg_head) : 0);
    // What a layer keeps in the descriptors of its pages is its own business.
    if (head.count != static_cast<int>(object.references) || head.mapcount != 0 || (head.mapping && !object.layer) ||
        head.flags != head_marks) {
      return s.broken("page.descriptor", object.first,
                      fmt::format("block {} order {}: count {} flags {:#x}, right are {} and {:#x}", object.first,
                                  object.order, head.count, head.flags, object.references, head_marks));
    }
    for (std::uint32_t i = 1; i != 1u << object.order; ++i) {
      const subject::PageInfo inner = view.page(object.first + i);
      const std::uint32_t marks = object.compound ? static_cast<std::uint32_t>(subject::pg_tail) : 0;
      if ((!object.compound && inner.count != 0) || (inner.flags & subject::pg_slab) != own_mark ||
          (inner.flags & (compound_marks | subject::pg_buddy)) != marks) {
        return s.broken(
            "page.descriptor", object.first + i,
            fmt::format("frame {} of block {}: count {} flags {:#x}", i, object.first, inner.count, inner.flags));
      }
    }
  }
  return Ruling::fine;
}

Ruling Oracle::State::Auditor::clients() {
  for (unsigned kind = 0; kind != subject::client_kinds; ++kind) {
    std::uint64_t right = 0;
    for (unsigned z = 0; z != s.geometry.count(); ++z) right += s.ledger.zone(z).client_pages[kind];
    const std::uint64_t told = view.client_pages(static_cast<subject::ClientKind>(kind));
    if (told != right)
      return s.broken(
          "client.count", machine::no_pfn,
          fmt::format("{} clients hold {} pages, {} were granted", subject::client_names[kind], told, right));
  }
  return Ruling::fine;
}

}  // namespace memtorture::oracle
