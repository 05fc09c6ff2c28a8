// The truth table of requests against the specification and the subject: every cell is run.
#include "model/run/fates.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>

#include "model/program/text.h"
#include "model/run/run.h"

namespace memtorture::run {
namespace {

TEST(Fates, EveryCellIsWhatHappens) {
  if (machine::Machine::concurrent()) GTEST_SKIP() << "who comes first is for the deterministic engine";
  Runner runner;
  std::set<char> seen;
  for (unsigned asker = 0; asker != std::size(asker_names); ++asker) {
    for (unsigned spare = 0; spare != std::size(spare_names); ++spare) {
      for (const std::string_view request : requests()) {
        for (const Level& level : levels()) {
          const auto cell = std::tuple{static_cast<Spare>(spare), static_cast<Asker>(asker)};
          const Fate should = fate(request, level, std::get<0>(cell), std::get<1>(cell));
          const auto the_case = program::parse(fate_case(request, level, std::get<0>(cell), std::get<1>(cell)));
          ASSERT_TRUE(the_case.has_value()) << the_case.error().message("cell");
          const Outcome& outcome = runner.replay(*the_case, {.keep = Keep::history});
          EXPECT_TRUE(as_expected(the_case->expect, outcome)) << outcome.finding.rule << " " << outcome.finding.detail;
          EXPECT_EQ(letter(fate_of(*the_case, outcome)), letter(should))
              << request << ", " << level.name << ", " << spare_names[spare] << ", " << asker_names[asker];
          seen.insert(letter(should));
        }
      }
    }
  }
  EXPECT_EQ(seen.size(), fate_letters.size()) << "each fate is somebody's";
}

TEST(Fates, TheReadmeHasThem) {
  std::ifstream file(std::string(MT_SOURCE_DIR) + "/model/README.md");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  EXPECT_NE(text.find(fates_text()), std::string::npos) << "memtorture list requests --markdown prints them";
}

}  // namespace
}  // namespace memtorture::run
