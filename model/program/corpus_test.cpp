// corpus/README.md describes the language as it is: its examples parse, and nothing that exists is missing from it.
// And every case in the corpus is read, legal and printed as it stands.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "model/program/codec.h"
#include "model/program/legal.h"
#include "model/program/op_table.h"
#include "model/program/text.h"
#include "model/program/words.h"

namespace memtorture::program {
namespace {

namespace fs = std::filesystem;
const fs::path corpus = fs::path(MT_SOURCE_DIR) / "corpus";

std::string contents_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  EXPECT_TRUE(in.good()) << path;
  return text.str();
}

std::vector<std::string> examples(const std::string& page) {
  static constexpr std::string_view open = "```case\n", close = "```\n";
  std::vector<std::string> found;
  for (std::size_t at = page.find(open); at != std::string::npos; at = page.find(open, at)) {
    at += open.size();
    found.push_back(page.substr(at, page.find(close, at) - at));
  }
  return found;
}

TEST(Grammar, ItsExamplesParse) {
  const auto all = examples(contents_of(corpus / "README.md"));
  ASSERT_GE(all.size(), 5U);
  for (const std::string& text : all) {
    const auto parsed = parse(text);
    ASSERT_TRUE(parsed.has_value()) << parsed.error().message("README.md") << "\n" << text;
    EXPECT_EQ(parse(print(*parsed)), *parsed);
  }
}

TEST(Grammar, NamesEverythingThatExists) {
  const std::string page = contents_of(corpus / "README.md");
  const auto expect_row = [&](std::string_view name, std::string_view meaning) {
    const bool found = page.find("| `" + std::string(name)) != std::string::npos ||
                       page.find(" = " + std::string(name)) != std::string::npos;
    EXPECT_TRUE(found) << name << " is not in the grammar";
    EXPECT_NE(page.find(meaning), std::string::npos)
        << name << ": the grammar says something else than '" << meaning << "'";
  };
  for_each_op_type([&]<class O>() { expect_row(O::name, O::meaning); });
  for (const auto& row : subject::gfp_table) expect_row(row.name, row.meaning);
  for (const auto& row : machine::site_table) expect_row(row.name, row.meaning);
  for (const auto& row : machine::shape_table()) expect_row(row.name, row.meaning);
  for (const std::string_view verdict : verdict_names)
    EXPECT_NE(page.find("`" + std::string(verdict) + "`"), std::string::npos) << verdict;
  for (const FlagWord& flag : flag_words)
    EXPECT_NE(page.find("`" + std::string(flag.word) + "`"), std::string::npos) << flag.word;
}

TEST(Seeds, AreCanonicalAndCoverTheLanguage) {
  std::set<std::string_view> ops;
  std::set<fs::path> paths;  // directory order differs between systems
  for (const auto& entry : fs::directory_iterator(corpus / "seeds")) paths.insert(entry.path());
  ASSERT_GE(paths.size(), 15U);
  for (const fs::path& path : paths) {
    const std::string text = contents_of(path);
    const auto parsed = parse(text);
    ASSERT_TRUE(parsed.has_value()) << parsed.error().message(path.string());
    EXPECT_EQ(why_illegal(*parsed), std::nullopt) << path;
    EXPECT_EQ(print(*parsed), text) << path << " is not formatted";
    EXPECT_EQ(encode(decode(encode(*parsed))), encode(*parsed));
    for (const Program& program : parsed->programs) {
      for (const Op& op : program.ops) ops.insert(name_of(op));
    }
  }
  for (const std::string_view name : op_names) EXPECT_TRUE(ops.contains(name)) << name << " is in no seed";
}

}  // namespace
}  // namespace memtorture::program
