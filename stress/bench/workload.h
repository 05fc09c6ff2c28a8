// Programs for the benchmarks, the same in every run: a mix of allocations and releases over a number of live blocks.
#pragma once

#include <cstdint>

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

}  // namespace memtorture::bench
