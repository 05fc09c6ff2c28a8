// Properties of the machinery that only a bug can show: that properties fail where they must, with a small
// counterexample, and that the minimiser keeps the bug it was given. The bugs are planted (allocator/subject/canary.h).
#include <optional>
#include <string>

#include "allocator/subject/canary.h"
#include "model/program/edits.h"
#include "model/shrink/found.h"
#include "props/check.h"

namespace memtorture::props {
namespace {

using subject::Planted;

const GenerateOptions innocent{.faults = 10, .ops_max = 200};
constexpr std::size_t operations_small = 8;  // the bugs need three or four

// The canary and, beside it, the subject without the planted bug: what both do is not the canary's song.
struct Pair {
  run::Runner canary, sound;
  explicit Pair(Planted bug) : canary(subject::make_canary(bug, run::make_kernel())) {}
  bool sings(const Case& the_case, const Outcome& outcome) {
    return outcome.is_bug() && !sound.replay(shrink::reproducer(the_case, outcome)).is_bug();
  }
};

// The property of verdicts_test.cpp inside a RapidCheck run whose failure is what is asked for.
void must_be_found(Planted bug) {
  Pair pair(bug);
  std::optional<Case> smallest;  // RapidCheck goes on from what fails: the last failure is the smallest
  std::string rule;
  const auto property = [&] {
    const Case the_case = *cases(innocent);
    const Outcome outcome = pair.canary.replay(the_case);
    if (!pair.sings(the_case, outcome)) return;
    smallest = the_case;
    rule = outcome.finding.rule;
    RC_FAIL("found");
  };
  auto with_shrinking = params(3000);
  with_shrinking.disableShrinking = false;
  const auto result = rc::detail::checkTestable(property, rc::detail::TestMetadata{}, with_shrinking);
  ASSERT_TRUE(result.template is<rc::detail::FailureResult>()) << "the canary lives: the property finds nothing";
  EXPECT_FALSE(rule.empty()) << "found by accident and not by a rule";
  EXPECT_LE(shrink::measure(*smallest).operations, operations_small);
}

TEST(Canary, DoubleGrantIsFoundAndSmall) { must_be_found(Planted::double_grant); }

TEST(Canary, StaleZeroIsFoundAndSmall) { must_be_found(Planted::stale_zero); }

TEST(Canary, TheSamePropertyPassesOnTheSoundSubject) {
  run::Runner runner;
  check(1000, [&] {
    const Case the_case = *cases(innocent);
    const Outcome outcome = runner.replay(the_case);
    if (!is_innocent(outcome)) RC_FAIL(explain(the_case, outcome));
  });
}

// Every bug that random runs find: the minimised case has the same signature, is no larger, replays, and cannot lose
// any one of its operations and departures.
TEST(Canary, ShrinkingKeepsTheSignature) {
  Pair pair(Planted::double_grant);
  const auto judge = [&](const Case& candidate, run::Keep keep = run::Keep::nothing) {
    return pair.canary.replay(candidate, {.keep = keep});
  };
  int bugs = 0;
  check(5000, [&] {
    const Case the_case = *rc::gen::noShrink(cases({.faults = 30, .ops_min = 40, .ops_max = 300}));
    const Outcome found = run_at_random(pair.canary, the_case, *seeds(), {}, Faults::at_random);
    if (!pair.sings(the_case, found)) return;
    ++bugs;
    const std::string signature = run::signature(the_case, found);
    const shrink::Result result = shrink::shrink(the_case, found, judge);
    RC_ASSERT(result.reproduced);
    RC_ASSERT(run::signature(result.smallest, result.outcome) == signature);
    RC_ASSERT(run::signature(result.smallest, judge(result.smallest)) == signature);
    RC_ASSERT(shrink::measure(result.smallest).operations <= shrink::measure(the_case).operations);
    for (std::size_t p = 0; p != result.smallest.programs.size(); ++p) {
      for (std::size_t i = 0; i != result.smallest.programs[p].ops.size(); ++i) {
        Case smaller_still = result.smallest;
        program::erase_ops(smaller_still, p, i, 1);
        RC_ASSERT(run::signature(smaller_still, judge(smaller_still)) != signature);
      }
    }
  });
  EXPECT_GT(bugs, 5) << "the canary hardly ever sings: this property checks little";
}

}  // namespace
}  // namespace memtorture::props
