// memtorture gen: random cases as text.
#include <fmt/format.h>

#include <algorithm>

#include "cli/command.h"
#include "cli/generating.h"
#include "cli/io.h"
#include "model/program/text.h"
#include "model/run/context_table.h"
#include "model/shrink/found.h"

namespace memtorture::cli {
namespace {

struct Options {
  std::uint64_t seed = 1;
  std::uint32_t count = 1;
  std::string out = "-";
  bool run = false;
  std::string cell;
  std::uint32_t audit_every = run::audit_at_end;
  Generator generator;
};

// With --run the schedule that the seed gives is taken and written down, along with the verdict.
std::string text_of(const Options& options, std::uint64_t seed) {
  program::Case the_case = options.generator.generate(seed);
  the_case.comment = {
      fmt::format("memtorture gen --seed {}{}{}", seed, options.generator.words(), options.run ? " --run" : "")};
  if (options.run) {
    auto chooser = options.generator.chooser(seed, the_case);
    const run::Outcome outcome = run::run(the_case, chooser, {.audit_every = options.audit_every});
    the_case = shrink::reproducer(the_case, outcome);
  }
  return program::print(the_case);
}

void write_folder(const Options& options) {
  make_folder(options.out);
  for (std::uint32_t i = 0; i != options.count; ++i) {
    const std::uint64_t seed = options.seed + i;
    write_file(fmt::format("{}/seed-{}.case", options.out, seed), text_of(options, seed));
  }
}

// FUNCTION:CONTEXT, as `memtorture list contexts` names them.
std::string text_of_cell(const std::string& cell) {
  const std::size_t colon = cell.rfind(':');
  const std::string function = cell.substr(0, colon), context = colon == cell.npos ? "" : cell.substr(colon + 1);
  const auto row = std::ranges::find(run::call_table(), function, &run::CallRow::function);
  for (unsigned i = 0; i != run::places && row != run::call_table().end(); ++i) {
    const auto place = static_cast<run::Place>(i);
    if (run::place_name(place) == context) return run::cell_text(*row, place);
  }
  throw Trouble{Exit::usage,
                fmt::format("gen: no cell '{}'; memtorture list contexts has functions and contexts", cell)};
}

Exit act(const Options& options) {
  if (!options.cell.empty()) {
    write_file(options.out, text_of_cell(options.cell));
    return Exit::ok;
  }
  if (options.count == 1) {
    write_file(options.out, text_of(options, options.seed));
  } else if (options.out == "-") {
    throw Trouble{Exit::usage, "gen: several cases need a folder: add -o DIR"};
  } else {
    write_folder(options);
  }
  return Exit::ok;
}

}  // namespace

void add_gen(Command& command) {
  CLI::App& verb = *command.app.add_subcommand("gen", "Write a random case");
  auto options = std::make_shared<Options>();
  add_number(verb, "--seed", options->seed, {}, "The case is a function of this number and the options")
      .capture_default_str();
  add_number(verb, "--count", options->count, {1, 1'000'000}, "So many cases, of this seed and the following ones")
      .capture_default_str();
  verb.add_option("-o,--out", options->out, "Where to write it: a file, with --count a folder")->type_name("FILE|DIR");
  verb.add_option("--cell", options->cell, "Instead: the case for a function in a context, as list contexts shows them")
      ->type_name("FUNCTION:CONTEXT");
  verb.add_flag("--run", options->run, "Run it as check does, and write down the schedule and the verdict");
  add_audit(verb, options->audit_every);
  add_generator(verb, options->generator);
  verb.footer(
      "Examples:\n"
      "  memtorture gen --seed 42\n"
      "  memtorture gen --seed 42 --run | memtorture replay -\n"
      "  memtorture gen --cell 'kmalloc(GFP_KERNEL):hardirq' | memtorture replay -\n"
      "  memtorture gen --seed 1 --count 100 --no-crimes -o out/cases\n");
  on_chosen(command, verb, options, act);
}

}  // namespace memtorture::cli
