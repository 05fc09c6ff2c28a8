#include "cli/generating.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "model/program/edits.h"

namespace memtorture::cli {

using program::GenerateOptions;

namespace {

struct Knob {
  std::string_view flag;
  std::uint32_t GenerateOptions::* value;
  std::uint32_t least, most;
  std::string_view meaning;
};
constexpr Knob knobs[] = {
    {"--crimes", &GenerateOptions::crimes, 0, 100, "Percent of cases with a misuse"},
    {"--faults", &GenerateOptions::faults, 0, 100, "Percent of cases with fault rules"},
    {"--departures", &GenerateOptions::departures, 0, 100, "Percent of cases with a schedule written into them"},
    {"--contexts", &GenerateOptions::contexts, 0, 100, "Percent of cases with handlers, locks, interrupts off"},
    {"--ops-min", &GenerateOptions::ops_min, 1, 10'000, "Operations of a case, about, at least"},
    {"--ops-max", &GenerateOptions::ops_max, 1, 10'000, "Operations of a case, about, at most"},
    {"--cpus-max", &GenerateOptions::cpus_max, 1, machine::cpus_max, "CPUs of a machine, at most"},
    {"--nodes-max", &GenerateOptions::nodes_max, 1, machine::nodes_max, "Nodes of a machine, at most"},
};

GenerateOptions effective(const Generator& generator) {
  GenerateOptions options = generator.options;
  if (generator.no_crimes) options.crimes = 0;
  if (generator.no_faults) options.faults = 0;
  options.ops_max = std::max(options.ops_min, options.ops_max);
  return options;
}

}  // namespace

program::Case Generator::generate(std::uint64_t seed) const { return program::generate(seed, effective(*this)); }

run::RandomChooser Generator::chooser(std::uint64_t seed, const program::Case& the_case) const {
  run::RandomRates rates = run::RandomChooser::swarm_rates(seed);
  if (no_faults) rates.fault_permille = 0;
  return {seed, rates, the_case.departures};
}

std::string Generator::words() const {
  std::string text;
  const GenerateOptions standard = Generator{}.options, ours = effective(*this);
  if (no_faults) text = " --no-faults";
  for (const Knob& knob : knobs) {
    if (no_faults && knob.value == &GenerateOptions::faults) continue;
    if (ours.*knob.value != standard.*knob.value) text += fmt::format(" {} {}", knob.flag, ours.*knob.value);
  }
  return text;
}

void add_generator(CLI::App& verb, Generator& generator) {
  for (const Knob& knob : knobs) {
    add_number(verb, std::string(knob.flag), generator.options.*knob.value, {knob.least, knob.most},
               std::string(knob.meaning))
        .capture_default_str();
  }
  verb.add_flag("--no-crimes", generator.no_crimes, "The same as --crimes 0");
  verb.add_flag("--no-faults", generator.no_faults, "No fault rules, and no injected failures beside them");
}

std::uint64_t case_seed(std::uint64_t search_seed, std::uint64_t run_index) {
  return program::Random(program::Random(search_seed).next() + run_index).next();
}

}  // namespace memtorture::cli
