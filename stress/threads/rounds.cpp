#include "stress/threads/rounds.h"

#include <fmt/format.h>

#include <span>
#include <vector>

#include "model/program/op_table.h"
#include "model/program/text.h"

namespace memtorture::threads {
namespace {

using oracle::Event;
using oracle::EventKind;
using program::Verdict;

// A task that fills memory while kswapd empties it on the same CPU takes some 200'000; a stalled run takes all.
constexpr std::uint64_t steps_budget = 600'000;
constexpr std::size_t history_lines_shown = 60;

std::string_view last_lines(std::string_view text, std::size_t lines) {
  std::size_t at = text.size();
  for (; at != 0; --at) {
    if (text[at - 1] == '\n' && lines-- == 0) break;
  }
  return text.substr(at);
}

// What each program was doing when the run ended: calls that never returned.
std::string in_flight(const program::Case& the_case, std::span<const Event> history) {
  std::vector<const Event*> calls(the_case.programs.size());
  for (const Event& event : history) {
    if (event.who >= calls.size()) continue;
    if (event.kind == EventKind::call) calls[event.who] = &event;
    if (event.kind == EventKind::result) calls[event.who] = nullptr;
  }
  std::string text;
  for (const Event* call : calls) {
    if (call == nullptr || call->op >= the_case.programs[call->who].ops.size()) continue;
    const program::Program& program = the_case.programs[call->who];
    text += fmt::format("  {}.{}: {}\n", program.name, call->op, program::print_op(program.ops[call->op], the_case));
  }
  return text;
}

bool is_sound(Verdict verdict) {
  return verdict == Verdict::pass || verdict == Verdict::panic || verdict == Verdict::stalled;
}

void count(const program::Case& the_case, const Workload& workload, const run::Outcome& outcome, Tally& tally) {
  ++tally.runs;
  tally.ended_early += outcome.verdict != Verdict::pass;
  tally.statistics.add(outcome.statistics);
  const std::size_t shared = shared_slots(the_case, workload);
  for (const Event& event : outcome.history) {
    tally.reclaims += event.kind == EventKind::reclaim_began;
    tally.reports += event.kind == EventKind::reported;
    if (event.kind != EventKind::result || event.who >= the_case.programs.size()) continue;
    const program::Program& program = the_case.programs[event.who];
    tally.handler_operations += program.kind != machine::ContextKind::task;
    if (event.op >= program.ops.size()) continue;
    const program::Op& op = program.ops[event.op];
    tally.caches +=
        std::holds_alternative<program::CacheShrink>(op) || std::holds_alternative<program::CacheDestroy>(op);
    tally.cpus += event.value != 0 && std::holds_alternative<program::CpuDown>(op);
    const bool releases = std::holds_alternative<program::FreePagesOf>(op) ||
                          std::holds_alternative<program::Kfree>(op) ||
                          (workload.blocks_shared != 0 && std::holds_alternative<program::PutPage>(op));
    tally.handovers += releases && program::field_of<program::In>(op)->slot < shared;
  }
}

}  // namespace

std::string run_round(run::Runner& runner, const Workload& workload, std::uint64_t seed, Tally& tally) {
  const program::Case the_case = write_case(workload, seed);
  SeedChooser chooser(seed);
  const run::Outcome& outcome =
      runner.run(the_case, chooser, {.keep = run::Keep::history, .steps_budget = steps_budget});
  count(the_case, workload, outcome, tally);
  if (is_sound(outcome.verdict)) return {};
  return fmt::format("workload {}, seed {}: verdict {}\n{}\n--- in flight\n{}--- the end of the history\n{}",
                     workload.name, seed, program::verdict_names[static_cast<std::size_t>(outcome.verdict)],
                     run::print_report(the_case, outcome), in_flight(the_case, outcome.history),
                     last_lines(run::print_history(the_case, outcome.history), history_lines_shown));
}

}  // namespace memtorture::threads
