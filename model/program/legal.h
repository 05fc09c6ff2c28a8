// What a legal Case is, said once: the parser and the codec produce nothing else, edits keep it, run() may assume it.
//
// Legal says that names are unique and well formed, that every number means something (a CPU that the machine has, a
// context that exists, a visit from 1) and that departures are sorted. It says nothing about sense: skipped operations,
// crimes and departures that never come to pass are legal.
//
// The normal form is what survives text and bytes: slots numbered in the order of first use, none unused.
#pragma once

#include <optional>
#include <string>

#include "model/program/case.h"

namespace memtorture::program {

inline constexpr std::size_t faults_max = 64;

std::optional<std::string> why_illegal(const Case& the_case);  // the first reason, in one line

// parse(print(c)) == normal(c), and decode(encode(c)) equals it up to names, comment and expectation.
Case normal(Case the_case);

// Repairs what an edit of the shape or of programs can break: CPUs wrap around, departures and filters that name what
// no longer exists go, departures are sorted.
void make_legal(Case& the_case);

// Names for what has none (decoded and generated cases): "t0", "s1", "i2", "n3" for programs, "p0", "p1" for slots.
std::string default_program_name(machine::ContextKind kind, std::size_t index);
std::string default_slot_name(std::size_t index);

// The context of a departure or a fault rule as it is written: a program's name or a daemon's.
std::string context_name(machine::ContextId id, const Case& names);

}  // namespace memtorture::program
