// Fault rules: which fault sites fail when, with the kernel's knobs (domain.md 19.2) and nothing hidden by default.
//
// A rule applies to every visit of its site; single failures ("the 2nd page.alloc of operation 3") are departures
// (Move::fail, Move::fail_from) instead, because they are anchored like every other departure. Pure vocabulary.
#pragma once

#include <cstdint>

#include "allocator/machine/site.h"
#include "allocator/machine/types.h"

namespace memtorture::fault {

inline constexpr std::uint8_t any_cpu = 0xff, any_kind = 0xff;

struct Rule {
  machine::Site site = "page.alloc";
  std::uint8_t probability = 100;  // percent 0..100
  std::uint32_t seed = 0;          // of the dice: the throw depends on this and on where the visit is, on nothing else
  std::uint32_t interval = 1;      // only every interval-th eligible visit; >= 1
  std::int32_t times = -1;         // failures left; -1 unlimited
  std::uint32_t space = 0;         // budget: while space > size, subtract size and pass (size = pages for page.alloc)
  std::uint8_t min_order = 0;      // smaller requests pass ...
  std::uint8_t max_order = 255;    // ... and larger ones
  std::uint32_t min_size = 0;      // the same for sizes, in what space is counted in: with slab.alloc, which caches
  std::uint32_t max_size = ~std::uint32_t{0};
  std::uint32_t gfp = 0;     // only requests with all of these flags
  bool ignore_wait = false;  // requests that may sleep pass (the kernel's default is true; ours hides nothing)
  bool ignore_highmem = false;
  machine::ContextId task = machine::no_context;  // only this context's visits
  std::uint8_t cpu = any_cpu;                     // only on this CPU
  std::uint8_t kind = any_kind;                   // only in a context of this ContextKind
  std::uint16_t caller = 0;                       // only for operations of this kind (Context::caller); 0: for all
  friend bool operator==(const Rule&, const Rule&) = default;
};

}  // namespace memtorture::fault
