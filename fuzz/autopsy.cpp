#include "fuzz/autopsy.h"

#include "model/program/edits.h"

namespace memtorture::fuzz {

using program::Case;

Case case_with_departures(std::span<const std::uint8_t> bytes, Scope scope, const run::SandboxLimits& limits) {
  Case the_case = case_of(bytes, scope);
  run::RandomChooser dice = chooser_of(bytes, the_case);
  std::vector<machine::Departure> taken = run::record_schedule(the_case, dice, {}, limits);
  the_case.departures = std::move(taken);  // the dice refer to those that were there
  program::sort_departures(the_case);
  return the_case;
}

std::expected<std::optional<shrink::Found>, std::string> autopsy(std::span<const std::uint8_t> bytes, Scope scope,
                                                                 const std::filesystem::path& found,
                                                                 const run::SandboxLimits& limits) {
  const Case the_case = case_with_departures(bytes, scope, limits);
  const run::Outcome outcome = run::replay_sandboxed(the_case, {}, limits);
  if (!outcome.is_bug()) return std::nullopt;
  // A sandboxed run costs a process, one of a hang its whole time limit.
  const bool slow = outcome.verdict == run::Verdict::hang;
  const auto judge = [&](const Case& candidate, run::Keep keep) {
    return run::replay_sandboxed(candidate, {.keep = keep}, limits);
  };
  auto saved = shrink::save(found, the_case, outcome, judge, {.runs_budget = slow ? 16u : 2'000u});
  if (!saved) return std::unexpected(saved.error());
  return std::move(*saved);
}

}  // namespace memtorture::fuzz
