// memtorture run: does every case give the verdict that it expects?
//
// A case that cannot be read or parsed counts as failed and does not keep the others from running. Cases that expect
// the subject to die are sandboxed without being asked.
#include <nlohmann/json.hpp>

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/io.h"
#include "cli/judging.h"
#include "cli/junit.h"

namespace memtorture::cli {
namespace {

struct Options {
  std::vector<std::string> paths;
  std::uint32_t audit_every = run::audit_at_end;
  bool history = false, json = false, twice = false, sandbox = false;
  std::string junit;
};

struct Row {
  std::string file;
  program::Case the_case;
  run::Outcome outcome;
  Exit code = Exit::ok;
  std::string complaint;  // why it is not ok, one line
  std::string history;
};

// Both histories as text: what has to be equal byte by byte.
std::string transcript(const program::Case& the_case, const run::Outcome& outcome) {
  return fmt::format("{}{}\n{}", run::print_history(the_case, outcome.history, outcome.object_reports),
                     verdict_words(outcome), outcome.finding.detail);
}

std::string first_difference(std::string_view a, std::string_view b) {
  for (std::size_t line = 1;; ++line) {
    const std::string_view left = a.substr(0, a.find('\n')), right = b.substr(0, b.find('\n'));
    if (left != right || a.empty() || b.empty())
      return fmt::format("line {} of the history: '{}' and '{}'", line, left, right);
    a.remove_prefix(std::min(left.size() + 1, a.size()));
    b.remove_prefix(std::min(right.size() + 1, b.size()));
  }
}

class Suite {
 public:
  explicit Suite(const Options& options) : options_(options) {}

  Row run(const std::string& file) {
    Row row{.file = file};
    try {
      row.the_case = read_case(file);
      judge(row);
    } catch (const Trouble& trouble) {
      row.code = trouble.code;
      row.complaint = trouble.line;
    }
    return row;
  }

 private:
  void judge(Row& row) {
    run::Options options{.keep = options_.history || options_.twice ? run::Keep::history : run::Keep::nothing,
                         .audit_every = options_.audit_every};
    const bool sandboxed = options_.sandbox || is_death(row.the_case.expect.verdict);
    row.outcome = sandboxed ? run::replay_sandboxed(row.the_case, options) : runner_.replay(row.the_case, options);
    if (!as_expected(row.the_case.expect, row.outcome)) disappoint(row);
    if (sandboxed) return;
    const std::string once = transcript(row.the_case, row.outcome);
    if (options_.history)
      row.history = run::print_history(row.the_case, row.outcome.history, row.outcome.object_reports);
    if (options_.twice) compare(row, once, options);
  }

  static void disappoint(Row& row) {
    row.complaint = fmt::format("expected {}, got {}", expect_words(row.the_case.expect), verdict_words(row.outcome));
    if (!row.outcome.finding.detail.empty()) row.complaint += fmt::format(" ({})", row.outcome.finding.detail);
    const Exit code = exit_of(row.outcome.verdict);
    row.code = code == Exit::ok ? Exit::finding : code;
  }

  // The second run gets a machine of its own: what one run leaves behind for the next is a difference, too.
  static void compare(Row& row, const std::string& once, const run::Options& options) {
    const std::string again = transcript(row.the_case, run::replay(row.the_case, options));
    if (once == again) return;
    row.code = Exit::nondeterministic;
    row.complaint = "two runs differ: " + first_difference(once, again);
  }

  const Options& options_;
  run::Runner runner_;
};

void print_table(const std::vector<Row>& rows) {
  std::vector<std::vector<std::string>> table{{"case", "verdict", "rule", "result"}};
  for (const Row& row : rows) {
    const bool ran = row.code != Exit::usage && row.code != Exit::io;
    const std::string verdict(ran ? program::verdict_names[static_cast<unsigned>(row.outcome.verdict)] : "-");
    const std::string rule(row.outcome.finding.rule.empty() ? "-" : row.outcome.finding.rule);
    table.push_back({row.file, verdict, rule, row.code == Exit::ok ? "ok" : "NOT OK"});
  }
  print(columns(table));
}

nlohmann::json as_json(const Row& row) {
  nlohmann::json json{{"file", row.file}, {"ok", row.code == Exit::ok}, {"exit", static_cast<int>(row.code)}};
  if (!row.complaint.empty()) json["complaint"] = row.complaint;
  if (row.code == Exit::usage || row.code == Exit::io) return json;
  const auto& statistics = row.outcome.statistics;
  json["expect"] = {{"verdict", program::verdict_names[static_cast<unsigned>(row.the_case.expect.verdict)]},
                    {"rule", row.the_case.expect.rule}};
  json["verdict"] = program::verdict_names[static_cast<unsigned>(row.outcome.verdict)];
  json["rule"] = row.outcome.finding.rule;
  json["detail"] = row.outcome.finding.detail;
  json["signature"] = run::signature(row.the_case, row.outcome);
  json["operations"] = statistics.operations;
  json["refused"] = statistics.refused;
  json["faults"] = statistics.faults;
  json["interrupts"] = statistics.interrupts;
  json["steps"] = statistics.steps;
  if (!row.history.empty()) json["history"] = row.history;
  return json;
}

std::string json_text(const std::vector<Row>& rows, std::size_t failed, Exit code) {
  nlohmann::json json{{"passed", rows.size() - failed}, {"failed", failed}, {"exit", static_cast<int>(code)}};
  json["cases"] = nlohmann::json::array();
  for (const Row& row : rows) json["cases"].push_back(as_json(row));
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

void write_junit(const std::string& path, const std::vector<Row>& rows) {
  std::vector<JunitCase> cases;
  for (const Row& row : rows) {
    const auto result = row.code == Exit::ok                              ? JunitResult::passed
                        : row.code == Exit::usage || row.code == Exit::io ? JunitResult::error
                                                                          : JunitResult::failure;
    std::string body = result == JunitResult::failure ? run::print_report(row.the_case, row.outcome) : "";
    cases.push_back({row.file, result, row.complaint, std::move(body)});
  }
  write_file(path, junit_text("memtorture", cases));
}

Exit act(const Options& options) {
  Suite suite(options);
  std::vector<Row> rows;
  for (const std::string& file : find_cases(options.paths)) rows.push_back(suite.run(file));
  Exit code = Exit::ok;
  std::size_t failed = 0;
  for (const Row& row : rows) {
    code = worse(code, row.code);
    failed += row.code != Exit::ok;
  }
  if (options.json) {
    print(json_text(rows, failed, code));
  } else {
    print_table(rows);
    for (const Row& row : rows) {
      if (!row.history.empty()) print(fmt::format("\n# {}\n{}", row.file, row.history));
    }
    print(fmt::format("{}, {} ok, {} not ok\n", counted(rows.size(), "case"), rows.size() - failed, failed));
  }
  flush_output();
  for (const Row& row : rows) {
    const bool names_its_place = row.code == Exit::usage || row.code == Exit::io;
    if (row.code != Exit::ok) say(names_its_place ? row.complaint : fmt::format("{}: {}", row.file, row.complaint));
  }
  if (!options.junit.empty()) write_junit(options.junit, rows);
  return code;
}

}  // namespace

void add_run(Command& command) {
  CLI::App& verb = *command.app.add_subcommand("run", "Run cases; each must give the verdict that it expects");
  auto options = std::make_shared<Options>();
  verb.add_option("FILE", options->paths, "Case files, or folders that are searched for *.case")
      ->required()
      ->type_name("FILE|DIR");
  verb.add_flag("--twice", options->twice, "Run each case twice and compare the histories byte by byte");
  verb.add_flag("--history", options->history, "Print what happened in each case");
  verb.add_flag("--sandbox", options->sandbox,
                "Run each case in a process of its own: a crash, a hang or runaway memory is a verdict")
      ->excludes("--twice")
      ->excludes("--history");
  add_audit(verb, options->audit_every);
  verb.add_flag("--json", options->json, "Print one JSON document instead of the table");
  verb.add_option("--junit", options->junit, "Also write a JUnit report")->type_name("FILE");
  verb.footer(
      "The exit code is that of the worst case; memtorture --help lists the codes.\n\n"
      "Examples:\n"
      "  memtorture run corpus/cases --twice\n"
      "  memtorture run out/found --sandbox --junit report.xml\n"
      "  memtorture run corpus/cases/hello.case --history --audit every\n");
  on_chosen(command, verb, options, act);
}

}  // namespace memtorture::cli
