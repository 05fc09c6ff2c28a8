// Which report is owed, at least and at most, between the call of an operation and its result.
//
// Rulings. The subject does not limit the rate of its reports: one that may be dropped could never be demanded. A
// report that reaches no one's expectation is spurious, under the id of the rule that it accuses the allocator of.
#include <fmt/core.h>

#include <utility>

#include "model/oracle/state.h"

namespace memtorture::oracle {

namespace {

std::string_view reason_name(std::uint64_t reason) {
  return machine::bad_page_reasons[reason < std::size(machine::bad_page_reasons) ? reason : 0];
}

}  // namespace

Ruling Oracle::State::on_report(const Event& event, Flight& f) {
  const auto kind = static_cast<ReportKind>(event.detail);
  const unsigned k = event.detail;
  const std::string_view name = machine::report_table[k].name;
  if (kind == ReportKind::percpu_failed || kind == ReportKind::percpu_limit) {
    if (!on_percpu_report(event, f) && !f.nmi)
      return broken("page.report.spurious", machine::no_pfn, fmt::format("{} after {} of them", name, percpu_told));
  }
  if (f.active) {
    f.use_reports();
    if (f.seen[k] != many) ++f.seen[k];
    if (kind == ReportKind::allocation_failure) f.zones_shown = 0;
    if (f.seen[k] <= f.most[k] || f.most[k] == many) {
      if (kind != ReportKind::bad_page || f.nmi || (f.reasons >> event.value & 1) != 0) return Ruling::fine;
      return wrong_reason(event);
    }
  }
  // What a program's own locks and counts say outside of the allocator is between the program and the machine.
  const bool machines_own = kind == ReportKind::lock_recursion || kind == ReportKind::lock_unowned ||
                            kind == ReportKind::preempt_underflow || kind == ReportKind::bh_enable;
  if (machines_own && !(f.active && enters_allocator(f.request.act))) return Ruling::fine;
  const bool allocating_now = f.active && allocates(f.request.act);
  switch (kind) {
    case ReportKind::allocation_failure:
      if (allocating_now && (f.gfp & subject::gfp_nowarn) != 0)
        return broken("gfp.nowarn", machine::no_pfn, "a failure report in spite of __GFP_NOWARN");
      // Whether it was due shows in the result.
      if (allocating_now && (f.seen[k] == 1 || f.request.act == Act::client_add)) return Ruling::fine;
      break;
    case ReportKind::bad_page:
      if (allocating_now && discard_flawed(f, event.pfn))
        return (flaw_reasons(event.pfn, 1) >> event.value & 1) != 0 ? Ruling::fine : wrong_reason(event);
      break;
    case ReportKind::poison: {
      const std::uint32_t frames =
          allocating_now && event.pfn < geometry.frames() ? 1u << std::min<unsigned>(f.order, machine::orders_max) : 1;
      if (std::erase_if(corrupt, [&](const Corrupt& c) { return c.frame == event.pfn; }) != 0) return Ruling::fine;
      // Told by the block's first frame: one report a corrupted frame.
      for (auto it = corrupt.begin(); it != corrupt.end(); ++it) {
        if (it->frame < event.pfn || it->frame - event.pfn >= frames) continue;
        corrupt.erase(it);
        return Ruling::fine;
      }
      break;
    }
    case ReportKind::object_poison:
      if (on_poison_report(event.value2)) return Ruling::fine;
      break;
    case ReportKind::low_stack: {  // on the way into a handler: whether it was due is judged when it is there
      Footing& footing = context(event.who).footing;
      if (footing.stack == 0 && !std::exchange(footing.told_low, true)) return Ruling::fine;
      return broken("stack.low", frame_of(event.value2), "a report of a low stack by nobody who found one");
    }
    case ReportKind::object_leak: return on_leak_report(event);
    case ReportKind::oom_kill:
      if (allocating_now && oom_possible(f)) return Ruling::fine;
      return broken("oom.condition", machine::no_pfn, "the OOM killer was invoked");
    case ReportKind::sleeping: return broken("ctx.sleeping", machine::no_pfn, "a might_sleep report");
    case ReportKind::scheduling: return broken("ctx.scheduling", machine::no_pfn, "scheduling while atomic");
    case ReportKind::processor_id:
      return broken("ctx.processor-id", machine::no_pfn, "smp_processor_id in preemptible code");
    case ReportKind::preempt_underflow: return broken("ctx.balance", machine::no_pfn, "preempt_count underflow");
    case ReportKind::lock_recursion:
    case ReportKind::lock_unowned: return broken("lock.misuse", machine::no_pfn, std::string(name));
    default: break;
  }
  return broken("page.report.spurious", event.pfn, fmt::format("{} ({})", name, reason_name(event.value)));
}

// A bad page report is owed here, but not for what it says.
Ruling Oracle::State::wrong_reason(const Event& event) {
  return broken("page.report.reason", event.pfn,
                fmt::format("a bad page report for \"{}\" while {}", reason_name(event.value),
                            geometry.absent(event.pfn) ? "absent" : whose(event.pfn)));
}

Ruling Oracle::State::judge_reports(Flight& f) {
  if (!promises.reports) return Ruling::fine;
  f.use_reports();
  using enum ReportKind;
  const auto one = [&](std::initializer_list<ReportKind> kinds, std::string_view what) {
    unsigned seen = 0;
    for (const ReportKind kind : kinds) seen += f.seen[static_cast<unsigned>(kind)];
    if (seen == 1) return Ruling::fine;
    return broken(seen == 0 ? RuleId("page.report.missing") : RuleId("page.report.spurious"), machine::no_pfn,
                  fmt::format("{}: {} reports", what, seen));
  };
  Ruling ruling = Ruling::fine;
  if (f.one_free_report)
    ruling = one({object_double_free, object_invalid_free, object_wrong_cache, bad_object}, "a free that is none");
  if (ruling == Ruling::fine && f.one_access_report)
    ruling = one({out_of_bounds, use_after_free}, "an access outside of an object");
  if (ruling == Ruling::fine) ruling = judge_shown(f);
  if (ruling != Ruling::fine) return ruling;
  for (unsigned k = 0; k != machine::report_kinds; ++k) {
    const std::string_view name = machine::report_table[k].name;
    if (f.seen[k] < f.least[k])
      return broken("page.report.missing", machine::no_pfn,
                    fmt::format("{}: {} came, {} owed", name, f.seen[k], f.least[k]));
    const bool judged_elsewhere =
        k == static_cast<unsigned>(ReportKind::allocation_failure) ||
        k == static_cast<unsigned>(ReportKind::oom_kill) || k == static_cast<unsigned>(ReportKind::poison) ||
        k == static_cast<unsigned>(ReportKind::object_poison) || k == static_cast<unsigned>(ReportKind::object_leak) ||
        (k == static_cast<unsigned>(ReportKind::bad_page) && allocates(f.request.act));
    if (!judged_elsewhere && f.most[k] != many && f.seen[k] > f.most[k]) {
      return broken("page.report.spurious", machine::no_pfn,
                    fmt::format("{}: {} came, {} owed", name, f.seen[k], f.most[k]));
    }
  }
  constexpr unsigned oom = static_cast<unsigned>(ReportKind::oom_kill);
  if (f.seen[oom] != std::min(f.kills, many))
    return broken(f.seen[oom] < f.kills ? RuleId("page.report.missing") : RuleId("page.report.spurious"),
                  machine::no_pfn, fmt::format("{} kills, {} reports of them", f.kills, f.seen[oom]));
  const unsigned context_reports =
      f.seen[static_cast<unsigned>(ReportKind::sleeping)] + f.seen[static_cast<unsigned>(ReportKind::scheduling)];
  if (f.owes_context_report && context_reports == 0)
    return broken("page.report.missing", machine::no_pfn, "no report of sleeping in atomic context");
  return Ruling::fine;
}

}  // namespace memtorture::oracle
