// Where random cases come from: one seed is one case and one schedule. `gen --run` and `check` share this file, so that
// a run that the search reports can be had again from its seed.
#pragma once

#include <CLI/CLI.hpp>

#include "model/program/generate.h"
#include "model/run/run.h"

namespace memtorture::cli {

inline constexpr std::uint32_t crimes_percent = 20;

struct Generator {
  program::GenerateOptions options{.crimes = crimes_percent};
  bool no_crimes = false, no_faults = false;
  program::Case generate(std::uint64_t seed) const;
  // Follows the schedule of the case, departs at random beside it. Keeps a reference to the case.
  run::RandomChooser chooser(std::uint64_t seed, const program::Case& the_case) const;
  std::string words() const;  // the options that differ from the defaults, as they are typed; "" or " --no-crimes"
};
void add_generator(CLI::App& verb, Generator& generator);

// Run i of a search with seed S, whatever the number of jobs.
std::uint64_t case_seed(std::uint64_t search_seed, std::uint64_t run_index);

}  // namespace memtorture::cli
