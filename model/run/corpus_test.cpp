// The corpus: every case gives the verdict that it states, twice, with the structures audited after every operation.
//
// Read from the folder at run time, so that a case counts from the moment when its file exists. The corpus is a part of
// the specification: a case that stops giving its verdict is a defect of the allocator, of the oracle or of the case,
// and never a reason to change its expect line without saying which.
//
// Not checked: that a case is the smallest that shows its point. Deterministic engine only: threads have no schedule.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "model/program/op_table.h"
#include "model/program/text.h"
#include "model/run/run.h"

namespace memtorture::run {
namespace {

using oracle::RuleKind;

struct Entry {
  std::string name;  // of the file, without folder and ending
  Case the_case;
};

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<Entry> read_corpus() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(MT_SOURCE_DIR "/corpus/cases")) {
    if (entry.path().extension() == ".case") paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  std::vector<Entry> entries;
  for (const auto& path : paths) {
    auto parsed = program::parse(text_of(path));
    if (!parsed) {
      ADD_FAILURE() << parsed.error().message(path.string());
      continue;
    }
    entries.push_back({path.stem().string(), std::move(*parsed)});
  }
  return entries;
}

bool expects(const Entry& entry, std::string_view rule) { return entry.the_case.expect.rule == rule; }

TEST(Corpus, EveryCaseGivesItsVerdictTwice) {
  if (machine::Machine::concurrent()) GTEST_SKIP() << "schedules are for the deterministic engine";
  Runner runner;
  const auto corpus = read_corpus();
  ASSERT_GE(corpus.size(), 150u);
  for (const Entry& entry : corpus) {
    SCOPED_TRACE(entry.name);
    const Options options{.keep = Keep::history, .audit_every = 1};
    const Outcome first = runner.replay(entry.the_case, options);
    EXPECT_TRUE(as_expected(entry.the_case.expect, first)) << print_report(entry.the_case, first);
    const Outcome& second = runner.replay(entry.the_case, options);
    EXPECT_EQ(second.verdict, first.verdict);
    EXPECT_TRUE(second.history == first.history) << "two runs of one case differ";
  }
}

// What was left behind by the cases before must not show: one machine that has run them all agrees with a new one.
TEST(Corpus, AFreshMachineAgreesWithAUsedOne) {
  if (machine::Machine::concurrent()) GTEST_SKIP() << "schedules are for the deterministic engine";
  Runner used;
  for (const Entry& entry : read_corpus()) {
    if (entry.the_case.expect.verdict == Verdict::stalled) continue;  // as long as the step budget, and nothing new
    SCOPED_TRACE(entry.name);
    const Outcome fresh = replay(entry.the_case, {.keep = Keep::history});
    EXPECT_TRUE(used.replay(entry.the_case, {.keep = Keep::history}).history == fresh.history);
  }
}

// Audits look and do not touch: without them everything happens in the same way.
TEST(Corpus, AuditsChangeNothing) {
  if (machine::Machine::concurrent()) GTEST_SKIP() << "schedules are for the deterministic engine";
  Runner runner;
  for (const Entry& entry : read_corpus()) {
    if (entry.the_case.expect.verdict == Verdict::stalled) continue;
    SCOPED_TRACE(entry.name);
    const Outcome audited = runner.replay(entry.the_case, {.keep = Keep::history, .audit_every = 1});
    EXPECT_TRUE(runner.replay(entry.the_case, {.keep = Keep::history, .audit_every = audit_never}).history ==
                audited.history);
  }
}

struct Exception {
  std::string_view crime;
  std::string_view reason;
};
constexpr std::array exceptions{
    Exception{"preempt-underflow",
              "an enable that has nothing to undo is skipped, so that every part of a program is a program"},
};

TEST(Corpus, EveryCrimeIsCommitted) {
  const auto corpus = read_corpus();
  for (const auto& row : oracle::rule_table()) {
    if (row.kind != RuleKind::crime) continue;
    const bool excepted = std::ranges::find(exceptions, row.id, &Exception::crime) != exceptions.end();
    const bool committed = std::ranges::any_of(corpus, [&](const Entry& entry) { return expects(entry, row.id); });
    EXPECT_NE(committed, excepted) << row.id
                                   << (excepted ? ": has a case, and need not be an exception"
                                                : ": no case expects it");
  }
}

TEST(Corpus, EveryExpectedRuleExists) {
  for (const Entry& entry : read_corpus()) {
    const std::string& rule = entry.the_case.expect.rule;
    if (rule.empty()) continue;
    EXPECT_TRUE(std::ranges::any_of(oracle::rule_table(), [&](const auto& row) { return row.id == rule; }))
        << entry.name << ": " << rule;
  }
}

TEST(Corpus, EveryOperationOccurs) {
  std::set<std::string_view> seen;
  for (const Entry& entry : read_corpus()) {
    for (const auto& program : entry.the_case.programs) {
      for (const auto& op : program.ops) seen.insert(program::name_of(op));
    }
  }
  for (const auto name : program::op_names) EXPECT_TRUE(seen.contains(name)) << name << " is in no case";
}

TEST(Corpus, EveryCaseSaysWhatItShows) {
  for (const Entry& entry : read_corpus())
    EXPECT_FALSE(entry.the_case.comment.empty()) << entry.name << " has no head comment";
}

}  // namespace
}  // namespace memtorture::run
