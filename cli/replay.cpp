// memtorture replay: one case again, with everything there is to say about it.
//
// The last line says how it compares with what the file expects. The exit code is the class of what happened, so that
// `git bisect run memtorture replay FILE` finds the change that brought a bug in, or took it out.
#include <fmt/format.h>

#include "cli/command.h"
#include "cli/io.h"
#include "cli/judging.h"
#include "model/program/legal.h"
#include "model/program/text.h"

namespace memtorture::cli {
namespace {

using program::Verdict;

struct Options {
  std::string file;
  std::uint32_t audit_every = run::audit_at_end;
};

std::string drift_words(const program::Case& the_case, std::int64_t index) {
  const auto& departure = the_case.departures[static_cast<std::size_t>(index)];
  return fmt::format("drifted at step {} of {}: {}.{} ! {} was not taken", index + 1, the_case.departures.size(),
                     program::context_name(departure.at.who, the_case), departure.at.op,
                     program::print_departure(departure, the_case));
}

struct Comparison {
  std::string words;
  Exit code;
};

Comparison compare(const program::Case& the_case, const run::Outcome& outcome) {
  const Exit code = exit_of(outcome.verdict);
  const bool drifted = outcome.drifted_at >= 0;
  if (as_expected(the_case.expect, outcome)) return {"same", code};
  if (outcome.verdict == Verdict::drifted && drifted) return {drift_words(the_case, outcome.drifted_at), code};
  if (outcome.verdict == Verdict::pass) {
    // A bug that is gone is good news; a crime or a stop that is not noticed any more is not.
    const bool bug_is_gone = exit_of(the_case.expect.verdict) != Exit::ok;
    return {fmt::format("passes (expected {})", expect_words(the_case.expect)), bug_is_gone ? Exit::ok : Exit::finding};
  }
  std::string words =
      fmt::format("different: expected {}, got {}", expect_words(the_case.expect), verdict_words(outcome));
  if (drifted) words += "; " + drift_words(the_case, outcome.drifted_at);
  return {words, code == Exit::ok ? Exit::finding : code};
}

Exit act(const Options& options) {
  const program::Case the_case = read_case(options.file);
  const run::Outcome outcome = look(the_case, {.audit_every = options.audit_every});
  print(run::print_history(the_case, outcome.history, outcome.object_reports));
  if (outcome.verdict != Verdict::pass) print(run::print_report(the_case, outcome));
  const Comparison comparison = compare(the_case, outcome);
  print(fmt::format("{}: {}\n", options.file, comparison.words));
  return comparison.code;
}

}  // namespace

void add_replay(Command& command) {
  CLI::App& verb =
      *command.app.add_subcommand("replay", "Run one case and tell all about it: history, report, comparison");
  auto options = std::make_shared<Options>();
  verb.add_option("FILE", options->file, "A case, or raw fuzz bytes; - is standard input")
      ->required()
      ->type_name("FILE");
  add_audit(verb, options->audit_every);
  verb.footer(
      "The last line is one of\n"
      "  same         it gives what the file expects\n"
      "  different    it gives another verdict or breaks another rule\n"
      "  drifted      at step N: that departure of the schedule no longer applies\n"
      "  passes       the bug that the file expects is gone\n"
      "and the exit code is the class of what happened (0: no bug).\n\n"
      "Examples:\n"
      "  memtorture replay out/found/FILE.case\n"
      "  git bisect run ci/memtorture replay FILE.case\n");
  on_chosen(command, verb, options, act);
}

}  // namespace memtorture::cli
