// Machine shapes as a row of the table and a few small choices: how the byte form, the mutator and the generator make
// machines. Choice 0 of every knob is the row's own value (RAM apart: never more than ram_usual_max), the others are
// those where bugs live: boundaries inside a block, holes, pass-through and long per-CPU lists, hardly any reserve.
//
// Each knob writes fields that no other knob writes, as a function of the row alone. So the knobs can be set in any
// order, and the choice that gives a wanted value is found by trying.
#pragma once

#include <array>
#include <optional>
#include <span>

#include "allocator/machine/shape.h"

namespace memtorture::program {

struct Knob {
  std::string_view name;
  std::uint8_t choices;
  void (*set)(machine::Shape& shape, const machine::Shape& row, unsigned choice);
};
std::span<const Knob> shape_knobs();
inline constexpr std::size_t knobs_count = 14;
using KnobChoices = std::array<std::uint8_t, knobs_count>;

inline constexpr std::uint64_t ram_usual_max = std::uint64_t{16} << 20;

// Rows with at most ram_usual_max of RAM: what random cases run on.
std::span<const std::uint8_t> small_rows();

// Always possible: where the choices do not fit together, as many as fit, in the order of the knobs.
machine::Shape shape_from(std::uint8_t row, const KnobChoices& choices);
// The choices that give this shape, or nothing: it needs to be spelt out.
std::optional<KnobChoices> choices_of(const machine::Shape& shape);

}  // namespace memtorture::program
