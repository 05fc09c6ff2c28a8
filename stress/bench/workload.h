// Programs for the benchmarks, the same in every run: a mix of allocations and releases over a number of live blocks.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "model/program/case.h"

namespace memtorture::bench {

struct Mix {
  std::uint32_t operations = 50'000;
  std::uint16_t live = 64;  // slots; about half of them are filled at any time
  std::uint32_t tasks = 1;  // one a CPU, each with slots of its own
  bool orders = true;       // 1 in 5 blocks is of order 1..3; false: order 0 only
};

program::Case mixed_case(const machine::Shape& shape, const Mix& mix);

// A shape by name with room for what the mix needs.
machine::Shape shape(std::string_view name, unsigned cpus = 1);

// Two tasks on two CPUs, three operations each: the small case of which a search wants many a second.
program::Case six_operations();

// 50 operations of two tasks and an interrupt handler: what a fuzzer runs.
program::Case fifty_operations();

// --- objects --------------------------------------------------------------------------------------------------------

// A shape with the slab layer, and checks by the letters of slab_debug.
machine::Shape shape_with_objects(std::string_view name, std::string_view letters = "",
                                  std::uint64_t quarantine_bytes = 0);

// What allocators do that are compared with one another: block `at` of the live ones makes room for one of `bytes`.
struct Replacement {
  std::uint32_t at, bytes;
};
inline constexpr std::uint32_t blocks_live = 64, block_bytes_min = 16, block_bytes_max = 1024;
std::vector<Replacement> replacements(std::uint32_t count);  // the same at every call
// 0 .. count - 1 in a random order that is the same at every call.
std::vector<std::uint32_t> shuffled(std::uint32_t count);

// The same mix as a program: kmalloc, and one in four from one of two caches.
program::Case objects_case(const machine::Shape& shape, std::uint32_t operations = 50'000);

// `count` cases of the random generator on machines with the slab layer, with these checks; no faults are injected.
std::vector<program::Case> generated_object_cases(std::size_t count, std::string_view letters,
                                                  std::uint64_t quarantine_bytes);

}  // namespace memtorture::bench
