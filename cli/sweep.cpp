// memtorture sweep: no error path untested. Lets each visit of each fault site of a case fail, one run each, and says
// in a matrix what became of it.
//
// The work is done in a child: a subject that dies of a failure is a bug like any other, and the rest of the cases is
// swept all the same. What the child was at when it died, and what it had counted until its last whole case, is in
// memory that both share.
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/board.h"
#include "cli/command.h"
#include "cli/generating.h"
#include "cli/io.h"
#include "cli/judging.h"
#include "cli/signals.h"
#include "model/shrink/found.h"
#include "stress/explore/sweep.h"

namespace memtorture::cli {
namespace {

using explore::Attempt;
using explore::Cell;
using explore::Stage;
using explore::SweepTotals;

struct Options {
  std::vector<std::string> paths;
  std::uint32_t visits = 12;
  std::uint64_t generate = 0, seed = 1, pairs = 100, crossed = 100;
  std::string out = "out/found";
  bool no_persistent = false, no_recovery = false, json = false, all_sites = false;
  Generator generator;
};

// Those of files, then the random ones, which are made when they are needed.
class Cases {
 public:
  explicit Cases(const Options& options) : options_(options) {
    for (const std::string& file : find_cases(options.paths)) files_.emplace_back(file, read_case(file));
    if (size() == 0) throw Trouble{Exit::usage, "nothing to sweep: name a FILE or DIR, or --generate N"};
  }
  std::size_t size() const { return files_.size() + options_.generate; }
  std::string name(std::size_t i) const {
    if (i < files_.size()) return files_[i].first;
    return fmt::format("memtorture gen --seed {}{}", seed(i), options_.generator.words());
  }
  program::Case at(std::size_t i) const {
    return i < files_.size() ? files_[i].second : options_.generator.generate(seed(i));
  }

 private:
  std::uint64_t seed(std::size_t i) const { return case_seed(options_.seed, i - files_.size()); }

  const Options& options_;
  std::vector<std::pair<std::string, program::Case>> files_;
};

struct Bug {
  char signature[256], rule[64], path[256], of[256];
  Stage stage;
};

// What child and parent share. All bytes zero is a good one.
struct Ledger {
  SweepTotals totals;  // of whole cases
  std::size_t next;    // case
  Attempt attempt;     // that is being made
  std::uint64_t runs;
  std::atomic<std::uint64_t> pulse;  // moves with every run, shrinking included: who stands still hangs
  static constexpr std::size_t bugs_max = 200;
  Bug bugs[bugs_max];
  std::size_t bugs_told;
  Exit trouble;  // of the harness
  char what[512];
};

template <std::size_t N>
void copy(char (&to)[N], std::string_view from) {
  to[from.copy(to, N - 1)] = '\0';
}

void add(SweepTotals& sum, const SweepTotals& more) {
  sum.cases += more.cases;
  sum.skipped += more.skipped;
  for (std::size_t i = 0; i != explore::stages; ++i) {
    sum.runs[i] += more.runs[i];
    sum.bugs[i] += more.bugs[i];
  }
  sum.visits_left += more.visits_left;
  sum.pairs_left += more.pairs_left;
  sum.crossed_left += more.crossed_left;
  for (std::size_t site = 0; site != sum.cells.size(); ++site) {
    for (std::size_t caller = 0; caller != explore::callers; ++caller) {
      Cell& cell = sum.cells[site][caller];
      const Cell& its = more.cells[site][caller];
      cell.visits += its.visits;
      cell.failed += its.failed;
      cell.survived += its.survived;
      cell.ended += its.ended;
      cell.recovered += its.recovered;
      cell.unrecovered += its.unrecovered;
    }
  }
}

void keep(Ledger& ledger, const Options& options, const std::string& name, const program::Case& the_case,
          const run::Outcome& outcome, Stage stage, const shrink::Judge& judge) {
  const std::string signature = run::signature(the_case, outcome);
  for (std::size_t i = 0; i != ledger.bugs_told; ++i) {
    if (signature.substr(0, sizeof(Bug::signature) - 1) == ledger.bugs[i].signature) return;
  }
  if (ledger.bugs_told == Ledger::bugs_max) return;
  Bug& bug = ledger.bugs[ledger.bugs_told];
  bug.stage = stage;
  copy(bug.signature, signature);
  copy(bug.rule, outcome.finding.rule.empty() ? program::verdict_names[static_cast<unsigned>(outcome.verdict)]
                                              : outcome.finding.rule);
  copy(bug.of, name);
  ++ledger.bugs_told;
  program::Case saved = the_case;
  saved.comment = {fmt::format("found by: memtorture sweep, {} in {}", explore::stage_names[std::size_t(stage)], name)};
  const auto beats = [&ledger] {
    ++ledger.pulse;
    return interrupted();
  };
  const auto found = shrink::save(options.out, std::move(saved), outcome, judge, {.stop = beats});
  if (!found) throw Trouble{Exit::io, found.error()};
  copy(bug.path, found->path.string());
  say(fmt::format("found: {} ({}), saved {}", signature, explore::stage_names[std::size_t(stage)], bug.path));
}

// The body of the child: cases from ledger.next on.
void sweep_cases(Ledger& ledger, const Cases& cases, const Options& options) {
  const SweepTotals before = ledger.totals;
  LiveLine line;
  explore::SweepOptions sweeping{.visits = options.visits,
                                 .pairs = options.pairs,
                                 .crossed = options.crossed,
                                 .recovery = !options.no_recovery,
                                 .persistent = !options.no_persistent};
  sweeping.stop = interrupted;
  sweeping.before = [&](const Attempt& attempt) {
    ledger.attempt = attempt;
    ++ledger.pulse;
    if (++ledger.runs % 1024 == 0)
      line.show(fmt::format("sweep: case {} of {}, {}", ledger.next + 1, cases.size(), counted(ledger.runs, "run")));
  };
  sweeping.on_bug = [&](const program::Case& the_case, const run::Outcome& outcome, Stage stage) {
    line.clear();
    keep(ledger, options, cases.name(ledger.next), the_case, outcome, stage,
         judge_here({}, run::signature(the_case, outcome)));
  };
  explore::Sweep sweep(sweeping);
  while (ledger.next != cases.size() && !interrupted()) {
    sweep.run(cases.at(ledger.next));
    SweepTotals now = before;
    add(now, sweep.totals());
    ledger.totals = now;
    ++ledger.next;
  }
}

// SIGINT and SIGTERM wait until we wait for the child: one that comes a moment before is not overlooked.
class SignalsHeld {
 public:
  SignalsHeld() {
    sigset_t held;
    sigemptyset(&held);
    sigaddset(&held, SIGINT);
    sigaddset(&held, SIGTERM);
    sigprocmask(SIG_BLOCK, &held, &before);
  }
  ~SignalsHeld() { sigprocmask(SIG_SETMASK, &before, nullptr); }
  SignalsHeld(const SignalsHeld&) = delete;
  SignalsHeld& operator=(const SignalsHeld&) = delete;
  sigset_t before;
};

// The status of the child, which has the other end of the pipe. Whoever interrupts us means the child, too. One that
// has made no run for ten seconds will not come back by itself.
int wait_for(pid_t pid, int end_of_child, const Ledger& ledger, const SignalsHeld& signals) {
  bool told = false;
  pollfd ends{.fd = end_of_child, .events = 0, .revents = 0};
  const timespec patience{.tv_sec = 10, .tv_nsec = 0};
  for (std::uint64_t before = ledger.pulse;; before = ledger.pulse) {
    const int ready = ppoll(&ends, 1, &patience, &signals.before);
    if (ready == 1) break;
    if (ready == 0 && ledger.pulse == before) kill(pid, SIGKILL);
    if (interrupted() && !std::exchange(told, true)) kill(pid, SIGINT);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) != pid) {
  }
  return status;
}

constexpr int swept_mark = 64;  // the child's own exit code: sanitizers end a process with small ones

int sweep_in_child(Ledger& ledger, const Cases& cases, const Options& options) {
  int ends[2];
  std::fflush(nullptr);
  if (pipe(ends) != 0) throw Trouble{Exit::harness, "no pipe can be had"};
  const SignalsHeld signals;
  const pid_t pid = fork();
  if (pid < 0) throw Trouble{Exit::harness, "no process can be started"};
  if (pid == 0) {
    close(ends[0]);
    sigprocmask(SIG_SETMASK, &signals.before, nullptr);
    try {
      sweep_cases(ledger, cases, options);
    } catch (const Trouble& trouble) {
      ledger.trouble = trouble.code;
      copy(ledger.what, trouble.line);
    }
    _exit(swept_mark);
  }
  close(ends[1]);
  const int status = wait_for(pid, ends[0], ledger, signals);
  close(ends[0]);
  return status;
}

// Sweeps until all cases are through. What killed a child is looked at alone and kept; its case counts as swept.
void sweep_all(Ledger& ledger, const Cases& cases, const Options& options) {
  while (ledger.next != cases.size() && !interrupted()) {
    const int status = sweep_in_child(ledger, cases, options);
    if (ledger.trouble != Exit::ok) throw Trouble{ledger.trouble, ledger.what};
    if (WIFEXITED(status) && WEXITSTATUS(status) == swept_mark) continue;
    const std::string name = cases.name(ledger.next);
    const program::Case killer = explore::attempted(cases.at(ledger.next), ledger.attempt);
    const run::Outcome outcome = run::replay_sandboxed(killer, {});
    if (!outcome.is_bug())
      throw Trouble{Exit::nondeterministic,
                    fmt::format("{}: a run killed its process, and does not when it is alone", name)};
    keep(ledger, options, name, killer, outcome, ledger.attempt.stage, judge_sandboxed({}));
    ++ledger.next;
  }
}

std::string cell_text(const Cell& cell) {
  if (cell.visits == 0 && cell.failed + cell.survived + cell.ended == 0) return "-";
  std::string text = fmt::format("{}/{}", cell.failed, cell.survived);
  if (cell.ended != 0) text += fmt::format("/{}", cell.ended);
  return text;
}

std::vector<machine::Site> fault_sites() {
  std::vector<machine::Site> sites;
  for (unsigned i = 0; i != machine::site_count; ++i) {
    if (machine::Site::at(i).is_fault()) sites.push_back(machine::Site::at(i));
  }
  return sites;
}

std::string matrix_text(const SweepTotals& totals) {
  const std::vector<machine::Site> sites = fault_sites();
  std::vector<std::vector<std::string>> rows{{"operation"}};
  for (const machine::Site site : sites) rows[0].emplace_back(site.name());
  for (std::size_t caller = 0; caller != explore::callers; ++caller) {
    std::vector<std::string> row{std::string(explore::caller_name(caller))};
    bool any = false;
    for (const machine::Site site : sites) {
      row.push_back(cell_text(totals.cells[site.index()][caller]));
      any = any || row.back() != "-";
    }
    if (any) rows.push_back(std::move(row));
  }
  return columns(rows);
}

std::vector<std::string_view> untried(const SweepTotals& totals) {
  std::vector<std::string_view> names;
  for (const machine::Site site : fault_sites()) {
    if (!totals.reached(site)) names.push_back(site.name());
  }
  return names;
}

std::string summary_text(const Ledger& ledger) {
  const SweepTotals& totals = ledger.totals;
  std::string text = matrix_text(totals);
  text +=
      "Each cell: failures that refused the operation / that it survived / that ended the run before it did; -: no "
      "visit.\n";
  text += fmt::format("sweep: {}, {} skipped\n", counted(totals.cases, "case"), totals.skipped);
  for (std::size_t i = 0; i != explore::stages; ++i) {
    if (totals.runs[i] != 0)
      text += fmt::format("  {:<12}{:>10} runs, {}\n", explore::stage_names[i], grouped(totals.runs[i]),
                          counted(totals.bugs[i], "bug"));
  }
  Cell all;
  for (const auto& callers : totals.cells) {
    for (const Cell& cell : callers) {
      all.recovered += cell.recovered;
      all.unrecovered += cell.unrecovered;
    }
  }
  text += fmt::format("  asked again: {} recovered, {} refused once more\n", grouped(all.recovered),
                      grouped(all.unrecovered));
  text += fmt::format("  left out: {} visits of operations that pay very many, {} pairs, {} crossed\n",
                      grouped(totals.visits_left), grouped(totals.pairs_left), grouped(totals.crossed_left));
  for (const std::string_view site : untried(totals)) text += fmt::format("  never reached: {}\n", site);
  for (std::size_t i = 0; i != ledger.bugs_told; ++i) {
    const Bug& bug = ledger.bugs[i];
    text += fmt::format("  {}\n    {}, {} in {}\n", bug.signature, bug.path,
                        explore::stage_names[std::size_t(bug.stage)], bug.of);
  }
  return text;
}

std::string json_text(const Ledger& ledger, Exit code) {
  const SweepTotals& totals = ledger.totals;
  nlohmann::ordered_json json{
      {"cases", totals.cases},           {"skipped", totals.skipped},           {"visits_left", totals.visits_left},
      {"pairs_left", totals.pairs_left}, {"crossed_left", totals.crossed_left}, {"never_reached", untried(totals)},
      {"exit", static_cast<int>(code)}};
  for (std::size_t i = 0; i != explore::stages; ++i)
    json["stages"][std::string(explore::stage_names[i])] = {{"runs", totals.runs[i]}, {"bugs", totals.bugs[i]}};
  json["cells"] = nlohmann::ordered_json::array();
  for (const machine::Site site : fault_sites()) {
    for (std::size_t caller = 0; caller != explore::callers; ++caller) {
      const Cell& cell = totals.cells[site.index()][caller];
      if (cell_text(cell) == "-") continue;
      json["cells"].push_back({{"site", site.name()},
                               {"operation", explore::caller_name(caller)},
                               {"visits", cell.visits},
                               {"failed", cell.failed},
                               {"survived", cell.survived},
                               {"ended", cell.ended},
                               {"recovered", cell.recovered},
                               {"unrecovered", cell.unrecovered}});
    }
  }
  json["bugs"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i != ledger.bugs_told; ++i)
    json["bugs"].push_back({{"signature", ledger.bugs[i].signature},
                            {"rule", ledger.bugs[i].rule},
                            {"path", ledger.bugs[i].path},
                            {"stage", explore::stage_names[std::size_t(ledger.bugs[i].stage)]},
                            {"of", ledger.bugs[i].of}});
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Exit act(const Options& options) {
  const Cases cases(options);
  make_folder(options.out);
  catch_interrupts();
  const Shared<Ledger> ledger;
  sweep_all(*ledger, cases, options);
  Exit code = ledger->bugs_told != 0 ? Exit::finding : Exit::ok;
  const auto missing = untried(ledger->totals);
  if (interrupted()) {
    code = worse(code, Exit::interrupted);
  } else if (options.all_sites) {
    const std::vector<std::string> outcomes = explore::wrong_outcomes(ledger->totals);
    std::vector<std::string> holes;
    if (!missing.empty()) holes.push_back(fmt::format("never reached: {}", fmt::join(missing, ", ")));
    if (!outcomes.empty()) holes.push_back(fmt::format("not what sites come to: {}", fmt::join(outcomes, ", ")));
    if (!holes.empty()) say(fmt::format("{}", fmt::join(holes, "; ")));
    if (!holes.empty()) code = worse(code, Exit::finding);
  }
  print(options.json ? json_text(*ledger, code) : summary_text(*ledger));
  return code;
}

}  // namespace

void add_sweep(Command& command) {
  CLI::App& verb = *command.app.add_subcommand("sweep", "Let every request fail once: no error path untested");
  auto options = std::make_shared<Options>();
  verb.add_option("FILE", options->paths, "Case files, or folders that are searched for *.case")->type_name("FILE|DIR");
  add_number(verb, "--generate", options->generate, {0, 10'000'000}, "Also sweep so many random cases");
  add_number(verb, "--seed", options->seed, {}, "Random case i is a function of this number and i")
      .capture_default_str();
  add_number(verb, "--visits", options->visits, {},
             "Of very many visits of one site in one operation so many fail, the first and the last ones; 0: all")
      .capture_default_str();
  add_number(verb, "--pairs", options->pairs, {}, "Runs a case, at most, in which two visits fail")
      .capture_default_str();
  add_number(verb, "--crossed", options->crossed, {},
             "Runs a case, at most, in which somebody else comes around the failure")
      .capture_default_str();
  verb.add_flag("--no-persistent", options->no_persistent, "No runs in which a site fails from some visit on");
  verb.add_flag("--no-recovery", options->no_recovery, "Do not ask again what was refused");
  verb.add_flag("--all-sites", options->all_sites,
                "Exit code 1 if a fault site is never reached, or not with every outcome that it can have");
  verb.add_option("-o,--out", options->out, "Folder for what is found")->type_name("DIR")->capture_default_str();
  verb.add_flag("--json", options->json, "Print one JSON document instead of the matrix");
  add_generator(verb, options->generator);
  verb.footer(
      "A case runs untouched; then the first visit of a fault site fails, then the second, ... each in a run of its\n"
      "own, judged like any other. What was refused asks again right away. Then each site fails from each visit on;\n"
      "then pairs of visits fail; then somebody else comes at each point around a failure. Each different bug is\n"
      "shrunk and saved: its case has the failures that it needs and no others.\n\n"
      "Examples:\n"
      "  memtorture sweep corpus/cases --all-sites\n"
      "  memtorture sweep --generate 200 --seed 7 --no-crimes --no-faults\n"
      "  memtorture sweep my.case --pairs 100000 --crossed 100000\n");
  on_chosen(command, verb, options, act);
}

}  // namespace memtorture::cli
