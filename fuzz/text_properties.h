// What the parser promises for any text, as one function that gives the first promise broken, or nothing.
//
//   refused:   the error stands inside the text (line and column that exist, or just behind an end), says what was
//              expected, and fits on one line
//   accepted:  the case is legal; print and parse are inverse; so are encode and decode, up to what bytes do not carry
//
// Not checked: that a refusal is justified. The grammar's tests (model/program) do that, one wrong line at a time.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace memtorture::fuzz {

std::optional<std::string> broken_promise(std::string_view text);

}  // namespace memtorture::fuzz
