#include "model/run/tape.h"

#include <algorithm>

#include "model/oracle/lock_order.h"

namespace memtorture::run {

using oracle::EventKind;
using oracle::Ruling;

void Tape::start(const Case& the_case, const Options& options, Outcome& outcome, machine::Machine& machine) {
  case_ = &the_case;
  options_ = options;
  outcome_ = &outcome;
  machine_ = &machine;
  objects_view_ = nullptr;
  over_ = false;
  logging_ = machine::Machine::concurrent();
  tickets_.store(0, std::memory_order_relaxed);
  for (auto& log : logs_) log.clear();
  if (logging_) logs_.resize(the_case.programs.size() + 1 + machine::daemons_max);
}

// One log a program, one for the harness, one a daemon.
std::vector<Tape::Logged>& Tape::log_of(ContextId who) {
  const std::size_t programs = case_->programs.size();
  if (machine::is_daemon(who)) return logs_[programs + 1 + machine::daemon_index(who)];
  return logs_[std::min<std::size_t>(who, programs)];
}

Event Tape::here(EventKind kind) {
  const machine::Context& me = machine::current();
  return {.kind = kind,
          .cpu = me.cpu,
          .who = me.id,
          .irqs = me.irqs,
          .op = me.op,
          .preempt_count = me.preempt_count,
          .held = me.held};
}

void Tape::emit(const Event& event) {
  if (logging_) {
    log_of(event.who).push_back({tickets_.fetch_add(1, std::memory_order_relaxed), event});
    return;
  }
  judge(event);
}

void Tape::judge(const Event& event) {
  if (over_) return;
  if (options_.keep == Keep::history) {
    if (options_.listener != nullptr) options_.listener->on(event);
    outcome_->history.push_back(event);
  }
  count(event);
  conclude(oracle_.on(event));
}

void Tape::conclude(Ruling ruling) {
  if (ruling == Ruling::fine || ruling == Ruling::crime || over_) return;
  over_ = true;
  const bool broken = ruling == Ruling::broken;
  outcome_->verdict = broken ? Verdict::finding : Verdict::misuse;
  outcome_->finding = broken ? oracle_.finding() : oracle_.crime();
  machine_->request_stop();
}

void Tape::judge_logs() {
  logging_ = false;
  std::vector<Logged> all;
  for (auto& log : logs_) {
    all.insert(all.end(), log.begin(), log.end());
    log.clear();
  }
  std::ranges::sort(all, {}, &Logged::ticket);
  for (const Logged& logged : all) judge(logged.event);
}

void Tape::count(const Event& event) {
  Statistics& statistics = outcome_->statistics;
  if (event.kind == EventKind::faulted) ++statistics.faults;
  if (event.kind != EventKind::result || event.op == harness_op) return;
  ++statistics.operations;
  const auto& ops = case_->programs[event.who].ops;
  const std::size_t kind = event.op < ops.size() ? ops[event.op].index() : 0;
  const bool refused = kind <= 7 && event.pfn == machine::no_pfn;
  if (refused) ++statistics.refused;
  if (options_.features.empty()) return;
  // Behaviour: what kind of operation ended how in which state of memory. That it happened, not how often: counts are
  // as good as random, and a fuzzer would keep an input for each.
  const std::size_t feature = (kind << 8 | std::size_t{refused} << 7 | std::size_t{(event.preempt_count != 0)} << 6 |
                               (oracle_.state_class() & 63));
  options_.features[feature & (options_.features.size() - 1)] = 1;
}

void Tape::reported(const machine::Context& context, const machine::Report& report) {
  Event event = here(EventKind::reported);
  event.who = context.id;
  event.detail = static_cast<std::uint8_t>(report.kind);
  event.order = report.order;
  event.pfn = report.pfn;
  event.gfp = report.gfp;
  event.value = static_cast<std::uint64_t>(report.why);
  event.value2 = report.address;
  emit(event);
  if (report.object == nullptr || logging_ || outcome_->history.empty()) return;
  const bool overwritten =
      report.kind == machine::ReportKind::object_redzone || report.kind == machine::ReportKind::object_poison;
  outcome_->object_reports.push_back(
      {outcome_->history.size() - 1, std::string(report.object->cache), report.address, overwritten, *report.object});
  outcome_->object_reports.back().details.cache = {};
}

void Tape::locked(const machine::Context&, machine::LockClass taken, machine::LockSet under, std::uint8_t use) {
  Event event = here(EventKind::locked);
  event.detail = static_cast<std::uint8_t>(taken.index());
  event.value = under;
  event.value2 = use;
  emit(event);
}

void Tape::slept(const machine::Context&) { emit(here(EventKind::slept)); }

void Tape::panicked(const machine::Context&, machine::PanicKind kind) {
  Event event = here(EventKind::panicked);
  event.detail = static_cast<std::uint8_t>(kind);
  emit(event);
}

void Tape::placed(EventKind kind, Pfn page, unsigned cpu) {
  Event event = here(kind);
  event.pfn = page;
  event.cpu = static_cast<std::uint8_t>(cpu);
  emit(event);
}

void Tape::zone_shown(unsigned zone, std::uint64_t free, std::uint64_t min, std::uint64_t low, std::uint64_t high) {
  Event event = here(EventKind::zone_shown);
  event.detail = static_cast<std::uint8_t>(zone);
  event.value = free;
  event.pfn = static_cast<Pfn>(min);
  event.gfp = static_cast<std::uint32_t>(low);
  event.value2 = high;
  emit(event);
}

void Tape::client(EventKind kind, subject::ClientKind client, Pfn page, unsigned process) {
  Event event = here(kind);
  event.value = process;
  event.detail = static_cast<std::uint8_t>(client);
  event.pfn = page;
  emit(event);
}

void Tape::valued(EventKind kind, std::uint64_t value) {
  Event event = here(kind);
  event.value = value;
  emit(event);
}

void Tape::reclaim_began(subject::gfp_t gfp) {
  Event event = here(EventKind::reclaim_began);
  event.gfp = gfp;
  emit(event);
  machine::current().held |= oracle::reclaim_level(gfp).bit();  // what is taken from here on is taken inside
}

void Tape::reclaim_ended(std::uint32_t freed) {
  constexpr machine::LockSet levels = machine::LockClass("reclaim").bit() | machine::LockClass("io_reclaim").bit() |
                                      machine::LockClass("fs_reclaim").bit();
  machine::current().held &= ~levels;
  valued(oracle::EventKind::reclaim_ended, freed);
}

// Free buffers that the request could have been served from instead: on the lists of the node and in its shared array.
// The CPU's own array (CPU 0 is of node 0) only where there is one CPU: elsewhere a task may have come to this one
// after it looked. Who asks for pages from anywhere need not have looked there, who was refused has to.
std::uint8_t Tape::in_reach(const Growth& growth) const {
  if (objects_view_ == nullptr || growth.cache == subject::no_cache) return 0;
  const machine::Shape& shape = machine_->shape();
  const bool own_array = shape.cpus == 1 && (growth.anywhere ? growth.refused : growth.nid == 0);
  std::uint64_t found = own_array ? objects_view_->cpu_array(growth.cache, 0).avail : 0;
  for (unsigned node = 0; node != shape.nodes; ++node) {
    if (!growth.anywhere && static_cast<int>(node) != growth.nid) continue;
    found += objects_view_->cache_node(growth.cache, node).free_objects;
    found += objects_view_->shared_array(growth.cache, node).avail;
  }
  return static_cast<std::uint8_t>(std::min<std::uint64_t>(found, 0xff));
}

void Tape::layer_requests(subject::gfp_t gfp, unsigned order, int nid, std::uint64_t cache) {
  Event event = here(EventKind::layer_requests);
  Growth& growth = growths_[std::min<std::size_t>(event.who, program::programs_max)];
  const bool anywhere = machine_->shape().nodes > 1 && (gfp & subject::gfp_thisnode) == 0;
  growth = {.cache = cache, .nid = nid, .anywhere = anywhere};
  event.detail = in_reach(growth);
  event.gfp = gfp;
  event.order = static_cast<std::uint8_t>(order);
  event.value = static_cast<std::uint64_t>(static_cast<std::int64_t>(nid));
  event.value2 = machine::current().flags;
  emit(event);
}

void Tape::layer_granted(Pfn first) {
  Event event = here(EventKind::layer_granted);
  event.pfn = first;
  event.value2 = ~std::uint64_t{0};
  if (first == machine::no_pfn) {
    Growth& growth = growths_[std::min<std::size_t>(event.who, program::programs_max)];
    growth.refused = true;
    event.detail = in_reach(growth);
  }
  emit(event);
}

void Tape::layer_releases(Pfn first, unsigned order) {
  Event event = here(EventKind::layer_releases);
  event.pfn = first;
  event.order = static_cast<std::uint8_t>(order);
  event.value2 = machine::current().flags;
  emit(event);
}

void Tape::shrink_began(subject::gfp_t gfp) {
  Event event = here(EventKind::shrink_began);
  event.gfp = gfp;
  emit(event);
}

void Tape::work_began() {
  Event event = here(EventKind::work_began);
  event.value2 = machine::current().flags;
  emit(event);
}

void Tape::fault_fired(machine::Site site) {
  Event event = here(EventKind::faulted);
  event.detail = site.index();
  emit(event);
}

}  // namespace memtorture::run
