// The structure-aware mutator and crossover: changes of the decoded case, in the vocabulary of edits that the minimiser
// and the properties use too (model/program/edits.h). Bytes are a poor place to change programs: an operation inserted
// in front moves what every departure behind it means, and a slot number changed alone is a use of nothing.
//
// Sometimes plain byte mutation is the better one (it reaches encodings that no edit writes); the caller supplies it.
// Results are canonical encodings of at most `bytes_max` bytes; what grew too long loses operations from its end.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "model/program/edits.h"

namespace memtorture::fuzz {

using Bytes = std::vector<std::uint8_t>;

Bytes mutated(std::span<const std::uint8_t> bytes, std::size_t bytes_max, program::Random& random);
Bytes crossed(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b, std::size_t bytes_max,
              program::Random& random);

// libFuzzer's calling convention: `data` has room for bytes_max and holds `size`; returns the new size.
using ByteMutator = std::size_t (*)(std::uint8_t* data, std::size_t size, std::size_t bytes_max);
std::size_t mutate_in_place(std::uint8_t* data, std::size_t size, std::size_t bytes_max, unsigned seed,
                            ByteMutator plain);
std::size_t cross_into(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b, std::span<std::uint8_t> out,
                       unsigned seed);

}  // namespace memtorture::fuzz
