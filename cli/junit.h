// A JUnit report, as continuous integration reads it: one suite, a test for each case.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace memtorture::cli {

enum class JunitResult : std::uint8_t { passed, failure, error };

struct JunitCase {
  std::string name;
  JunitResult result = JunitResult::passed;
  std::string message;  // one line
  std::string body;
};

// No times: a report of the same runs is the same text.
std::string junit_text(const std::string& suite, const std::vector<JunitCase>& cases);

}  // namespace memtorture::cli
