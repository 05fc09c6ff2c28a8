// The kernel-style report of how a run ended: what broke, where, the clause, and the life of the frame concerned.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <iterator>

#include "model/program/text.h"
#include "model/run/names.h"

namespace memtorture::run {

using oracle::EventKind;

namespace {

constexpr std::string_view frame_line = "==================================================================\n";

const oracle::RuleRow* find_rule(std::string_view id) {
  const auto row = std::ranges::find(oracle::rule_table(), id, &oracle::RuleRow::id);
  return row == oracle::rule_table().end() ? nullptr : &*row;
}

bool touches(const Event& event, machine::Pfn pfn) {
  if (event.pfn == machine::no_pfn) return false;
  if (event.kind == EventKind::call) return event.op == harness_op && event.pfn == pfn;
  const std::uint64_t frames =
      event.kind == EventKind::result ? std::uint64_t{1} << std::min<unsigned>(event.order, 31) : 1;
  return pfn >= event.pfn && pfn - event.pfn < frames;
}

// Every event of the history that names the frame, in the words of the history.
void print_life(std::string& text, const Case& the_case, const Outcome& outcome) {
  if (outcome.finding.pfn == machine::no_pfn || outcome.history.empty()) return;
  std::vector<Event> life;
  for (const Event& event : outcome.history) {
    if (touches(event, outcome.finding.pfn)) life.push_back(event);
  }
  constexpr std::size_t shown_max = 12;  // the end of a long life is what matters
  if (life.size() > shown_max) life.erase(life.begin(), life.end() - shown_max);
  fmt::format_to(std::back_inserter(text), "Life of frame {}:\n", frame_name(the_case.shape, outcome.finding.pfn));
  for (const Event& event : life) {
    if (event.op == harness_op) {
      text += print_history(the_case, {event});
      continue;
    }
    fmt::format_to(std::back_inserter(text), " {}.{} {}\n", context_name(the_case, event.who), event.op,
                   operation_text(the_case, event.who, event.op));
    text += print_history(the_case, {event});
  }
}

void print_schedule(std::string& text, const Case& the_case, const Outcome& outcome) {
  if (outcome.departures.empty()) return;
  text += "Departures from run-to-completion, in order:\n";
  for (const auto& departure : outcome.departures) {
    fmt::format_to(std::back_inserter(text), " step {:>6}  {}.{}  ! {}\n", departure.step,
                   context_name(the_case, departure.at.who), departure.at.op,
                   program::print_departure(departure, the_case));
  }
}

bool may_be_stuck(Verdict verdict) {
  return verdict == Verdict::stalled || verdict == Verdict::deadlock || verdict == Verdict::livelock ||
         verdict == Verdict::misuse;
}

std::string held_text(machine::LockSet held) {
  std::string text;
  for (machine::LockSet left = held; left != 0; left &= left - 1) {
    const auto lock = static_cast<unsigned>(std::countr_zero(left));
    text += fmt::format("{}{}", text.empty() ? ", holding " : ", ", machine::LockClass::at(lock).name());
  }
  return text;
}

// Who stands where, when not everybody came to his end.
void print_positions(std::string& text, const Case& the_case, const Outcome& outcome) {
  const std::size_t programs = the_case.programs.size();
  std::vector<const Event*> calls(programs), last(programs);
  std::vector<bool> ended(programs);
  for (const Event& event : outcome.history) {
    if (event.who >= programs || event.op == harness_op) continue;
    last[event.who] = &event;
    if (event.kind == EventKind::call) calls[event.who] = &event;
    if (event.kind == EventKind::result) calls[event.who] = nullptr;
    if (event.kind == EventKind::left) ended[event.who] = true;
  }
  if (!may_be_stuck(outcome.verdict) || std::ranges::none_of(calls, [](const Event* call) { return call != nullptr; }))
    return;
  text += "Where everybody is:\n";
  auto out = std::back_inserter(text);
  for (std::size_t i = 0; i != programs; ++i) {
    const auto who = static_cast<ContextId>(i);
    fmt::format_to(out, " {}: ", context_name(the_case, who));
    if (calls[i] != nullptr) {
      fmt::format_to(out, "in {}.{} {}, on cpu{}{}\n", context_name(the_case, who), calls[i]->op,
                     operation_text(the_case, who, calls[i]->op), last[i]->cpu, held_text(last[i]->held));
    } else {
      text += ended[i] ? "at its end\n" : last[i] == nullptr ? "not begun\n" : "between operations\n";
    }
  }
}

}  // namespace

std::string print_report(const Case& the_case, const Outcome& outcome) {
  std::string text(frame_line);
  auto out = std::back_inserter(text);
  const auto& finding = outcome.finding;
  const std::string_view verdict = program::verdict_names[static_cast<unsigned>(outcome.verdict)];
  if (outcome.is_bug()) {
    fmt::format_to(out, "BUG: memtorture: {}{}{}\n", verdict, finding.rule.empty() ? "" : ": ", finding.rule);
  } else {
    fmt::format_to(out, "memtorture: {}{}{}\n", verdict, finding.rule.empty() ? "" : ": ", finding.rule);
  }
  if (!finding.rule.empty()) {
    if (const oracle::RuleRow* rule = find_rule(finding.rule))
      fmt::format_to(out, "Rule:      {} [{}]\n", rule->meaning, rule->source);
    fmt::format_to(out, "Operation: {}.{}: {}\n", context_name(the_case, finding.who),
                   finding.op == harness_op ? 0 : finding.op, operation_text(the_case, finding.who, finding.op));
    if (finding.pfn != machine::no_pfn) fmt::format_to(out, "Frame:     {}\n", frame_name(the_case.shape, finding.pfn));
    if (!finding.detail.empty()) fmt::format_to(out, "Detail:    {}\n", finding.detail);
  }
  fmt::format_to(out, "Machine:   {}\n", program::print_shape(the_case.shape));
  if (!outcome.sandbox_detail.empty()) fmt::format_to(out, "Last words of the subject:\n{}\n", outcome.sandbox_detail);
  print_life(text, the_case, outcome);
  print_positions(text, the_case, outcome);
  print_schedule(text, the_case, outcome);
  text += frame_line;
  return text;
}

}  // namespace memtorture::run
