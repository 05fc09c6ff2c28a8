// The attribute machine against a second, literal reading of domain.md 19.2 (P-FAULT-1..5).
#include "allocator/fault/decide.h"

#include <gtest/gtest.h>

#include <vector>

namespace memtorture::fault {
namespace {

// 19.2, line by line, on plain numbers.
struct Literal {
  std::int64_t space, count = 0;
  std::int32_t times;
  explicit Literal(const Rule& rule) : space(rule.space), times(rule.times) {}

  bool fails(const Rule& rule, const Call& call, unsigned dice) {
    if ((call.gfp & subject::gfp_nofail) != 0) return false;
    if (call.order < rule.min_order) return false;
    if (rule.ignore_highmem && (call.gfp & subject::gfp_highmem) != 0) return false;
    if (rule.ignore_wait && (call.gfp & subject::gfp_wait) != 0) return false;
    if (rule.task != machine::no_context && rule.task != call.who) return false;
    // Ours: what the kernel's stack filter, cache filter and /proc files do there.
    if (call.order > rule.max_order) return false;
    if (call.size < rule.min_size) return false;
    if (call.size > rule.max_size) return false;
    if ((call.gfp | rule.gfp) != call.gfp) return false;
    if (rule.cpu != any_cpu && call.cpu != rule.cpu) return false;
    if (rule.kind != any_kind && static_cast<int>(call.kind) != rule.kind) return false;
    if (rule.caller != 0 && call.caller != rule.caller) return false;
    if (rule.probability == 0) return false;
    if (times == 0) return false;
    if (space > static_cast<std::int64_t>(call.size)) {
      space -= static_cast<std::int64_t>(call.size);
      return false;
    }
    if (rule.interval > 1) {
      count += 1;
      if (count % rule.interval != 0) return false;
    }
    if (rule.probability <= dice) return false;
    if (times != -1) times = times - 1 < 0 ? 0 : times - 1;
    return true;
  }
};

class Dice {  // a fixed linear congruential sequence: the same in every run
 public:
  unsigned below(unsigned n) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<unsigned>(state_ >> 33) % n;
  }

 private:
  std::uint64_t state_ = 26;
};

Rule random_rule(Dice& dice) {
  constexpr std::uint8_t probabilities[] = {0, 1, 50, 99, 100};
  return {.probability = probabilities[dice.below(5)],
          .interval = 1 + dice.below(4),
          .times = static_cast<std::int32_t>(dice.below(5)) - 1,
          .space = dice.below(3) == 0 ? dice.below(40) : 0,
          .min_order = static_cast<std::uint8_t>(dice.below(3)),
          .max_order = static_cast<std::uint8_t>(dice.below(4) == 0 ? dice.below(3) : 255),
          .min_size = dice.below(4) == 0 ? dice.below(10) : 0,
          .max_size = dice.below(4) == 0 ? dice.below(20) : ~std::uint32_t{0},
          .gfp = dice.below(4) == 0 ? subject::gfp_wait : 0,
          .ignore_wait = dice.below(2) == 0,
          .ignore_highmem = dice.below(2) == 0,
          .task = dice.below(2) == 0 ? machine::no_context : machine::ContextId{1},
          .cpu = dice.below(4) == 0 ? std::uint8_t{1} : any_cpu,
          .kind = dice.below(4) == 0 ? static_cast<std::uint8_t>(dice.below(4)) : any_kind,
          .caller = static_cast<std::uint16_t>(dice.below(4) == 0 ? 1 + dice.below(2) : 0)};
}

Call random_call(Dice& dice) {
  const unsigned order = dice.below(4);
  constexpr subject::gfp_t flags[] = {subject::GFP_KERNEL, subject::GFP_ATOMIC, subject::GFP_HIGHUSER,
                                      subject::GFP_KERNEL | subject::gfp_nofail};
  return {.size = 1u << order,
          .gfp = flags[dice.below(4)],
          .order = order,
          .who = static_cast<machine::ContextId>(dice.below(3)),
          .cpu = static_cast<std::uint8_t>(dice.below(2)),
          .kind = static_cast<machine::ContextKind>(dice.below(4)),
          .caller = static_cast<std::uint16_t>(dice.below(3))};
}

TEST(Decide, EqualsTheLiteralReadingForRandomRules) {
  Dice dice;
  unsigned failures = 0;
  for (int rules = 0; rules != 4000; ++rules) {
    const Rule rule = random_rule(dice);
    Counters counters;
    counters.reset(rule);
    Literal literal(rule);
    for (int calls = 0; calls != 40; ++calls) {
      const Call call = random_call(dice);
      const unsigned thrown = dice.below(100);
      const bool fails = decide(rule, counters, call, [&](std::uint32_t percent) { return thrown < percent; });
      ASSERT_EQ(fails, literal.fails(rule, call, thrown)) << "rule " << rules << ", call " << calls;
      failures += fails;
    }
  }
  EXPECT_GT(failures, 1000u);  // the comparison saw both answers
}

std::vector<int> failing_calls(const Rule& rule, int calls, const Call& call = {}) {
  Counters counters;
  counters.reset(rule);
  std::vector<int> failing;
  for (int i = 1; i <= calls; ++i) {
    if (decide(rule, counters, call, [](std::uint32_t) { return false; })) failing.push_back(i);
  }
  return failing;
}

TEST(Decide, TimesLimitsFailures) {
  EXPECT_EQ(failing_calls({.times = 2}, 5), (std::vector{1, 2}));
  EXPECT_EQ(failing_calls({.times = 0}, 5), std::vector<int>{});
  EXPECT_EQ(failing_calls({.times = -1}, 3), (std::vector{1, 2, 3}));
}

TEST(Decide, IntervalFailsEveryKthCall) { EXPECT_EQ(failing_calls({.interval = 3}, 10), (std::vector{3, 6, 9})); }

TEST(Decide, SpaceIsConsumedBeforeTheIntervalMoves) {
  // 10 > 4: pass, 6 left; 6 > 4: pass, 2 left; then the interval counts 1, 2 (fails), 3, 4 (fails).
  EXPECT_EQ(failing_calls({.interval = 2, .space = 10}, 6, {.size = 4}), (std::vector{4, 6}));
}

TEST(Decide, NofailAndNonMatchingCallsNeverFail) {
  EXPECT_EQ(failing_calls({}, 3, {.gfp = subject::GFP_KERNEL | subject::gfp_nofail}), std::vector<int>{});
  EXPECT_EQ(failing_calls({.ignore_wait = true}, 3, {.gfp = subject::GFP_KERNEL}), std::vector<int>{});
  EXPECT_EQ(failing_calls({.ignore_highmem = true}, 3, {.gfp = subject::gfp_highmem}), std::vector<int>{});
  EXPECT_EQ(failing_calls({.min_order = 1}, 3, {.order = 0}), std::vector<int>{});
  EXPECT_EQ(failing_calls({.max_order = 1}, 3, {.order = 2}), std::vector<int>{});
  EXPECT_EQ(failing_calls({.min_size = 9, .max_size = 16}, 3, {.size = 8}), std::vector<int>{});
  EXPECT_EQ(failing_calls({.min_size = 9, .max_size = 16}, 3, {.size = 17}), std::vector<int>{});
  EXPECT_EQ(failing_calls({.gfp = subject::gfp_high}, 3, {.gfp = subject::GFP_KERNEL}), std::vector<int>{});
  EXPECT_EQ(failing_calls({.cpu = 1}, 3, {.cpu = 0}), std::vector<int>{});
  EXPECT_EQ(failing_calls({.kind = 2}, 3, {.kind = machine::ContextKind::softirq}), std::vector<int>{});
  EXPECT_EQ(failing_calls({.caller = 5}, 3, {.caller = 4}), std::vector<int>{});
  EXPECT_EQ(failing_calls({.task = 1}, 3, {.who = 2}), std::vector<int>{});
  EXPECT_EQ(failing_calls({.min_order = 1, .task = 1}, 1, {.order = 1, .who = 1}), std::vector{1});
}

TEST(Decide, ProbabilityBelowHundredIsTheDicesBusiness) {
  EXPECT_EQ(failing_calls({.probability = 99}, 5), std::vector<int>{});
}

}  // namespace
}  // namespace memtorture::fault
