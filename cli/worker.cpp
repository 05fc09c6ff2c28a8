#include "cli/worker.h"

#include <unistd.h>

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/judging.h"
#include "model/program/edits.h"
#include "model/program/text.h"
#include "model/shrink/found.h"

namespace memtorture::cli {

using program::Verdict;
using run::Outcome;

namespace {
constexpr auto relaxed = std::memory_order_relaxed;
constexpr std::chrono::seconds shrink_time(
    10);  // a livelock takes long to show, every time; `memtorture shrink` goes on
}  // namespace

Worker::Worker(const SearchOptions& options, Board& board, unsigned job, int messages, Clock::time_point started)
    : options_(options),
      board_(board),
      column_(board.columns[job]),
      messages_(messages),
      started_(started),
      run_options_{.audit_every = options.audit_every} {}

void Worker::search() {
  auto runner = std::make_unique<run::Runner>();
  while (!board_.stop_search.load(relaxed)) {
    const std::uint64_t run = board_.next_run.fetch_add(1, relaxed);
    if (options_.runs != 0 && run >= options_.runs) return;
    column_.run_index.store(run, relaxed);
    enter(Phase::searching);
    Trial one = trial(run);
    auto chooser = options_.generator.chooser(one.seed, one.the_case);
    const Outcome& outcome = runner->run(one.the_case, chooser, run_options_);
    column_.count(outcome);
    if (!outcome.is_bug()) continue;
    found(std::move(one), outcome, Where::here);
    runner = std::make_unique<run::Runner>();  // who knows what a broken subject left behind
  }
}

Worker::Trial Worker::trial(std::uint64_t run) const {
  Trial trial{.run = run, .seed = case_seed(options_.seed, run), .the_case = {}};
  trial.the_case = options_.generator.generate(trial.seed);
  return trial;
}

void Worker::found(Trial trial, const Outcome& outcome, Where where) {
  if (!board_.claim(run::signature(trial.the_case, outcome))) {
    column_.repeated.fetch_add(1, relaxed);
    return;
  }
  const Discovery discovery = discovered(trial, outcome);
  tell({{"spotted", discovery}});
  save(std::move(trial), outcome, where, discovery);
}

Discovery Worker::discovered(const Trial& trial, const Outcome& outcome) const {
  return {.verdict = std::string(program::verdict_names[static_cast<unsigned>(outcome.verdict)]),
          .rule = std::string(outcome.finding.rule),
          .signature = run::signature(trial.the_case, outcome),
          .path = {},
          .runs = board_.runs(),
          .seconds = std::chrono::duration<double>(Clock::now() - started_).count(),
          .seed = trial.seed,
          .run = trial.run};
}

shrink::Judge Worker::judge(Where where, const std::string& signature) const {
  return [this, judge = where == Where::here ? judge_here(run_options_, signature) : judge_sandboxed(run_options_)](
             const program::Case& c, run::Keep keep) {
    column_.pulse.fetch_add(1, relaxed);
    return judge(c, keep);
  };
}

void Worker::save(Trial trial, const Outcome& outcome, Where where, Discovery discovery) {
  enter(where == Where::here ? Phase::shrinking : Phase::aftermath);
  const std::string generator = options_.generator.words();
  trial.the_case.comment = {
      fmt::format("found by: memtorture check --seed {}{}, run {}", options_.seed, generator, trial.run),
      fmt::format("the whole: memtorture gen --seed {}{} --run", trial.seed, generator)};
  if (options_.audit_every != run::audit_at_end)
    trial.the_case.comment.push_back("audit: --audit " + audit_word(options_.audit_every));
  // Each candidate in a sandbox is a process: fewer of them, or a crash early in a search eats its time.
  const std::uint64_t budget = where == Where::here ? 20'000 : 1'500;
  const auto until = Clock::now() + shrink_time;
  const auto enough = [this, until] { return board_.stop_shrink.load(relaxed) || Clock::now() > until; };
  const shrink::Options shrink_options{.runs_budget = budget, .stop = enough};
  const auto saved =
      shrink::save(options_.out, trial.the_case, outcome, judge(where, discovery.signature), shrink_options);
  if (!saved)
    return tell({{"lost", saved.error()}, {"case", program::print(shrink::reproducer(trial.the_case, outcome))}});
  const shrink::Progress size = shrink::measure(saved->result.smallest);
  discovery.path = saved->path.string();
  discovery.signature = saved->signature;
  discovery.operations = size.operations;
  discovery.faults = size.faults;
  discovery.departures = size.departures;
  discovery.is_new = saved->is_new;
  // Told to stop at once, the minimiser has not looked even once.
  discovery.reproduced = saved->result.reproduced || enough();
  tell({{"saved", discovery}});
}

void Worker::aftermath(const Death& death) {
  column_.run_index.store(death.run, relaxed);
  enter(Phase::aftermath);
  Trial one = trial(death.run);
  if (death.phase == Phase::shrinking) {  // the run itself does not kill, some candidate did
    auto chooser = options_.generator.chooser(one.seed, one.the_case);
    const Outcome outcome = run::run(one.the_case, chooser, run_options_);
    const Discovery discovery = discovered(one, outcome);
    return save(std::move(one), outcome, Where::sandbox, discovery);
  }
  auto chooser = options_.generator.chooser(one.seed, one.the_case);
  std::vector<machine::Departure> taken = run::record_schedule(one.the_case, chooser, run_options_);
  one.the_case.departures = std::move(taken);  // the chooser refers to those that were there
  program::sort_departures(one.the_case);
  run::Options kept = run_options_;
  kept.keep = run::Keep::history;
  const Outcome outcome = run::replay_sandboxed(one.the_case, kept);
  column_.count(outcome);
  if (outcome.is_bug()) return found(std::move(one), outcome, Where::sandbox);
  save_as_it_is(one, death, outcome);
}

void Worker::save_as_it_is(const Trial& trial, const Death& death, const Outcome& alone) {
  Discovery discovery = discovered(trial, alone);
  program::Case the_case = trial.the_case;
  the_case.expect = {Verdict::crash, ""};
  the_case.comment = {
      fmt::format("run {} of memtorture check --seed {}{} killed its process ({}),", trial.run, options_.seed,
                  options_.generator.words(), death.words.substr(0, death.words.find('\n'))),
      "but not again when it was run alone."};
  discovery.verdict = "crash";
  discovery.rule.clear();
  discovery.signature = "crash, not again when alone";
  discovery.reproduced = false;
  discovery.path = fmt::format("{}/crash-run-{}-{}.case", options_.out, options_.seed, trial.run);
  const shrink::Progress size = shrink::measure(the_case);
  discovery.operations = size.operations;
  discovery.faults = size.faults;
  discovery.departures = size.departures;
  tell({{"spotted", discovery}});
  const std::string text = program::print(the_case);
  if (auto written = shrink::write_atomically(discovery.path, text); !written)
    return tell({{"lost", written.error()}, {"case", text}});
  if (auto written = shrink::write_report(discovery.path, the_case, alone); !written)
    return tell({{"lost", written.error()}, {"case", text}});
  tell({{"saved", discovery}});
}

void Worker::tell(const nlohmann::json& message) const {
  const std::string line = message.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t written = ::write(messages_, rest.data(), rest.size());
    if (written < 0) return;  // nobody listens: the watcher is gone
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace memtorture::cli
