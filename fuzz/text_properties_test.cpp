#include "fuzz/text_properties.h"

#include <gtest/gtest.h>

#include "model/program/edits.h"
#include "model/program/generate.h"
#include "model/program/text.h"

namespace memtorture::fuzz {
namespace {

void keeps_its_promises(std::string_view text) {
  const auto broken = broken_promise(text);
  EXPECT_FALSE(broken.has_value()) << *broken << "\nfor:\n" << text;
}

TEST(TextProperties, OddTexts) {
  using namespace std::string_view_literals;
  for (const auto text :
       {""sv, "\n"sv, "\r\n"sv, "memtorture 1"sv, "memtorture 1\n"sv, "memtorture 2\n"sv, "\0\0"sv, "\xff\xfe"sv,
        "memtorture 1\nmachine tiny-32\nexpect pass\n"sv, "memtorture 1\nmachine tiny-32 cpus=0\nexpect pass\n"sv,
        "memtorture 1\nmachine tiny-32\nexpect pass\ntask a cpu0\n  p = alloc_pages GFP_KERNEL\n"sv}) {
    keeps_its_promises(text);
  }
}

TEST(TextProperties, CasesCutAndBent) {
  for (std::uint64_t seed = 0; seed != 100; ++seed) {
    const std::string text = program::print(program::generate(seed, {.departures = 50, .ops_max = 40}));
    keeps_its_promises(text);
    program::Random random(seed);
    for (int i = 0; i != 20; ++i) {
      const std::size_t at = random.below(static_cast<std::uint32_t>(text.size()));
      std::string bent = text;
      bent[at] = static_cast<char>(random.below(128));
      keeps_its_promises(bent);
      keeps_its_promises(std::string_view(text).substr(0, at));
    }
  }
}

}  // namespace
}  // namespace memtorture::fuzz
