// Properties of the case language: text and bytes carry a case without loss, and deletion never leaves the language.
#include "model/program/codec.h"
#include "model/program/edits.h"
#include "model/program/legal.h"
#include "model/program/text.h"
#include "props/check.h"

namespace memtorture::props {
namespace {

const GenerateOptions everything{.crimes = 50, .faults = 50, .departures = 50, .ops_max = 120};

// What bytes do not carry: names, comment, expectation.
Case without_words(Case c) {
  c.comment.clear();
  c.expect = {};
  for (std::size_t i = 0; i != c.slot_names.size(); ++i) c.slot_names[i] = program::default_slot_name(i);
  for (std::size_t i = 0; i != c.programs.size(); ++i)
    c.programs[i].name = program::default_program_name(c.programs[i].kind, i);
  return c;
}

// Deletes each operation with a chance that differs from seed to seed.
Case thinned(Case c, std::uint64_t seed) {
  program::Random random(seed);
  const std::uint32_t percent = 5 + random.below(90);
  for (std::size_t p = 0; p != c.programs.size(); ++p) {
    for (std::size_t i = c.programs[p].ops.size(); i-- != 0;) {
      if (random.percent(percent)) program::erase_ops(c, p, i, 1);
    }
  }
  return c;
}

TEST(Language, GeneratedCasesAreLegal) {
  check(1000, [] { RC_ASSERT_FALSE(program::why_illegal(*cases(everything)).has_value()); });
}

TEST(Language, TextCarriesACase) {
  check(1000, [] {
    const Case the_case = *cases(everything);
    const auto parsed = program::parse(program::print(the_case));
    if (!parsed) RC_FAIL(parsed.error().message("printed"));
    RC_ASSERT(*parsed == program::normal(the_case));
  });
}

TEST(Language, BytesCarryACase) {
  check(1000, [] {
    const Case the_case = *cases(everything);
    const auto bytes = program::encode(the_case);
    const Case decoded = program::decode(bytes);
    RC_ASSERT(without_words(decoded) == without_words(program::normal(the_case)));
    RC_ASSERT(program::encode(decoded) == bytes);
  });
}

TEST(Language, AnyBytesAreALegalCase) {
  check(2000, [](const std::vector<std::uint8_t>& bytes) {
    const Case decoded = program::decode(bytes);
    RC_ASSERT_FALSE(program::why_illegal(decoded).has_value());
    const auto canonical = program::encode(decoded);
    RC_ASSERT(program::encode(program::decode(canonical)) == canonical);
  });
}

TEST(Language, MutationsAndCrossingsStayLegal) {
  check(500, [] {
    Case a = *cases(everything), b = *cases(everything);
    program::Random random(*seeds());
    for (int i = 0; i != 20; ++i) program::mutate(a, random);
    RC_ASSERT_FALSE(program::why_illegal(a).has_value());
    RC_ASSERT_FALSE(program::why_illegal(program::cross(a, b, random)).has_value());
  });
}

TEST(Language, ShrinksAreLegalAndNotTheCaseItself) {
  check(30, [] {
    const Case the_case = *cases({.faults = 50, .departures = 50, .ops_max = 30});
    for (auto shrinks = smaller(the_case); auto shrunk = shrinks.next();) {
      RC_ASSERT_FALSE(program::why_illegal(*shrunk).has_value());
      RC_ASSERT(*shrunk != the_case);
    }
  });
}

// A subsequence may commit crimes that the whole did not (its allocation is gone, its second free is left), so misuse
// is among the verdicts; a broken rule or a crash is not.
TEST(Language, EverySubsequenceIsAProgramAndRuns) {
  run::Runner runner;
  check(1000, [&] {
    const Case part = thinned(*cases({.departures = 50, .ops_max = 120}), *seeds());
    RC_ASSERT_FALSE(program::why_illegal(part).has_value());
    const Outcome outcome = run_at_random(runner, part, *seeds(), {}, Faults::by_rule_only);
    if (!may_follow_misuse(outcome)) RC_FAIL(explain(part, outcome));
  });
}

}  // namespace
}  // namespace memtorture::props
