#include "fuzz/mutator.h"

#include <algorithm>

#include "model/program/codec.h"

namespace memtorture::fuzz {
namespace {

using program::Case;

constexpr std::uint32_t plain_percent = 15;  // byte mutation instead of an edit
constexpr std::uint32_t edits_max = 6;

// Encodes, and halves the longest program until it fits. Nothing (an empty input) if even the bare machine does not.
Bytes fitting(Case c, std::size_t bytes_max) {
  for (;;) {
    Bytes bytes = program::encode(c);
    if (bytes.size() <= bytes_max) return bytes;
    const auto longest = std::ranges::max_element(c.programs, {}, [](const auto& p) { return p.ops.size(); });
    if (longest == c.programs.end()) return {};
    const auto index = static_cast<std::size_t>(longest - c.programs.begin());
    const std::size_t length = longest->ops.size();
    if (length == 0) {
      program::erase_program(c, c.programs.size() - 1);
    } else {
      program::erase_ops(c, index, length / 2, length - length / 2);
    }
    program::drop_unused_slots(c);
  }
}

}  // namespace

Bytes mutated(std::span<const std::uint8_t> bytes, std::size_t bytes_max, program::Random& random) {
  Case c = program::decode(bytes);
  // Mostly one small step, so that what libFuzzer keeps differs in one thing; sometimes a leap.
  const std::uint32_t edits = random.percent(60) ? 1 : 2 + random.below(edits_max - 1);
  for (std::uint32_t i = 0; i != edits; ++i) program::mutate(c, random);
  return fitting(std::move(c), bytes_max);
}

Bytes crossed(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b, std::size_t bytes_max,
              program::Random& random) {
  return fitting(program::cross(program::decode(a), program::decode(b), random), bytes_max);
}

std::size_t mutate_in_place(std::uint8_t* data, std::size_t size, std::size_t bytes_max, unsigned seed,
                            ByteMutator plain) {
  program::Random random(seed);
  if (random.percent(plain_percent)) return plain(data, size, bytes_max);
  const Bytes result = mutated({data, size}, bytes_max, random);
  if (result.empty()) return plain(data, size, bytes_max);
  std::ranges::copy(result, data);
  return result.size();
}

std::size_t cross_into(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b, std::span<std::uint8_t> out,
                       unsigned seed) {
  program::Random random(seed);
  const Bytes result = crossed(a, b, out.size(), random);
  std::ranges::copy(result, out.begin());
  return result.size();
}

}  // namespace memtorture::fuzz
