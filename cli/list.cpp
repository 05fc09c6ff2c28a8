// memtorture list: what there is to write into a case, and what can come out. Printed from the tables that the rest of
// the program works with.
#include <array>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "allocator/machine/shape.h"
#include "allocator/machine/site.h"
#include "allocator/subject/gfp.h"
#include "cli/command.h"
#include "cli/io.h"
#include "model/oracle/oracle.h"
#include "model/program/ops.h"
#include "model/program/text.h"
#include "model/run/choosers.h"
#include "model/run/context_table.h"
#include "model/run/fates.h"
#include "model/run/point_coverage.h"
#include "model/run/run.h"

namespace memtorture::cli {
namespace {

using Table = std::vector<std::vector<std::string>>;  // the first row names the columns

Table subjects() {
  return {{"subject", "facets", "meaning"},
          {"kernel", "pages, objects, caches, pools, per-CPU memory, stacks",
           "the allocator stack of a kernel on a simulated machine, as it comes with memtorture"}};
}

Table machines() {
  Table table{{"machine", "means", "meaning"}};
  for (const auto& row : machine::shape_table()) {
    const auto& shape = row.shape;
    table.push_back({std::string(row.name),
                     fmt::format("ram={}M page={}K orders={}", static_cast<double>(shape.ram_bytes) / (1 << 20),
                                 shape.page_bytes() >> 10, shape.orders),
                     std::string(row.meaning)});
  }
  return table;
}

// A parameter as help shows it; one overload a field type.
std::string_view parameter(program::Out) { return "SLOT ="; }
std::string_view parameter(program::In) { return "SLOT"; }
std::string_view parameter(program::Gfp) { return "GFP"; }
std::string_view parameter(program::Order) { return "ORDER"; }
std::string_view parameter(program::Node) { return "NODE"; }
std::string_view parameter(program::Nodes) { return "NODES"; }
std::string_view parameter(program::Of) { return "SLOT"; }
std::string_view parameter(program::Align) { return "ALIGN"; }
std::string_view parameter(program::SlabFlags) { return "FLAGS"; }
std::string_view parameter(program::Bytes) { return "BYTES"; }
std::string_view parameter(program::Offset) { return "OFFSET"; }
std::string_view parameter(program::Byte) { return "BYTE"; }
std::string_view parameter(program::Count) { return "COUNT"; }
std::string_view parameter(program::CpuNumber) { return "CPU"; }
std::string_view parameter(program::Frame) { return "FRAME"; }
std::string_view parameter(program::Lock) { return "LOCK"; }
std::string_view parameter(program::Client) { return "CLIENT"; }
std::string_view parameter(program::Trait) { return "TRAIT"; }
std::string_view parameter(program::Flaw) { return "FLAW"; }

template <class Op>
std::string usage() {
  std::string before, after;
  const auto add = [&]<class Field>(Field Op::*) {
    if constexpr (std::is_same_v<Field, program::Out>) {
      before = fmt::format("{} ", parameter(Field{}));
    } else {
      after += fmt::format(" {}", parameter(Field{}));
    }
  };
  std::apply([&](auto... member) { (add(member), ...); }, Op::fields());
  return fmt::format("{}{}{}", before, Op::name, after);
}

Table operations() {
  Table table{{"operation", "written", "meaning"}};
  program::for_each_op_type(
      [&]<class Op>() { table.push_back({std::string(Op::name), usage<Op>(), std::string(Op::meaning)}); });
  return table;
}

Table sites() {
  Table table{{"site", "use", "meaning"}};
  for (const auto& row : machine::site_table) {
    table.push_back(
        {std::string(row.name), row.use == machine::SiteUse::fault ? "fault" : "point", std::string(row.meaning)});
  }
  return table;
}

Table rules() {
  constexpr std::string_view kinds[] = {"rule", "crime", "audit", "machine"};
  Table table{{"rule", "kind", "source", "meaning"}};
  for (const auto& row : oracle::rule_table()) {
    table.push_back({std::string(row.id), std::string(kinds[static_cast<unsigned>(row.kind)]), std::string(row.source),
                     std::string(row.meaning)});
  }
  return table;
}

Table flags() {
  constexpr std::string_view groups[] = {"type", "zone", "action", "alias"};
  Table table{{"flag", "bits", "group", "meaning"}};
  for (const auto& row : subject::gfp_table) {
    table.push_back({std::string(row.name), fmt::format("{:#x}", row.bits),
                     std::string(groups[static_cast<unsigned>(row.group)]), std::string(row.meaning)});
  }
  return table;
}

// The letters are those of the reference's table: legal, report, bug of the caller.
Table contexts() {
  Table table{{"function"}};
  for (unsigned i = 0; i != run::places; ++i) table[0].emplace_back(run::place_name(static_cast<run::Place>(i)));
  for (const run::CallRow& row : run::call_table()) {
    auto& line = table.emplace_back();
    line.emplace_back(row.function);
    for (unsigned i = 0; i != run::places; ++i)
      line.emplace_back(1, run::letter(run::answer(row, static_cast<run::Place>(i))));
  }
  return table;
}

// A letter for each amount of free memory, as model/README.md explains them.
Table requests() {
  Table table{{"context", "request"}};
  for (const std::string_view spare : run::spare_names) table[0].emplace_back(spare);
  for (unsigned asker = 0; asker != std::size(run::asker_names); ++asker) {
    for (const std::string_view request : run::requests()) {
      auto& line = table.emplace_back();
      line.emplace_back(run::asker_names[asker]);
      line.emplace_back(request);
      for (unsigned spare = 0; spare != std::size(run::spare_names); ++spare)
        line.push_back(run::fate_letters_of(request, static_cast<run::Spare>(spare), static_cast<run::Asker>(asker)));
    }
  }
  return table;
}

// Cells: how often it was taken; "open": it can happen, and did not; "never": it cannot.
Table points(const std::vector<std::string>& covered) {
  Table table{{"site"}};
  for (const std::string_view way : run::way_names) table[0].emplace_back(way);
  table[0].emplace_back("why never");
  run::PointCoverage coverage;
  run::Runner runner;
  for (const std::string& path : find_cases(covered)) {
    const program::Case the_case = read_case(path);
    run::ReplayChooser replay(the_case.departures);
    run::CoverageChooser chooser(replay, the_case, coverage);
    runner.run(the_case, chooser);
  }
  for (unsigned i = 0; i != machine::site_count; ++i) {
    const machine::Site site = machine::Site::at(i);
    auto& line = table.emplace_back();
    line.emplace_back(site.name());
    std::string_view reason;
    for (unsigned w = 0; w != run::ways; ++w) {
      const std::string_view never = run::why_never(site, static_cast<run::Way>(w));
      const std::uint64_t taken = coverage.taken[i][w];
      line.push_back(!never.empty() ? "never" : taken != 0 ? fmt::format("{}", taken) : "open");
      if (!never.empty()) reason = never;
    }
    line.emplace_back(reason);
  }
  return table;
}

struct Topic {
  std::string_view name;
  Table (*table)();
};
constexpr std::string_view points_topic = "points";
constexpr Topic topics[] = {{"subjects", subjects}, {"machines", machines}, {"operations", operations},
                            {"sites", sites},       {"rules", rules},       {"flags", flags},
                            {"contexts", contexts}, {"requests", requests}, {points_topic, nullptr}};

std::string json_text(const Table& table) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (std::size_t i = 1; i != table.size(); ++i) {
    nlohmann::ordered_json row;
    for (std::size_t j = 0; j != table[i].size(); ++j) row[table[0][j]] = table[i][j];
    json.push_back(std::move(row));
  }
  return json.dump(1) + "\n";
}

std::string escaped(std::string word) {  // a bar would end the cell
  for (std::size_t at = 0; (at = word.find('|', at)) != word.npos; at += 2) word.insert(at, "\\");
  return word;
}

std::string markdown_text(const Table& table) {
  std::string text;
  for (std::size_t i = 0; i != table.size(); ++i) {
    text += "|";
    for (const std::string& word : table[i]) text += fmt::format(" {} |", escaped(word));
    text += "\n";
    if (i != 0) continue;
    text += "|";
    for (std::size_t j = 0; j != table[i].size(); ++j) text += "---|";
    text += "\n";
  }
  return text;
}

struct Options {
  std::string topic;
  bool json = false, markdown = false;
  std::vector<std::string> covered;
};

Exit act(const Options& options) {
  if (!options.covered.empty() && options.topic != points_topic)
    throw Trouble{Exit::usage, "list: --covered is for points"};
  const auto* topic = std::ranges::find(topics, options.topic, &Topic::name);
  const Table table = options.topic == points_topic ? points(options.covered) : topic->table();
  print(options.json ? json_text(table) : options.markdown ? markdown_text(table) : columns(table));
  return Exit::ok;
}

}  // namespace

void add_list(Command& command) {
  CLI::App& verb = *command.app.add_subcommand("list", "Say what there is: operations, machines, rules, ...");
  auto options = std::make_shared<Options>();
  std::string words;
  std::vector<std::string> names;
  for (const Topic& topic : topics) {
    words += (words.empty() ? "" : "|") + std::string(topic.name);
    names.emplace_back(topic.name);
  }
  const auto known = [names, words](const std::string& word) {
    return std::ranges::find(names, word) != names.end() ? std::string()
                                                         : fmt::format("expected one of {}, found '{}'", words, word);
  };
  verb.add_option("TOPIC", options->topic, "What to list")
      ->required()
      ->type_name(words)
      ->check(CLI::Validator(known, ""));
  CLI::Option* const json = verb.add_flag("--json", options->json, "As a JSON array of objects");
  verb.add_flag("--markdown", options->markdown, "As a table of a README")->excludes(json);
  verb.add_option("--covered", options->covered, "With points: replay these cases, and count where each was steered")
      ->type_name("FILE|DIR ...");
  verb.footer(
      "Examples:\n"
      "  memtorture list operations\n"
      "  memtorture list rules --json\n"
      "  memtorture list points --covered corpus/cases\n");
  on_chosen(command, verb, options, act);
}

}  // namespace memtorture::cli
