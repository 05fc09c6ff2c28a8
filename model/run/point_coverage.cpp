#include "model/run/point_coverage.h"

#include <algorithm>
#include <iterator>

namespace memtorture::run {

using machine::ContextKind;
using machine::Move;

namespace {

constexpr machine::Site masked[] = {"k12.lock",    "k12.unlock",    "mempool.lock", "mempool.unlock", "page.expand",
                                    "page.merge",  "pcp.alloc",     "pcp.drain",    "pcp.free",       "pcp.refill",
                                    "percpu.lock", "percpu.unlock", "reclaim.page", "slab.flush",     "slab.lock",
                                    "slab.refill", "slab.unlock",   "zone.lock",    "zone.unlock"};

bool is_masked(machine::Site site) { return std::ranges::find(masked, site) != std::end(masked); }

}  // namespace

std::string_view why_never(machine::Site site, Way way) {
  if (site.is_fault()) return "it fails or does not: nothing else is decided there";
  if (site == machine::Site("sched.wake")) return "only who wakes is decided there";
  if (site == machine::Site("slab.reap") && way == Way::migrate) return "a CPU's worker stays on its CPU";
  if (way != Way::other_cpu && way != Way::nmi && is_masked(site)) return "interrupts are off there";
  return "";
}

bool CoverageChooser::interested(const machine::Moment& moment) {
  asked_ = inner_.interested(moment);
  return true;
}

std::uint32_t CoverageChooser::choose(const machine::Moment& moment, std::span<const machine::Option> options) {
  for (const machine::Option& option : options) count(coverage_.offered, moment.site, option);
  const std::uint32_t chosen = asked_ ? inner_.choose(moment, options) : 0;
  if (chosen < options.size()) count(coverage_.taken, moment.site, options[chosen]);
  return chosen;
}

// A handler that comes to another CPU says nothing about this site.
void CoverageChooser::count(PointCoverage::Counts& counts, machine::Site site, const machine::Option& option) const {
  auto& row = counts[site.index()];
  const auto add = [&](Way way) { ++row[static_cast<unsigned>(way)]; };
  const unsigned here = machine::current().cpu;
  const machine::Machine& machine = machine::this_machine();
  switch (option.move) {
    case Move::switch_to: return add(machine.cpu_of(option.whom) == here ? Way::preempt : Way::other_cpu);
    case Move::migrate: return add(Way::migrate);
    case Move::deliver: {
      if (option.whom >= case_.programs.size() || machine.cpu_of(option.whom) != here) return;
      const ContextKind kind = case_.programs[option.whom].kind;
      return add(kind == ContextKind::softirq ? Way::softirq : kind == ContextKind::hardirq ? Way::hardirq : Way::nmi);
    }
    case Move::go_on:
    case Move::fail:
    case Move::fail_from:
    case Move::wake: return;
  }
}

}  // namespace memtorture::run
