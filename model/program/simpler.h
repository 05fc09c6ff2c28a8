// The measures that simpler() (edits.h) makes smaller: why shrinking ends.
#pragma once

#include <cstdint>
#include <tuple>

#include "model/program/case.h"

namespace memtorture::program {

std::uint64_t complexity(const Op& op);  // 0: nothing about it can be simpler

using ShapeComplexity = std::tuple<unsigned, unsigned, std::uint64_t, std::uint64_t, unsigned>;
ShapeComplexity complexity(const machine::Shape& shape);

}  // namespace memtorture::program
