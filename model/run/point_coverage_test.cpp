// The corpus steers runs wherever a run can be steered, and what cannot be is named with a true reason.
#include "model/run/point_coverage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "model/program/text.h"
#include "model/run/run.h"

namespace memtorture::run {
namespace {

std::vector<std::string> open_cells(const PointCoverage& coverage) {
  std::vector<std::string> cells;
  for (unsigned i = 0; i != machine::site_count; ++i) {
    for (unsigned w = 0; w != ways; ++w) {
      const machine::Site site = machine::Site::at(i);
      if (coverage.taken[i][w] == 0 && why_never(site, static_cast<Way>(w)).empty())
        cells.push_back(std::string(site.name()) + " x " + std::string(way_names[w]));
    }
  }
  return cells;
}

TEST(PointCoverage, TheCorpusReachesWhatCanBeReached) {
  if (machine::Machine::concurrent()) GTEST_SKIP() << "schedules are for the deterministic engine";
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(MT_SOURCE_DIR "/corpus/cases")) {
    if (entry.path().extension() == ".case") paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  PointCoverage coverage;
  Runner runner;
  for (const auto& path : paths) {
    std::ifstream file(path);
    const auto parsed = program::parse(std::string(std::istreambuf_iterator<char>(file), {}));
    ASSERT_TRUE(parsed) << path;
    ReplayChooser replay(parsed->departures);
    CoverageChooser chooser(replay, *parsed, coverage);
    runner.run(*parsed, chooser, {.audit_every = audit_never});
  }
  for (const std::string& cell : open_cells(coverage))
    ADD_FAILURE() << cell << ": no case of the corpus is steered there; write one, or say in why_never() why it cannot";
  for (unsigned i = 0; i != machine::site_count; ++i) {
    for (unsigned w = 0; w != ways; ++w) {
      const machine::Site site = machine::Site::at(i);
      if (why_never(site, static_cast<Way>(w)).empty()) continue;
      EXPECT_EQ(coverage.offered[i][w], 0u) << site.name() << " x " << way_names[w] << " was possible after all";
    }
  }
}

TEST(PointCoverage, NothingIsCoveredByNothing) {
  const std::vector<std::string> cells = open_cells({});
  EXPECT_NE(std::ranges::find(cells, "op x hardirq"), cells.end());
  EXPECT_NE(std::ranges::find(cells, "zone.lock x other cpu"), cells.end());
  EXPECT_EQ(std::ranges::find(cells, "zone.lock x hardirq"), cells.end()) << "interrupts are off there";
}

}  // namespace
}  // namespace memtorture::run
