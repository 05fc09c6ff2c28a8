// What one run leaves behind must not reach the next. A Runner resets by generations: nothing is cleared, what belongs
// to an earlier run only looks as if it were not there. So runs of one Runner, on machines that change from run to run,
// are compared with the same runs on Runners that have no past; and every random run with its replay.
#if MT_ENGINE_FIBER
#include <gtest/gtest.h>

#include "model/program/edits.h"
#include "model/program/generate.h"
#include "model/program/text.h"
#include "model/run/run.h"

namespace memtorture::run {
namespace {

constexpr std::uint64_t cases = 500;

Options kept(std::uint64_t seed) {
  return {.keep = Keep::history, .audit_every = seed % 2 == 0 ? 16u : audit_at_end, .steps_budget = 20'000};
}

Outcome at_random(Runner& runner, const Case& the_case, std::uint64_t seed) {
  RandomChooser chooser(seed, RandomChooser::swarm_rates(seed), the_case.departures);
  return runner.run(the_case, chooser, kept(seed));
}

// All that an outcome says. (Nothing in it is the host's: no time, no address.)
void expect_same(const Case& the_case, const Outcome& one, const Outcome& other) {
  EXPECT_EQ(one.verdict, other.verdict);
  EXPECT_EQ(one.finding.rule, other.finding.rule);
  EXPECT_EQ(one.finding.who, other.finding.who);
  EXPECT_EQ(one.finding.op, other.finding.op);
  EXPECT_EQ(one.finding.pfn, other.finding.pfn);
  EXPECT_EQ(one.finding.detail, other.finding.detail);
  EXPECT_EQ(one.history, other.history);
  EXPECT_EQ(one.departures, other.departures);
  EXPECT_EQ(one.statistics, other.statistics);
  if (testing::Test::HasFailure()) {
    FAIL() << program::print(the_case) << "--- one\n"
           << print_history(the_case, one.history) << "--- other\n"
           << print_history(the_case, other.history);
  }
}

TEST(Reset, APastDoesNotShow) {
  Runner reused;
  std::size_t shapes_changed = 0, verdicts = 0;
  machine::Shape last{};
  for (std::uint64_t seed = 0; seed != cases; ++seed) {
    SCOPED_TRACE(seed);
    const Case the_case = program::generate(seed, {.crimes = 30});
    shapes_changed += the_case.shape != last;
    last = the_case.shape;
    Runner fresh;
    const Outcome alone = at_random(fresh, the_case, seed);
    ASSERT_NO_FATAL_FAILURE(expect_same(the_case, alone, at_random(reused, the_case, seed)));
    verdicts |= std::size_t{1} << static_cast<unsigned>(alone.verdict);
  }
  EXPECT_GT(shapes_changed, cases / 2);
  for (const Verdict verdict : {Verdict::pass, Verdict::misuse, Verdict::stalled})
    EXPECT_NE(verdicts >> static_cast<unsigned>(verdict) & 1, 0u)
        << "no run ends in a way that leaves something behind";
}

// The smallest machine after the largest and back: most of what the one has is beyond the end of the other.
TEST(Reset, TwoMachinesTakeTurns) {
  Runner reused;
  for (std::uint64_t seed = 0; seed != cases / 6; ++seed) {
    SCOPED_TRACE(seed);
    for (const std::string_view name : {"toy", "x86-64 ram=64G cpus=8 nodes=4", "tiny-all cpus=3", "alpha ram=8M"}) {
      Case the_case = program::generate(seed, {.cpus_max = 1, .nodes_max = 1});
      the_case.shape = program::parse_shape(name).value();
      Runner fresh;
      ASSERT_NO_FATAL_FAILURE(
          expect_same(the_case, at_random(fresh, the_case, seed), at_random(reused, the_case, seed)));
    }
  }
}

// A run and its replay, statistics included: what nobody decides about takes as many steps as what somebody lets pass.
TEST(Reset, AReplayTakesTheSameSteps) {
  Runner reused;
  std::size_t straight = 0;
  for (std::uint64_t seed = 0; seed != cases; ++seed) {
    SCOPED_TRACE(seed);
    Case the_case = program::generate(seed, {.crimes = 30});
    const Outcome random = at_random(reused, the_case, seed);
    straight += random.departures.empty();
    the_case.departures = random.departures;
    program::sort_departures(the_case);
    const Outcome replayed = reused.replay(the_case, kept(seed));
    ASSERT_NO_FATAL_FAILURE(expect_same(the_case, random, replayed));
  }
  EXPECT_GT(straight, 10u) << "the replay of a run without departures is the special one";
}

}  // namespace
}  // namespace memtorture::run
#endif
