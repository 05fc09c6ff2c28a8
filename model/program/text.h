// Text <-> Case: the case language. The grammar is in corpus/README.md.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

#include "model/program/case.h"

namespace memtorture::program {

struct ParseError {
  std::uint32_t line = 0, column = 0;                // from 1
  std::string expected;                              // what would have been right here
  std::string found;                                 // what stood there ("end of line")
  std::string hint;                                  // what to do, or empty
  std::string message(std::string_view file) const;  // "FILE:3:12: expected an order 0..255, found 'x' (hint)"
};

std::expected<Case, ParseError> parse(std::string_view text);
std::string print(const Case& the_case);  // parse(print(c)) == c

// Pieces that front ends print too.
std::string print_gfp(subject::gfp_t gfp);             // "GFP_KERNEL|__GFP_ZERO"
std::string print_shape(const machine::Shape& shape);  // "x86-32 ram=8M cpus=2"
std::expected<machine::Shape, ParseError> parse_shape(std::string_view text);
std::string print_op(const Op& op, const Case& names);                                // "p = alloc_pages GFP_KERNEL 3"
std::string print_departure(const machine::Departure& departure, const Case& names);  // "zone.lock:2 -> b"

}  // namespace memtorture::program
