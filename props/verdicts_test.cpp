// Properties of the subject: whatever the generator makes and whatever the schedule does, the verdict is one that the
// specification allows. White-box audits after every operation, so that damage is seen where it is done.
#include "props/check.h"

namespace memtorture::props {
namespace {

const run::Options audited{.audit_every = 1};

// A case without crimes ends innocently. Two demands, because shrinking may turn an innocent program into a crime (its
// allocation gets smaller, its release does not): RapidCheck shrinks bugs of the subject, and a misuse, which is a bug
// of the generator, is told as it was drawn.
class Innocence {
 public:
  void demand(const Case& the_case, const Outcome& outcome) {
    operations_ += outcome.statistics.operations;
    if (outcome.is_bug()) {
      shrinking_ = true;
      RC_FAIL(explain(the_case, outcome));
    }
    if (!shrinking_ && !is_innocent(outcome) && guilty_.empty()) guilty_ = explain(the_case, outcome);
  }
  ~Innocence() {
    EXPECT_EQ(guilty_, "") << "a case that was drawn without crimes";
    EXPECT_GT(operations_, 10'000u) << "hardly anything was executed: this property checks little";
  }

 private:
  bool shrinking_ = false;
  std::string guilty_;
  std::uint64_t operations_ = 0;
};

TEST(Verdicts, SequentialCasesPass) {
  run::Runner runner;
  Innocence innocence;
  check(1500, [&] {
    const Case the_case = *cases({.faults = 0, .contexts = 0, .ops_max = 200, .cpus_max = 1, .nodes_max = 1});
    innocence.demand(the_case, runner.replay(the_case, audited));
  });
}

void random_runs_are_innocent(const GenerateOptions& options, Faults faults) {
  run::Runner runner;
  Innocence innocence;
  check(1500, [&] {
    const Case the_case = *cases(options);
    innocence.demand(the_case, run_at_random(runner, the_case, *seeds(), audited, faults));
  });
}

TEST(Verdicts, ContextsAndInterleavingsPass) {
  random_runs_are_innocent({.faults = 0, .contexts = 100, .ops_max = 200}, Faults::by_rule_only);
}

TEST(Verdicts, FaultsPass) {
  random_runs_are_innocent({.faults = 100, .contexts = 30, .ops_max = 200}, Faults::at_random);
}

TEST(Verdicts, MisuseIsAnsweredAndHarmsNothingElse) {
  run::Runner runner;
  int crimes = 0;
  check(1500, [&] {
    const Case the_case = *cases({.crimes = 100, .faults = 20, .ops_max = 100});
    const Outcome outcome = run_at_random(runner, the_case, *seeds(), audited, Faults::at_random);
    crimes += outcome.verdict == Verdict::misuse;
    if (!may_follow_misuse(outcome)) RC_FAIL(explain(the_case, outcome));
  });
  EXPECT_GT(crimes, 100) << "the generator's crimes hardly ever happen: this property checks little";
}

}  // namespace
}  // namespace memtorture::props
