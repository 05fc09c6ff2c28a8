// Random pieces of a case, shared by the mutator and the generator. All randomness comes from the caller's Random.
#pragma once

#include "model/program/case.h"
#include "model/program/edits.h"
#include "model/program/shape_knobs.h"

namespace memtorture::program {

Slot add_slot(Case& c);  // a new slot with a free name; the last one again when there are slots_max

// Any values that the field's type has, mostly usual ones. Slots are mostly those that exist.
void randomise_fields(Case& c, Op& op, Random& random);
// An operation that makes sense at that place more often than not: an allocation, or something done to an earlier one.
Op random_op(Case& c, std::size_t program, std::size_t at, Random& random);

std::uint64_t class_end(std::uint64_t bytes);  // of the smallest class of kmalloc with room for them (domain.md 11.2)

machine::Shape random_shape(Random& random);         // a small row of the table with a few knobs turned
machine::Shape random_object_shape(Random& random);  // the same with objects, mostly with several CPUs
fault::Rule random_rule(const Case& c, Random& random);
// A departure within a program, at a site that the operation there is likely to visit. Legal, or nothing.
std::optional<machine::Departure> random_departure(const Case& c, Random& random);

// One of a list, all equally likely. The list must not be empty.
template <class List>
const auto& one_of(const List& list, Random& random) {
  return list[random.below(static_cast<std::uint32_t>(std::size(list)))];
}

}  // namespace memtorture::program
