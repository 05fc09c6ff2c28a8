// The dictionary of text_fuzz: every word of the case language, from the tables that the parser reads.
//
// fuzz/text_fuzz.dict is this text, kept as a file because that is where libFuzzer and OSS-Fuzz look for it
// (TARGET.dict); a test compares the two, so a new operation without its word is a red test.
#pragma once

#include <string>

namespace memtorture::fuzz {

std::string text_dictionary();

}  // namespace memtorture::fuzz
