#include "cli/junit.h"

#include <algorithm>

#include <fmt/format.h>

namespace memtorture::cli {
namespace {

// XML 1.0 has no way to write most control characters; a file name or a dying subject may contain them.
std::string escaped(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    switch (c) {
      case '&': safe += "&amp;"; break;
      case '<': safe += "&lt;"; break;
      case '>': safe += "&gt;"; break;
      case '"': safe += "&quot;"; break;
      case '\n': safe += "&#10;"; break;
      default: safe += byte < 0x20 || byte >= 0x7f ? '?' : c;
    }
  }
  return safe;
}

std::size_t count(const std::vector<JunitCase>& cases, JunitResult result) {
  return static_cast<std::size_t>(std::ranges::count(cases, result, &JunitCase::result));
}

}  // namespace

std::string junit_text(const std::string& suite, const std::vector<JunitCase>& cases) {
  std::string text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
  text += fmt::format("<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\">\n", escaped(suite),
                      cases.size(), count(cases, JunitResult::failure), count(cases, JunitResult::error));
  for (const JunitCase& one : cases) {
    text += fmt::format("  <testcase classname=\"{}\" name=\"{}\"", escaped(suite), escaped(one.name));
    if (one.result == JunitResult::passed) {
      text += "/>\n";
      continue;
    }
    const std::string_view tag = one.result == JunitResult::failure ? "failure" : "error";
    text += fmt::format(">\n    <{0} message=\"{1}\">{2}</{0}>\n  </testcase>\n", tag, escaped(one.message),
                        escaped(one.body));
  }
  return text + "</testsuite>\n";
}

}  // namespace memtorture::cli
