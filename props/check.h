// A property as a GoogleTest test, with its own number of cases, and the questions that many properties ask.
//
// RapidCheck's defaults are changed in two ways. The seed is a constant, so that a pipeline is red because of its
// commit and not of its luck; RC_PARAMS="seed=N" gives other cases. And max_success is a percentage of what each
// property asks for: properties cost differently, RC_PARAMS="max_success=1000" makes all of them ten times as thorough.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <sstream>
#include <string>

#include <rapidcheck.h>

#include "model/run/run.h"
#include "props/arbitrary.h"

namespace memtorture::props {

using run::Outcome;
using run::Verdict;

rc::detail::TestParams params(int cases);  // of a property that wants so many; what RC_PARAMS says is heeded

// Runs the property in the current test. Fails it with RapidCheck's message, counterexample and seed.
template <class Property>
void check(int cases, Property&& property) {
  const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
  const rc::detail::TestMetadata metadata{.id = std::string(test->test_suite_name()) + "/" + test->name(),
                                          .description = test->name()};
  const auto result = rc::detail::checkTestable(std::forward<Property>(property), metadata, params(cases));
  if (result.template is<rc::detail::SuccessResult>()) return;
  std::ostringstream message;
  rc::detail::printResultMessage(result, message);
  FAIL() << message.str();
}

// A program without crimes may come to a legal end that is not "pass": no memory and nobody to kill, or waiting for it.
bool is_innocent(const Outcome& outcome);
bool may_follow_misuse(const Outcome& outcome);  // ... or its crime was answered as the specification says

// Report and reproducer of an outcome that should not be: what a person needs to go on.
std::string explain(const Case& the_case, const Outcome& outcome);

// A run with random departures by the rates of its seed; faults injected on top only if asked for.
enum class Faults : std::uint8_t { by_rule_only, at_random };
Outcome run_at_random(run::Runner& runner, const Case& the_case, std::uint64_t seed, const run::Options& options,
                      Faults faults);

}  // namespace memtorture::props
