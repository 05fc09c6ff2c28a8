#include "cli/judging.h"

#include <fmt/format.h>

#include "cli/io.h"

namespace memtorture::cli {

using program::Verdict;
using run::Outcome;

namespace {
run::Options keeping(run::Options options, run::Keep keep) {
  options.keep = keep;
  return options;
}
}  // namespace

bool is_death(Verdict verdict) {
  return verdict == Verdict::crash || verdict == Verdict::hang || verdict == Verdict::out_of_memory;
}

shrink::Judge judge_here(const run::Options& options, std::string wanted_signature) {
  return [runner = std::make_shared<run::Runner>(), options, wanted = std::move(wanted_signature)](
             const program::Case& c, run::Keep keep) {
    const Outcome& quick = runner->replay(c, options);
    return run::signature(c, quick) == wanted ? run::replay(c, keeping(options, keep)) : quick;
  };
}

shrink::Judge judge_sandboxed(const run::Options& options) {
  return [options](const program::Case& c, run::Keep keep) {
    constexpr run::SandboxLimits limits{.seconds = 3};  // a candidate is smaller than what hung: it has no excuse
    return run::replay_sandboxed(c, keeping(options, keep), limits);
  };
}

Outcome look(const program::Case& the_case, const run::Options& options) {
  const run::Options kept = keeping(options, run::Keep::history);
  Outcome outcome = run::replay_sandboxed(the_case, kept);
  return is_death(outcome.verdict) ? outcome : run::replay(the_case, kept);
}

namespace {
std::string words(Verdict verdict, std::string_view rule) {
  const std::string_view name = program::verdict_names[static_cast<unsigned>(verdict)];
  return rule.empty() ? std::string(name) : fmt::format("{} {}", name, rule);
}
}  // namespace

std::string verdict_words(const Outcome& outcome) { return words(outcome.verdict, outcome.finding.rule); }
std::string expect_words(const program::Expect& expect) { return words(expect.verdict, expect.rule); }

std::string size_words(const shrink::Progress& size) {
  return fmt::format("{}, {}, {}", counted(size.operations, "operation"), counted(size.faults, "fault"),
                     counted(size.departures, "departure"));
}

}  // namespace memtorture::cli
