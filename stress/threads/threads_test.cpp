// Pages and objects on real threads. Every test is one workload; a fresh seed each round.
//
//   MEMTORTURE_THREAD_ROUNDS  rounds a workload (default 30; nightly: hundreds)
//   MEMTORTURE_SEED           first seed (default 1)
//
// A failure prints the seed, the case and the merged history. The same seed makes the same programs and the same dice,
// so the same interleaving is likely; certain it is not.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ostream>

#include "model/program/text.h"
#include "stress/threads/rounds.h"

namespace memtorture::threads {

void PrintTo(const Workload& workload, std::ostream* out) { *out << workload.name; }

namespace {

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : otherwise;
}

class Threads : public testing::TestWithParam<Workload> {
 protected:
  // gtest holds the clock, so the speed is known when the tests are over.
  static void TearDownTestSuite() {
    const testing::TestSuite& suite = *testing::UnitTest::GetInstance()->current_test_suite();
    for (int i = 0; i != suite.total_test_count(); ++i) {
      const testing::TestInfo& test = *suite.GetTestInfo(i);
      const testing::TestResult& result = *test.result();
      for (int property = 0; property != result.test_property_count(); ++property) {
        const testing::TestProperty& entry = result.GetTestProperty(property);
        if (std::string_view(entry.key()) != "operations" || result.elapsed_time() == 0) continue;
        const double operations = std::strtod(entry.value(), nullptr);
        fmt::print("{:14} {:7.0f} operations, {:6.1f} k operations/s\n", test.value_param(), operations,
                   operations / static_cast<double>(result.elapsed_time()));
      }
    }
  }
};

TEST_P(Threads, RoundsAreSound) {
  const std::uint64_t rounds = number_from("MEMTORTURE_THREAD_ROUNDS", 30);
  const std::uint64_t first = number_from("MEMTORTURE_SEED", 1) * 1'000'000;
  const Workload& workload = GetParam();
  run::Runner runner;
  Tally tally;
  for (std::uint64_t round = 0; round != rounds; ++round) {
    const std::string trouble = run_round(runner, workload, first + round, tally);
    if (!trouble.empty()) FAIL() << trouble;
  }
  // A workload that does not do what it is named after proves nothing.
  EXPECT_GT(tally.statistics.operations, rounds * workload.ops_per_task / 2);
  EXPECT_LE(tally.ended_early * 2, rounds) << "most runs end before their programs do";
  if (workload.handovers_per_task != 0) EXPECT_GT(tally.handovers, 0u);
  if (workload.blocks_shared != 0)  // everybody drops every block
    EXPECT_GE(tally.handovers, rounds * workload.blocks_shared * write_case(workload, first).shape.cpus);
  if (workload.focus == Focus::caches) EXPECT_GT(tally.caches, rounds);
  if (workload.focus == Focus::cpus) EXPECT_GT(tally.cpus, rounds);
  if (workload.handlers_per_cpu != 0) EXPECT_GT(tally.handler_operations, 0u);
  RecordProperty("operations", std::to_string(tally.statistics.operations));
  fmt::print(
      "{:14} {} runs, {} ended early, {} refused, {} faults, {} reclaims, {} reports, {} handovers, {} by handlers, {} "
      "caches shrunk or destroyed\n",
      workload.name, tally.runs, tally.ended_early, tally.statistics.refused, tally.statistics.faults, tally.reclaims,
      tally.reports, tally.handovers, tally.handler_operations, tally.caches);
}

INSTANTIATE_TEST_SUITE_P(All, Threads, testing::ValuesIn(workloads().begin(), workloads().end()),
                         [](const auto& param) { return std::string(param.param.name); });

// The same seed is the same case, different seeds are different cases, and no task's slots are another's.
TEST(Workloads, CasesComeFromTheirSeeds) {
  for (const Workload& workload : workloads()) {
    const std::string text = program::print(write_case(workload, 7));
    EXPECT_EQ(text, program::print(write_case(workload, 7)));
    EXPECT_NE(text, program::print(write_case(workload, 8)));
  }
}

}  // namespace
}  // namespace memtorture::threads
