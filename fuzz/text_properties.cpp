#include "fuzz/text_properties.h"

#include <algorithm>

#include <fmt/format.h>

#include "model/program/codec.h"
#include "model/program/legal.h"
#include "model/program/text.h"

namespace memtorture::fuzz {
namespace {

using program::Case;
using program::ParseError;
using Broken = std::optional<std::string>;

// The text of line `number` (from 1), or nothing if there is no such line. "a\n" has two lines, the second empty.
std::optional<std::string_view> line_of(std::string_view text, std::uint32_t number) {
  for (std::uint32_t line = 1; line <= number; ++line) {
    const std::size_t end = text.find('\n');
    if (line == number) return text.substr(0, end);
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return std::nullopt;
}

// Inside the text, or at its end: of the last line, or where the next one would begin.
Broken judge_place(std::string_view text, const ParseError& error) {
  const auto line = line_of(text, error.line);
  if (!line && error.column == 1 && line_of(text, error.line - 1)) return std::nullopt;
  if (!line) return fmt::format("error in line {}, which does not exist", error.line);
  if (error.column != 0 && error.column <= line->size() + 1) return std::nullopt;
  return fmt::format("error in column {} of line {}, which has {} bytes", error.column, error.line, line->size());
}

Broken judge_error(std::string_view text, const ParseError& error) {
  if (auto misplaced = judge_place(text, error)) return misplaced;
  const std::string message = error.message("x.case");
  if (error.expected.empty() || message.empty()) return "an error that does not say what was expected";
  if (message.find('\n') != std::string::npos) return "an error message of more than one line";
  return std::nullopt;
}

// What the byte form does not carry: names, comment, expectation.
Case without_words(const Case& c) { return program::decode(program::encode(c)); }

Broken judge_case(const Case& c) {
  if (const auto why = program::why_illegal(c)) return "the parser accepted an illegal case: " + *why;
  const std::string text = program::print(c);
  const auto again = program::parse(text);
  if (!again) return "what was printed does not parse: " + again.error().message("printed");
  if (*again != program::normal(c)) return "parse(print(c)) is another case";
  if (program::print(*again) != text) return "print(parse(print(c))) is another text";
  const Case decoded = without_words(c);
  if (const auto why = program::why_illegal(decoded)) return "decode gave an illegal case: " + *why;
  if (without_words(decoded) != decoded) return "decode(encode(c)) is not canonical";
  Case same = program::normal(c);
  same.comment = decoded.comment;
  same.expect = decoded.expect;
  same.slot_names = decoded.slot_names;
  for (std::size_t i = 0; i != std::min(same.programs.size(), decoded.programs.size()); ++i)
    same.programs[i].name = decoded.programs[i].name;
  if (same != decoded) return "decode(encode(c)) is another case";
  return std::nullopt;
}

}  // namespace

std::optional<std::string> broken_promise(std::string_view text) {
  const auto parsed = program::parse(text);
  return parsed ? judge_case(*parsed) : judge_error(text, parsed.error());
}

}  // namespace memtorture::fuzz
