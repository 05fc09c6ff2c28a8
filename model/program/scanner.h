// One line of the case language as tokens, with the first error remembered.
//
// A token is a run of bytes other than blanks and the punctuation '=', '!' and '#'; the first two are tokens of their
// own, '#' starts a comment that ends the line. After the first error every further call is harmless: takers return
// empty tokens and defaults, so a grammar function is a straight line and one check at its end. Never throws, never
// reads outside the line, whatever the bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "model/program/text.h"

namespace memtorture::program {

struct Token {
  std::string_view text;     // empty: end of line
  std::uint32_t column = 1;  // in bytes, from 1
};

struct Bounds {
  std::uint64_t min = 0, max = ~std::uint64_t{0};
};

enum class Suffix : std::uint8_t { none, size };  // size: K, M, G and T multiply by powers of 1024

class Scanner {
 public:
  Scanner(std::string_view line, std::uint32_t number);

  std::uint32_t line() const { return number_; }
  bool ok() const { return !error_; }
  const std::optional<ParseError>& error() const { return error_; }

  bool at_end() const { return token_.text.empty(); }
  const Token& peek() const { return token_; }
  Token take();
  bool take_if(std::string_view text);                                            // takes the token if it is this one
  bool next_is(std::string_view text) const { return following().text == text; }  // the token after peek()
  void require(std::string_view text);
  void require_end(std::string_view also_allowed = {});

  // Numbers: decimal or 0x..., in bounds. `what` names it in the error: "an order".
  std::uint64_t take_number(std::string_view what, Bounds bounds, Suffix suffix = Suffix::none);
  std::uint64_t number_in(const Token& token, std::string_view what, Bounds bounds, Suffix suffix = Suffix::none);
  // The token's text to `found`; only the first refusal counts.
  void refuse(const Token& token, std::string expected, std::string hint = {});

 private:
  Token following() const;
  void advance();

  std::string_view line_;
  std::uint32_t number_;
  std::size_t position_ = 0;  // after token_
  Token token_;
  std::optional<ParseError> error_;
};

// The part of a token from `offset` on, as a token of its own.
inline Token tail_of(const Token& token, std::size_t offset) {
  return {token.text.substr(offset), token.column + static_cast<std::uint32_t>(offset)};
}

}  // namespace memtorture::program
