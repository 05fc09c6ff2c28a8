// The loop from bytes to a reproducer, in process: on the sound subject nothing is found, on the canary what is found
// ends as a file that replays. And the autopsy sees the same run as the fuzzer.
#include "fuzz/case_target.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "allocator/subject/canary.h"
#include "fuzz/autopsy.h"
#include "fuzz/tally.h"
#include "model/program/codec.h"
#include "model/program/generate.h"
#include "model/program/text.h"

namespace memtorture::fuzz {
namespace {

constexpr std::uint64_t tries = 5000;

std::vector<std::uint8_t> input(std::uint64_t seed) {
  return program::encode(program::generate(seed, {.faults = 30, .ops_min = 30, .ops_max = 200}));
}

std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Folder {
 public:
  explicit Folder(const char* name) : path_(std::filesystem::path(testing::TempDir()) / name) {
    std::filesystem::remove_all(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The first input of which only the canary dies.
std::uint64_t first_song(CaseTarget& target) {
  run::Runner sound;
  for (std::uint64_t seed = 0; seed != tries; ++seed) {
    const run::Outcome outcome = target.run(input(seed));
    if (outcome.is_bug() && !sound.replay(shrink::reproducer(target.the_case(), outcome)).is_bug()) return seed;
  }
  return tries;
}

TEST(CaseTarget, SoundSubjectGivesNoBugAndFeatures) {
  std::array<std::uint8_t, 1 << 14> features{};
  CaseTarget target(Scope::kernel, run::make_kernel(), "unused", features);
  run::Statistics sum;
  for (std::uint64_t seed = 0; seed != 500; ++seed) {
    const run::Outcome& outcome = target.run(input(seed));
    ASSERT_FALSE(outcome.is_bug()) << "seed " << seed << "\n" << run::print_report(target.the_case(), outcome);
    sum.add(outcome.statistics);
  }
  EXPECT_GT(sum.operations, 0u);
  EXPECT_GT(sum.faults, 0u);
  EXPECT_GT(sum.interrupts, 0u) << "handlers are never delivered by decision";
  EXPECT_GT(std::ranges::count_if(features, [](std::uint8_t count) { return count != 0; }), 50);
}

// Each target sees the machines that it is about, and sees all of them.
TEST(CaseTarget, TheScopeSaysWhichMachines) {
  using machine::ObjectLayer;
  std::set<ObjectLayer> seen[3];
  for (std::uint64_t seed = 0; seed != 300; ++seed) {
    for (const Scope scope : {Scope::pages, Scope::objects, Scope::kernel})
      seen[static_cast<unsigned>(scope)].insert(case_of(input(seed), scope).shape.objects);
  }
  EXPECT_EQ(seen[0], (std::set{ObjectLayer::none}));
  EXPECT_EQ(seen[1], (std::set{ObjectLayer::slab, ObjectLayer::k12}));
  EXPECT_EQ(seen[2], (std::set{ObjectLayer::none, ObjectLayer::slab, ObjectLayer::k12}));
  EXPECT_EQ(scope_of("objects_fuzz"), Scope::objects);
  EXPECT_EQ(scope_of("pages_fuzz"), Scope::pages);
  EXPECT_EQ(scope_of("kernel_fuzz"), Scope::kernel);
}

TEST(CaseTarget, TheCanaryEndsAsAReproducer) {
  const Folder folder("memtorture-pages-target-test");
  CaseTarget target(Scope::pages, subject::make_canary(subject::Planted::double_grant, run::make_kernel()),
                    folder.path(), {});
  const std::uint64_t seed = first_song(target);
  ASSERT_NE(seed, tries) << "the canary lives";

  const auto saved = target.save();
  ASSERT_TRUE(saved.has_value()) << saved.error();
  ASSERT_TRUE(saved->has_value());
  const shrink::Found& found = **saved;
  EXPECT_TRUE(found.result.reproduced);
  EXPECT_LE(shrink::measure(found.result.smallest).operations, 8u);

  const auto parsed = program::parse(contents(found.path));
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message(found.path.string());
  run::Runner again(subject::make_canary(subject::Planted::double_grant, run::make_kernel()));
  const run::Outcome& outcome = again.replay(*parsed, {.keep = run::Keep::history});
  ASSERT_FALSE(outcome.history.empty());
  EXPECT_TRUE(run::as_expected(parsed->expect, outcome));
  EXPECT_EQ(run::signature(*parsed, outcome), found.signature);
  const std::string told = contents(std::filesystem::path(found.path).replace_extension(".txt"));
  EXPECT_NE(told.find(run::print_history(*parsed, outcome.history)), told.npos) << told;
  run::Runner sound;
  EXPECT_FALSE(sound.replay(*parsed).is_bug());

  ASSERT_TRUE(target.run(input(seed)).is_bug());
  const auto second = target.save();
  ASSERT_TRUE(second.has_value());
  EXPECT_FALSE(second->has_value()) << "a known signature is not saved again";
}

TEST(CaseTarget, WhatCannotBeSavedIsSaid) {
  CaseTarget target(Scope::pages, subject::make_canary(subject::Planted::double_grant, run::make_kernel()),
                    "/proc/no/such/folder", {});
  const std::uint64_t seed = first_song(target);
  ASSERT_NE(seed, tries);
  const auto saved = target.save();
  ASSERT_FALSE(saved.has_value());
  EXPECT_NE(saved.error().find("/proc/no/such/folder"), std::string::npos);
}

TEST(Autopsy, SeesTheDeparturesOfTheFuzzer) {
  CaseTarget target(Scope::kernel, run::make_kernel(), "unused", {});
  std::size_t compared = 0;
  for (std::uint64_t seed = 0; seed != 20; ++seed) {
    const auto bytes = input(seed);
    program::Case by_fuzzer = target.the_case();
    const run::Outcome& outcome = target.run(bytes);
    // The fuzzer gives up an endless wait sooner than the autopsy does, which so sees more departures.
    if (outcome.verdict == run::Verdict::stalled || outcome.verdict == run::Verdict::livelock) continue;
    by_fuzzer.departures = outcome.departures;
    program::sort_departures(by_fuzzer);
    EXPECT_EQ(case_with_departures(bytes, Scope::kernel).departures, by_fuzzer.departures) << "seed " << seed;
    compared += by_fuzzer.departures.size();
  }
  EXPECT_GT(compared, 0u);
}

TEST(Autopsy, AnInputThatPassesLeavesNothing) {
  const Folder folder("memtorture-autopsy-test");
  const auto result = autopsy(input(1), Scope::kernel, folder.path());
  ASSERT_TRUE(result.has_value()) << result.error();
  EXPECT_FALSE(result->has_value());
  EXPECT_FALSE(std::filesystem::exists(folder.path()));
}

TEST(Tally, WritesItsFiguresWhole) {
  const Folder folder("memtorture-tally-test");
  {
    Tally tally("x_fuzz", folder.path());
    tally.count({.operations = 7, .faults = 2, .interrupts = 1});
    tally.count({.operations = 3});
    tally.found("found/a.case");
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) files.push_back(entry.path());
  ASSERT_EQ(files.size(), 1u);
  const std::string json = contents(files[0]);
  EXPECT_TRUE(files[0].filename().string().starts_with("stats-x_fuzz-"));
  for (const char* line :
       {"\"cases\": 2", "\"operations\": 10", "\"faults\": 2", "\"interrupts\": 1", "found/a.case"}) {
    EXPECT_NE(json.find(line), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace memtorture::fuzz
