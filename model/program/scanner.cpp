#include "model/program/scanner.h"

#include <algorithm>

#include <fmt/format.h>

#include "model/program/words.h"

namespace memtorture::program {
namespace {

constexpr std::string_view end_of_line = "end of line";
constexpr std::size_t found_bytes_max = 48;

constexpr bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f'; }
constexpr bool is_mark(char c) { return c == '=' || c == '!'; }

// What stood there, fit for a terminal: control and non-ASCII bytes escaped, long tokens cut.
std::string readable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, found_bytes_max)) {
    if (c >= 0x20 && c < 0x7f) {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  if (text.size() > found_bytes_max) out += "...";
  return out;
}

enum class NumberFault : std::uint8_t { none, not_a_number, too_large };
struct Number {
  std::uint64_t value = 0;
  NumberFault fault = NumberFault::none;
};

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 99;
}

unsigned suffix_shift(char c) {
  switch (c) {
    case 'K': return 10;
    case 'M': return 20;
    case 'G': return 30;
    case 'T': return 40;
    default: return 0;
  }
}

Number read_number(std::string_view text, Suffix suffix) {
  unsigned shift = 0;
  if (suffix == Suffix::size && !text.empty()) shift = suffix_shift(text.back());
  if (shift != 0) text.remove_suffix(1);
  unsigned base = 10;
  if (text.starts_with("0x")) {
    base = 16;
    text.remove_prefix(2);
  }
  if (text.empty()) return {0, NumberFault::not_a_number};
  Number number;
  for (const char c : text) {
    const unsigned digit = static_cast<unsigned>(digit_of(c));
    if (digit >= base) return {0, NumberFault::not_a_number};
    std::uint64_t scaled = 0;
    if (__builtin_mul_overflow(number.value, base, &scaled) || __builtin_add_overflow(scaled, digit, &number.value)) {
      number.fault = NumberFault::too_large;
    }
  }
  if (shift != 0 && (number.value >> (64 - shift)) != 0) number.fault = NumberFault::too_large;
  number.value <<= shift;
  return number;
}

}  // namespace

std::string ParseError::message(std::string_view file) const {
  const bool quoted = found != end_of_line && found != "end of file";
  std::string text = fmt::format("{}:{}:{}: expected {}, found {}{}{}", file, line, column, expected, quoted ? "'" : "",
                                 found, quoted ? "'" : "");
  if (!hint.empty()) text += fmt::format(" ({})", hint);
  return text;
}

Scanner::Scanner(std::string_view line, std::uint32_t number) : line_(line), number_(number) { advance(); }

Token Scanner::following() const {
  std::size_t at = position_;
  while (at < line_.size() && is_blank(line_[at])) ++at;
  const Token end{{}, static_cast<std::uint32_t>(at) + 1};
  if (at >= line_.size() || line_[at] == '#') return end;
  std::size_t stop = at + 1;
  if (!is_mark(line_[at])) {
    while (stop < line_.size() && !is_blank(line_[stop]) && !is_mark(line_[stop]) && line_[stop] != '#') ++stop;
  }
  return {line_.substr(at, stop - at), static_cast<std::uint32_t>(at) + 1};
}

void Scanner::advance() {
  token_ = following();
  position_ = token_.column - 1 + token_.text.size();
}

Token Scanner::take() {
  const Token taken = token_;
  if (ok()) advance();
  return taken;
}

bool Scanner::take_if(std::string_view text) {
  if (!ok() || token_.text != text) return false;
  advance();
  return true;
}

void Scanner::require(std::string_view text) {
  if (!take_if(text)) refuse(token_, fmt::format("'{}'", text));
}

void Scanner::require_end(std::string_view also_allowed) {
  if (at_end()) return;
  refuse(token_, also_allowed.empty() ? std::string("the end of the line")
                                      : fmt::format("{} or the end of the line", also_allowed));
}

std::uint64_t Scanner::take_number(std::string_view what, Bounds bounds, Suffix suffix) {
  return number_in(take(), what, bounds, suffix);
}

std::uint64_t Scanner::number_in(const Token& token, std::string_view what, Bounds bounds, Suffix suffix) {
  if (!ok()) return bounds.min;
  const Number number = read_number(token.text, suffix);
  if (number.fault == NumberFault::none && number.value >= bounds.min && number.value <= bounds.max)
    return number.value;
  std::string hint;
  if (suffix == Suffix::size && number.fault == NumberFault::not_a_number)
    hint = "sizes are written 4096, 0x1000, 64K, 8M, 1G or 1T";
  refuse(token, fmt::format("{} {}..{}", what, bounds.min, bounds.max), std::move(hint));
  return bounds.min;
}

void Scanner::refuse(const Token& token, std::string expected, std::string hint) {
  if (error_) return;
  error_ = ParseError{number_, token.column, std::move(expected),
                      token.text.empty() ? std::string(end_of_line) : readable(token.text), std::move(hint)};
  token_ = {{}, token.column};
  position_ = line_.size();
}

}  // namespace memtorture::program
