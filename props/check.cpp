#include "props/check.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "model/program/text.h"
#include "model/shrink/found.h"

namespace memtorture::props {

rc::detail::TestParams params(int cases) {
  constexpr std::uint64_t usual_seed = 20;
  constexpr int percent = 100;
  rc::detail::TestParams params = rc::detail::configuration().testParams;
  const char* told = std::getenv("RC_PARAMS");
  if (told == nullptr || std::string_view(told).find("seed=") == std::string_view::npos) params.seed = usual_seed;
  params.maxSuccess = std::max(1, static_cast<int>(std::int64_t{cases} * params.maxSuccess / percent));
  return params;
}

bool is_innocent(const Outcome& outcome) {
  return outcome.verdict == Verdict::pass || outcome.verdict == Verdict::panic || outcome.verdict == Verdict::stalled;
}

bool may_follow_misuse(const Outcome& outcome) { return is_innocent(outcome) || outcome.verdict == Verdict::misuse; }

std::string explain(const Case& the_case, const Outcome& outcome) {
  return run::print_report(the_case, outcome) + "\n" + program::print(shrink::reproducer(the_case, outcome));
}

Outcome run_at_random(run::Runner& runner, const Case& the_case, std::uint64_t seed, const run::Options& options,
                      Faults faults) {
  run::RandomRates rates = run::RandomChooser::swarm_rates(seed);
  if (faults == Faults::by_rule_only) rates.fault_permille = 0;
  run::RandomChooser chooser(seed, rates, the_case.departures);
  return runner.run(the_case, chooser, options);
}

}  // namespace memtorture::props
