#include "fuzz/mutator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "model/program/codec.h"
#include "model/program/generate.h"
#include "model/program/legal.h"

namespace memtorture::fuzz {
namespace {

constexpr std::uint64_t rounds = 300;
constexpr std::size_t roomy = 1 << 16;

Bytes some_bytes(std::uint64_t seed) {
  return program::encode(program::generate(seed, {.departures = 50, .ops_max = 80}));
}

std::size_t untouched(std::uint8_t*, std::size_t size, std::size_t) { return size; }

TEST(Mutator, ResultsAreCanonicalAndLegalAndOftenNew) {
  std::uint64_t changed = 0;
  for (std::uint64_t seed = 0; seed != rounds; ++seed) {
    program::Random random(seed);
    const Bytes before = some_bytes(seed);
    const Bytes after = mutated(before, roomy, random);
    const program::Case decoded = program::decode(after);
    ASSERT_EQ(program::encode(decoded), after) << "seed " << seed;
    ASSERT_FALSE(program::why_illegal(decoded).has_value()) << "seed " << seed;
    changed += after != before;
  }
  EXPECT_GT(changed, rounds * 9 / 10);
}

TEST(Mutator, AChildHasSomethingOfBoth) {
  std::uint64_t of_neither = 0;
  for (std::uint64_t seed = 0; seed != rounds; ++seed) {
    program::Random random(seed);
    const Bytes a = some_bytes(seed), b = some_bytes(seed + rounds);
    const Bytes child = crossed(a, b, roomy, random);
    ASSERT_FALSE(program::why_illegal(program::decode(child)).has_value()) << "seed " << seed;
    of_neither += child != a && child != b;
  }
  EXPECT_GT(of_neither, rounds / 2);
}

TEST(Mutator, ResultsFit) {
  for (std::uint64_t seed = 0; seed != rounds; ++seed) {
    for (const std::size_t room : {std::size_t{0}, std::size_t{7}, std::size_t{40}, std::size_t{200}}) {
      program::Random random(seed);
      ASSERT_LE(mutated(some_bytes(seed), room, random).size(), room);
      ASSERT_LE(crossed(some_bytes(seed), some_bytes(seed + 1), room, random).size(), room);
    }
  }
}

TEST(Mutator, TheSameSeedGivesTheSameChange) {
  std::set<Bytes> different;
  for (unsigned seed = 0; seed != 50; ++seed) {
    const Bytes before = some_bytes(1);
    Bytes once = before, twice = before;
    once.resize(roomy);
    twice.resize(roomy);
    once.resize(mutate_in_place(once.data(), before.size(), roomy, seed, untouched));
    twice.resize(mutate_in_place(twice.data(), before.size(), roomy, seed, untouched));
    ASSERT_EQ(once, twice);
    different.insert(once);
  }
  EXPECT_GT(different.size(), 20u);
}

TEST(Mutator, AnEmptyInputGrows) {
  std::size_t longest = 0;
  for (unsigned seed = 0; seed != 200; ++seed) {
    Bytes bytes(roomy);
    std::size_t size = 0;
    for (unsigned i = 0; i != 20; ++i) size = mutate_in_place(bytes.data(), size, roomy, seed * 20 + i, untouched);
    longest = std::max(longest, size);
  }
  EXPECT_GT(longest, 20u);
}

}  // namespace
}  // namespace memtorture::fuzz
