// Edits: ways to change a Case that keep it legal. The one vocabulary of mutation, shared by the fuzzer's mutator, the
// RapidCheck shrinker and the minimiser, so that "smaller" and "near" mean the same everywhere.
//
// Deleting an operation deletes the departures anchored in it and renumbers those after it; deleting a program renames
// the contexts in departures. Nothing here asks a random source: callers pass a Random.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "model/program/case.h"

namespace memtorture::program {

// splitmix64: tiny, splittable, the same on every platform (std distributions are not).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  std::uint32_t below(std::uint32_t n) { return n == 0 ? 0 : static_cast<std::uint32_t>((next() >> 32) * n >> 32); }
  bool percent(std::uint32_t p) { return below(100) < p; }

 private:
  std::uint64_t state_;
};

void erase_ops(Case& c, std::size_t program, std::size_t first, std::size_t count);
void insert_op(Case& c, std::size_t program, std::size_t at, const Op& op);
void erase_program(Case& c, std::size_t program);
void erase_departure(Case& c, std::size_t index);
void erase_fault_rule(Case& c, std::size_t index);
void sort_departures(Case& c);
void drop_unused_slots(Case& c);  // renumbers slots densely in order of first use

// Simpler values for one operation, simplest first (order 0, GFP_KERNEL, offset 0, small counts, ...). For shrinking.
std::vector<Op> simpler(const Op& op);
// Simpler shapes (fewer CPUs and nodes, less RAM, fewer options), simplest first; all possible machines.
std::vector<machine::Shape> simpler(const machine::Shape& shape);

// One random change anywhere: values, operations, programs, shape, faults, departures. Stays legal.
void mutate(Case& c, Random& random);
// A child of both: operations and departures of b spliced into a.
Case cross(const Case& a, const Case& b, Random& random);

}  // namespace memtorture::program
