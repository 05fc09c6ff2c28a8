// Random cases that look where bugs live: tiny machines with odd boundaries, memory used to the last page and given
// back in every order, requests of every kind in every context, handlers that land in between.
//
// Every case comes from its seed and options alone. Swarm: each case leaves out a random part of what could be done and
// prefers another, because programs in which everything happens equally often reach few unusual states. Some cases are
// focused: all programs contend for the objects of one cache (author_focus.cpp).
//
// Without `crimes` a program commits none, whatever is refused and however programs are interleaved: each block has one
// owner program and a slot of its own, is freed exactly once in a way that fits, and no call is made where its context
// forbids it. With `crimes` there is at most one, late.
#pragma once

#include <cstdint>

#include "model/program/case.h"

namespace memtorture::program {

struct GenerateOptions {
  // Percent of cases that have ...
  std::uint32_t crimes = 0;      // a misuse
  std::uint32_t faults = 35;     // fault rules
  std::uint32_t departures = 0;  // departures written into the case (a random Chooser finds its own)
  std::uint32_t contexts = 60;   // handlers, sections with preemption or interrupts off, locks
  std::uint32_t ops_min = 4;     // operations of a case, about: what is owed at the end comes on top
  std::uint32_t ops_max = 300;
  std::uint32_t cpus_max = 4;
  std::uint32_t nodes_max = 2;
};

Case generate(std::uint64_t seed, const GenerateOptions& options);

}  // namespace memtorture::program
