// Properties of run(): a function of its case and its chooser, and of nothing else. Not of what ran before, of who else
// runs, of which slot of address space the machine's RAM got.
#include <algorithm>
#include <thread>
#include <vector>

#include "model/shrink/found.h"
#include "props/check.h"

namespace memtorture::props {
namespace {

const run::Options kept{.keep = run::Keep::history};
const GenerateOptions usual{.crimes = 10, .faults = 50, .contexts = 90, .ops_min = 20, .ops_max = 150};

void demand_equal(const Case& the_case, const Outcome& a, const Outcome& b) {
  RC_ASSERT(a.verdict == b.verdict);
  RC_ASSERT(a.finding.rule == b.finding.rule);
  RC_ASSERT(a.departures == b.departures);
  RC_ASSERT(run::print_history(the_case, a.history) == run::print_history(the_case, b.history));
  RC_ASSERT(a.history == b.history);
}

TEST(Purity, TheSameChoicesGiveTheSameHistory) {
  run::Runner runner;
  check(500, [&] {
    const Case the_case = *cases(usual), other = *cases(usual);
    const std::uint64_t seed = *seeds();
    const Outcome first = run_at_random(runner, the_case, seed, kept, Faults::at_random);
    static_cast<void>(run_at_random(runner, other, seed, kept, Faults::at_random));  // leaves its traces in the runner
    demand_equal(the_case, first, run_at_random(runner, the_case, seed, kept, Faults::at_random));
  });
}

// Visits of a site are counted up to visits_max; a place beyond that has no name of its own, and a departure there
// cannot be told from the next. Only operations that wait for ever get so far.
bool has_named_places(const Outcome& outcome) {
  constexpr std::uint16_t visits_max = 255;
  return std::ranges::all_of(outcome.departures, [](const auto& departure) { return departure.at.visit < visits_max; });
}

TEST(Purity, ARandomRunReplaysFromItsDepartures) {
  run::Runner runner;
  int with_departures = 0;
  check(1000, [&] {
    const Case the_case = *cases(usual);
    const Outcome random = run_at_random(runner, the_case, *seeds(), kept, Faults::at_random);
    if (!has_named_places(random)) return;
    with_departures += !random.departures.empty();
    const Outcome replayed = runner.replay(shrink::reproducer(the_case, random), kept);
    RC_ASSERT(replayed.drifted_at == -1);
    demand_equal(the_case, random, replayed);
  });
  EXPECT_GT(with_departures, 100) << "random runs hardly ever depart: this property checks little";
}

TEST(Purity, HistoryDoesNotDependOnTheSlotOfRam) {
  run::Runner here, there;  // two machines at once: their RAM cannot be at the same address
  check(300, [&] {
    const Case the_case = *cases(usual);
    const std::uint64_t seed = *seeds();
    demand_equal(the_case, run_at_random(here, the_case, seed, kept, Faults::at_random),
                 run_at_random(there, the_case, seed, kept, Faults::at_random));
  });
}

TEST(Purity, TwoRunsAtOnceInOneProcess) {
  constexpr std::uint64_t runs = 200;
  const auto all = [] {
    std::vector<Outcome> outcomes;
    run::Runner runner;
    for (std::uint64_t seed = 0; seed != runs; ++seed) {
      const Case the_case = program::generate(seed, usual);
      outcomes.push_back(run_at_random(runner, the_case, seed, kept, Faults::at_random));
    }
    return outcomes;
  };
  std::vector<Outcome> a, b;
  std::thread first([&] { a = all(); }), second([&] { b = all(); });
  first.join();
  second.join();
  const std::vector<Outcome> alone = all();
  for (std::size_t i = 0; i != runs; ++i) {
    ASSERT_EQ(a[i].history, alone[i].history) << "case of seed " << i;
    ASSERT_EQ(b[i].history, alone[i].history) << "case of seed " << i;
    ASSERT_EQ(a[i].verdict, alone[i].verdict);
    ASSERT_EQ(b[i].verdict, alone[i].verdict);
  }
}

}  // namespace
}  // namespace memtorture::props
