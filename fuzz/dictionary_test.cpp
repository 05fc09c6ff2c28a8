#include "fuzz/dictionary.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

namespace memtorture::fuzz {
namespace {

TEST(Dictionary, TheFileHasEveryWord) {
  std::ifstream file(MT_SOURCE_DIR "/fuzz/text_fuzz.dict", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(text, text_dictionary()) << "fuzz/text_fuzz.dict is out of date: replace it by the second text";
}

}  // namespace
}  // namespace memtorture::fuzz
