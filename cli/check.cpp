// memtorture check: random cases until the time is up, and what they found.
#include <algorithm>

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/io.h"
#include "cli/signals.h"
#include "cli/watcher.h"
#include "model/shrink/found.h"

namespace memtorture::cli {
namespace {

constexpr std::uint32_t seconds_standard = 60;

struct Totals {
  std::uint64_t runs = 0, operations = 0, refused = 0, faults = 0, interrupts = 0, repeated = 0;
  std::uint64_t verdicts[verdict_count] = {};
};

Totals sum(const Board& board) {
  Totals totals;
  for (const Column& column : board.columns) {
    totals.runs += column.runs;
    totals.operations += column.operations;
    totals.refused += column.refused;
    totals.faults += column.faults;
    totals.interrupts += column.interrupts;
    totals.repeated += column.repeated;
    for (std::size_t i = 0; i != verdict_count; ++i) totals.verdicts[i] += column.verdicts[i];
  }
  return totals;
}

std::uint64_t rate(std::uint64_t count, double seconds) {
  return static_cast<std::uint64_t>(static_cast<double>(count) / std::max(seconds, 0.001));
}

std::string json_text(const SearchOptions& options, const Summary& summary, const Totals& totals) {
  nlohmann::ordered_json json{{"seconds", summary.seconds},
                              {"seed", options.seed},
                              {"jobs", options.jobs},
                              {"runs", totals.runs},
                              {"runs_per_second", rate(totals.runs, summary.seconds)},
                              {"operations", totals.operations},
                              {"operations_per_second", rate(totals.operations, summary.seconds)},
                              {"refused", totals.refused},
                              {"faults", totals.faults},
                              {"interrupts", totals.interrupts},
                              {"repeated", totals.repeated},
                              {"interrupted", summary.interrupted},
                              {"exit", static_cast<int>(summary.code)}};
  json["verdicts"] = nlohmann::ordered_json::object();
  for (std::size_t i = 0; i != verdict_count; ++i)
    json["verdicts"][std::string(program::verdict_names[i])] = totals.verdicts[i];
  json["findings"] = nlohmann::ordered_json(nlohmann::json(summary.findings));
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string summary_text(const SearchOptions& options, const Summary& summary, const Totals& totals) {
  std::string text = fmt::format("check: {:.1f} s, seed {}, {}{}\n", summary.seconds, options.seed,
                                 counted(options.jobs, "job"), summary.interrupted ? ", interrupted" : "");
  const auto line = [&](std::string_view name, const std::string& value) {
    text += fmt::format("  {:<12}{}\n", name, value);
  };
  line("runs", fmt::format("{} ({}/s)", grouped(totals.runs), grouped(rate(totals.runs, summary.seconds))));
  line("operations", fmt::format("{} ({}/s), {} allocations refused", grouped(totals.operations),
                                 grouped(rate(totals.operations, summary.seconds)), grouped(totals.refused)));
  line("injected", fmt::format("{}, {}", counted(totals.faults, "fault"), counted(totals.interrupts, "interrupt")));
  std::string verdicts;
  for (std::size_t i = 0; i != verdict_count; ++i) {
    if (totals.verdicts[i] != 0)
      verdicts +=
          fmt::format("{}{} {}", verdicts.empty() ? "" : ", ", program::verdict_names[i], grouped(totals.verdicts[i]));
  }
  line("verdicts", verdicts.empty() ? "none" : verdicts);
  line("findings",
       fmt::format("{}{}", summary.findings.size(),
                   totals.repeated == 0 ? "" : fmt::format(", seen {} more", counted(totals.repeated, "time"))));
  for (const Discovery& found : summary.findings) {
    text += fmt::format("    {}\n      {}\n      {}, {}, {}; found in run {} after {:.1f} s{}{}\n", found.signature,
                        found.path, counted(found.operations, "operation"), counted(found.faults, "fault"),
                        counted(found.departures, "departure"), grouped(found.run), found.seconds,
                        found.is_new ? "" : "; a case of this bug was there before",
                        found.reproduced ? "" : "; NOT seen again when run alone");
  }
  return text;
}

// An hour of search must not end with the news that nothing can be saved.
void try_folder(const std::string& out) {
  make_folder(out);
  const std::filesystem::path probe = std::filesystem::path(out) / ".probe";
  if (auto written = shrink::write_atomically(probe, "memtorture\n"); !written)
    throw Trouble{Exit::io, written.error()};
  std::error_code error;
  std::filesystem::remove(probe, error);
}

Exit act(SearchOptions options) {
  if (options.seconds == 0 && options.runs == 0) options.seconds = seconds_standard;
  try_folder(options.out);
  catch_interrupts();
  const Shared<Board> board;
  const Summary summary = Watcher(options, *board).watch();
  const Totals totals = sum(*board);
  print(options.json ? json_text(options, summary, totals) : summary_text(options, summary, totals));
  return summary.code;
}

}  // namespace

void add_check(Command& command) {
  CLI::App& verb =
      *command.app.add_subcommand("check", "Search for bugs: run random cases, shrink and save what they find");
  auto options = std::make_shared<SearchOptions>();
  add_number(verb, "--seconds", options->seconds, {1, 100'000'000},
             "How long to search (default 60, without limit if --runs is given)");
  add_number(verb, "--runs", options->runs, {.least = 1}, "How many cases to run");
  add_number(verb, "--seed", options->seed, {}, "Run i is a function of this number and i").capture_default_str();
  add_number(verb, "-j,--jobs", options->jobs, {1, jobs_max}, "Processes that search").capture_default_str();
  verb.add_option("-o,--out", options->out, "Folder for what is found")->type_name("DIR")->capture_default_str();
  verb.add_flag("--stop-at-first", options->stop_at_first, "End the search with the first bug");
  verb.add_flag("--json", options->json, "Print the summary as one line of JSON");
  add_audit(verb, options->audit_every);
  add_generator(verb, options->generator);
  verb.footer(
      "Every run leaves some kinds of operations out and has its own rates of faults and interrupts. A bug is on\n"
      "disk before it is shrunk; a crash or a hang of the subject is a bug like any other. Ctrl-C ends the search\n"
      "with its summary; a second one does not wait for shrinking.\n\n"
      "Examples:\n"
      "  memtorture check --seconds 60 --jobs 2\n"
      "  memtorture check --seed 7 --runs 1000 --json\n"
      "  memtorture check --seconds 3600 --no-crimes --audit 16 --out out/night\n");
  on_chosen(command, verb, options, act);
}

}  // namespace memtorture::cli
