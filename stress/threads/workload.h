// Programs for real threads: what each CPU does while all others do the same, written from a seed.
//
// Every block has one owner at a time, so a data race that ThreadSanitizer sees is the allocator's and never the
// program's. Most slots belong to one task for the whole run. A block that changes hands lies in a shared slot, which
// is touched under one of the program's own locks only; that lock orders the two owners and nothing else. A block that
// all share is filled before anybody is told of it; from then on its references are dropped, and nothing else.
//
// Case from (Workload, seed): the same on every host. What the threads then make of it is not.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "model/program/case.h"

namespace memtorture::threads {

// What a workload is there for: its programs do this often.
enum class Focus : std::uint8_t {
  mix,
  contention,
  lists,
  pressure,
  interrupts,
  handover,
  stacks,
  faults,
  references,
  objects,  // kmalloc and caches; what is handed over are objects
  caches,   // ... with caches that come, shrink and go
  percpu,   // areas that come and go, and counters that all CPUs and their handlers add to
  cpus,     // CPUs that go and come, beside everything else
};

struct Workload {
  std::string_view name;
  std::string_view machine;  // as on the machine line of a case
  Focus focus = Focus::mix;
  std::uint8_t tasks_per_cpu = 1;
  std::uint8_t handlers_per_cpu = 0;    // interrupts and softirqs that land anywhere in the CPU's tasks
  std::uint8_t ops_per_task = 80;       // about
  std::uint8_t handovers_per_task = 0;  // blocks or objects that a task allocates and the next CPU's task frees
  std::uint8_t blocks_shared = 0;       // blocks of which every task has a reference and drops it at the same time
};

std::span<const Workload> workloads();

program::Case write_case(const Workload& workload, std::uint64_t seed);

// Slots of blocks that more than one task touches are the first of a case; this many.
std::size_t shared_slots(const program::Case& the_case, const Workload& workload);

}  // namespace memtorture::threads
