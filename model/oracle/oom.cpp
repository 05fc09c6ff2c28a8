// The OOM killer, and what a report of a failed request shows (domain.md 9.5, 9.7).
//
// Who. Points are those of K26's badness(), computed here from what was granted to each process and what programs said
// about it. The victim is a process with most of them that may be killed, or a child of such a one. While somebody else
// adds to processes, drops pages of theirs or says something else about them, it is not known what the subject saw, and
// any that may be killed will do.
//
// When. After a round of reclaim without progress; and while one dies nobody else does, however long it takes
// (P-OOM-1). A victim that is gone holds nothing (P-OOM-4).
//
// Not checked: that a slow victim goes at all, if nobody asks for memory any more; init and kernel threads (P-OOM-2),
// which this machine has not.
#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "model/oracle/state.h"

namespace memtorture::oracle {

using subject::ClientKind;
using subject::ProcessTrait;

namespace {

constexpr std::int32_t oom_disable = -17;

std::uint64_t root_of(std::uint64_t value) {
  std::uint64_t root = 0;
  while ((root + 1) * (root + 1) <= value) ++root;
  return root;
}

}  // namespace

// 9.5: blocking, FS, no NORETRY, and above order 3 or with THISNODE only for NOFAIL.
bool Oracle::State::may_kill(const Flight& f) const {
  const std::uint32_t gfp = scope_masked(f.gfp, f.task_flags);
  const bool nofail = (gfp & subject::gfp_nofail) != 0;
  if (!may_sleep(gfp) || (gfp & subject::gfp_fs) == 0 || (f.task_flags & machine::pf_memalloc) != 0) return false;
  if ((gfp & subject::gfp_noretry) != 0 && !nofail) return false;
  return nofail || (f.order <= costly_order && (gfp & subject::gfp_thisnode) == 0);
}

// ... and only after a round of reclaim without progress; a round makes one kill legal.
bool Oracle::State::oom_possible(const Flight& f) const {
  return may_kill(f) && !f.in_reclaim && f.reclaims != 0 && f.last_progress == 0;
}

bool Oracle::State::is_killable(const ProcessRecord& process) const {
  return process.pages != 0 && process.traits[ProcessTrait::oom_adj] != oom_disable;
}

// badness(): size, and half of the children; less for who has worked long, or is trusted; then what the user says.
std::uint64_t Oracle::State::points_of(unsigned number) const {
  const ProcessRecord& process = processes[number];
  std::uint64_t points = process.pages;
  for (const ProcessRecord& child : processes) {
    if (child.pages != 0 && child.traits[ProcessTrait::parent] == static_cast<std::int32_t>(number))
      points += child.pages / 2 + 1;
  }
  const auto cpu = static_cast<std::uint64_t>(process.traits[ProcessTrait::cpu_seconds]) / 8;
  const auto age = static_cast<std::uint64_t>(process.traits[ProcessTrait::run_seconds]) / 1024;
  if (cpu != 0) points /= root_of(cpu);
  if (age != 0) points /= root_of(root_of(age));
  if (process.traits[ProcessTrait::nice] > 0) points *= 2;
  for (std::int32_t caps = process.traits[ProcessTrait::caps]; caps != 0; caps &= caps - 1) points /= 4;
  const std::int32_t adj = process.traits[ProcessTrait::oom_adj];
  if (adj > 0) return (points == 0 ? 1 : points) << adj;
  return points >> -adj;
}

bool Oracle::State::is_victim(unsigned chosen) const {
  if (!is_killable(processes[chosen])) return false;
  std::uint64_t most = 0;
  for (unsigned i = 0; i != processes.size(); ++i) {
    if (is_killable(processes[i])) most = std::max(most, points_of(i));
  }
  const auto children_die_first = [&](unsigned number) {
    return std::ranges::any_of(processes, [&](const ProcessRecord& child) {
      return is_killable(child) && child.traits[ProcessTrait::parent] == static_cast<std::int32_t>(number);
    });
  };
  if (points_of(chosen) == most && !children_die_first(chosen)) return true;
  const std::int32_t parent = processes[chosen].traits[ProcessTrait::parent];
  return parent >= 0 && is_killable(processes[parent]) && points_of(static_cast<unsigned>(parent)) == most;
}

// Is anybody else in the middle of what changes processes?
bool Oracle::State::others_move_processes(unsigned index) const {
  bool moves = false;
  for_each_context([&](const ContextState& other) {
    const auto changes_processes = [](const Flight& f) {
      if (!f.active) return false;
      if (f.request.act == Act::set_process) return true;
      return (f.request.act == Act::client_add || f.request.act == Act::client_drop) &&
             f.request.byte == static_cast<unsigned>(ClientKind::process);
    };
    if (&other == &contexts[index]) return;
    moves = moves || changes_processes(other.flight) || std::ranges::any_of(other.outer, changes_processes);
  });
  return moves;
}

Ruling Oracle::State::on_chose(const Event& event, unsigned index) {
  Flight& f = contexts[index].flight;
  if (event.value >= processes.size())
    return broken("oom.victim", machine::no_pfn, fmt::format("there is no process {}", event.value));
  if (!f.active || !allocates(f.request.act) || !oom_possible(f) || f.killed)
    return broken("oom.condition", machine::no_pfn,
                  fmt::format("a kill for order {} gfp {:#x} after {} rounds of reclaim", f.order, f.gfp, f.reclaims));
  const auto dying = std::ranges::find_if(processes, &ProcessRecord::dying);
  if (dying != processes.end())
    return broken(
        "oom.condition", machine::no_pfn,
        fmt::format("process {} is killed while process {} still has to go", event.value, dying - processes.begin()));
  const auto victim = static_cast<unsigned>(event.value);
  const bool unsure = others_move_processes(index);
  if (unsure ? processes[victim].traits[ProcessTrait::oom_adj] == oom_disable : !is_victim(victim))
    return unsure ? Ruling::fine
                  : broken("oom.victim", machine::no_pfn,
                           fmt::format("process {} with {} pages and {} points is the victim", victim,
                                       processes[victim].pages, points_of(victim)));
  processes[victim].dying = true;
  f.victim_pages = 0;
  f.slow_exit = false;
  return Ruling::fine;
}

Ruling Oracle::State::on_exited(const Event& event, unsigned index) {
  ProcessRecord& process = processes[event.value % processes.size()];
  if (!std::exchange(process.dying, false))
    return broken("oom.exit", machine::no_pfn, fmt::format("process {} is gone, and nobody killed it", event.value));
  if (process.pages == 0 || others_move_processes(index)) return Ruling::fine;
  return broken("oom.exit", machine::no_pfn,
                fmt::format("process {} is gone, and {} pages are still its own", event.value, process.pages));
}

Ruling Oracle::State::on_killed(const Event& event, Flight& f) {
  if (f.active && allocates(f.request.act) && oom_possible(f) && !f.killed) {
    f.killed = true;
    ++f.kills;
    f.use_reports();
    const std::uint32_t pages = std::exchange(f.victim_pages, 0);
    // Others may have dropped all that it had meanwhile; then it is gone, with nothing.
    const bool is_gone = std::ranges::none_of(processes, &ProcessRecord::dying);
    if (event.value == pages && (pages != 0 || f.slow_exit || is_gone)) return Ruling::fine;
    return broken("client.count", machine::no_pfn,
                  fmt::format("a kill told {} pages, the victim gave up {}", event.value, pages));
  }
  return broken("oom.condition", machine::no_pfn,
                fmt::format("a kill for order {} gfp {:#x} after {} rounds of reclaim", f.order, f.gfp, f.reclaims));
}

Ruling Oracle::State::on_panic(const Event& event, Flight& f) {
  std::uint64_t killable = 0;
  for (const ProcessRecord& process : processes) {
    if (is_killable(process)) killable += process.pages;
  }
  // Who may be killed, and what a process has left, may be changing.
  const bool unsure = others_move_processes(index_of(event.who));
  if (f.active && allocates(f.request.act) && oom_possible(f) && (killable == 0 || unsure)) {
    panicked = true;
    return Ruling::fine;
  }
  return broken("oom.panic", machine::no_pfn,
                fmt::format("a panic for order {} gfp {:#x} with {} pages of processes", f.order, f.gfp, killable));
}

Ruling Oracle::State::judge_set_process(const Event& event, const Flight& f) {
  const auto trait = static_cast<ProcessTrait>(f.request.byte);
  const auto value = static_cast<std::int64_t>(f.request.number);
  const bool right = f.request.count < processes.size() && subject::is_trait_value(trait, value);
  if ((event.value != 0) != right)
    return broken("oom.trait", machine::no_pfn,
                  fmt::format("{} {} of process {} was {}", subject::trait_names[f.request.byte], value,
                              f.request.count, right ? "refused" : "accepted"));
  if (!right) return Ruling::fine;
  const bool of_itself = trait == ProcessTrait::parent && value == static_cast<std::int64_t>(f.request.count);
  processes[f.request.count].traits.value[f.request.byte] = of_itself ? -1 : static_cast<std::int32_t>(value);
  return Ruling::fine;
}

// --- the zones of a failure report
// ------------------------------------------------------------------------------------

Ruling Oracle::State::on_zone_shown(const Event& event, Flight& f) {
  const auto wrong = [&](std::string_view what) {
    return broken("page.report.zones", machine::no_pfn, fmt::format("zone {} is shown {}", event.detail, what));
  };
  constexpr unsigned failure = static_cast<unsigned>(ReportKind::allocation_failure);
  if (!f.active || !f.reports_used || f.seen[failure] == 0) return wrong("without a failure");
  if (event.detail != f.zones_shown || event.detail >= geometry.count()) return wrong("out of turn");
  ++f.zones_shown;
  const Zone& zone = geometry.zone(event.detail);
  if (mark_changers == 0 && !f.unjudged &&
      (event.pfn != zone.mark_min || event.gfp != zone.mark_low || event.value2 != zone.mark_high))
    return wrong(fmt::format("with marks {} {} {}", event.pfn, event.gfp, event.value2));
  const ZoneState& now = ledger.zone(event.detail);
  if (quiet(f) && event.value != now.free)
    return wrong(fmt::format("with {} free pages, there are {}", event.value, now.free));
  return Ruling::fine;
}

Ruling Oracle::State::judge_shown(const Flight& f) {
  constexpr unsigned failure = static_cast<unsigned>(ReportKind::allocation_failure);
  if (!f.reports_used || f.seen[failure] == 0 || f.nmi || f.zones_shown == geometry.count()) return Ruling::fine;
  return broken("page.report.zones", machine::no_pfn,
                fmt::format("a failure report shows {} zones, there are {}", f.zones_shown, geometry.count()));
}

}  // namespace memtorture::oracle
