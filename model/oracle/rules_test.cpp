// README and rule_table() say the same; ids are unique; every rule has an example and a test of its own.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "model/oracle/oracle.h"

namespace memtorture::oracle {
namespace {

constexpr std::string_view kind_names[] = {"rule", "crime", "audit", "machine"};

TEST(Rules, ReadmeAndTableAreEqual) {
  std::ifstream file(std::string(MT_SOURCE_DIR) + "/model/README.md");
  ASSERT_TRUE(file);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("| `")) lines.push_back(line);
  }
  ASSERT_EQ(lines.size(), rule_table().size());
  for (std::size_t i = 0; i != lines.size(); ++i) {
    const RuleRow& row = rule_table()[i];
    const std::string start = "| `" + std::string(row.id) + "` | " +
                              std::string(kind_names[static_cast<unsigned>(row.kind)]) + " | " +
                              std::string(row.source) + " | " + std::string(row.meaning) + " | ";
    EXPECT_TRUE(lines[i].starts_with(start)) << "README has\n  " << lines[i] << "\nthe table says\n  " << start;
    EXPECT_GT(lines[i].size(), start.size() + 4) << "no example for " << row.id;
  }
}

TEST(Rules, IdsAreUnique) {
  std::set<std::string_view> ids;
  for (const RuleRow& row : rule_table()) EXPECT_TRUE(ids.insert(row.id).second) << row.id;
}

// Some test beside this one names the rule as the one that a history must get.
TEST(Rules, EveryRuleHasATest) {
  struct Untested {
    std::string_view id, reason;
  };
  constexpr Untested exceptions[] = {
      {"page.conserve",
       "the sum of counts that other rules compare one by one: fails only if the ledger itself is wrong"},
  };
  std::string sources;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(MT_SOURCE_DIR) + "/model/oracle")) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with("_test.cpp") || name == "rules_test.cpp") continue;
    std::ifstream file(entry.path());
    sources.append(std::istreambuf_iterator<char>(file), {});
  }
  ASSERT_FALSE(sources.empty());
  for (const RuleRow& row : rule_table()) {
    const bool tested = sources.find('"' + std::string(row.id) + '"') != std::string::npos;
    const bool excepted = std::ranges::find(exceptions, row.id, &Untested::id) != std::end(exceptions);
    EXPECT_NE(tested, excepted) << row.id;
  }
}

}  // namespace
}  // namespace memtorture::oracle
