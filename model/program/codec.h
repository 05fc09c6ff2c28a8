// Bytes <-> Case. decode is total: any bytes decode to a legal Case (possible machine, names in range, sorted
// departures), so a fuzzer's every input is a program and cutting bytes cuts operations. encode(decode(b)) is
// canonical; decode(encode(c)) == c up to names, comment and expectation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "model/program/case.h"

namespace memtorture::program {

Case decode(std::span<const std::uint8_t> bytes);
std::vector<std::uint8_t> encode(const Case& the_case);

}  // namespace memtorture::program
