// The minimiser: the smallest case that still shows the same bug. Façade of model/shrink.
//
// Operations, faults, schedule and values are shrunk jointly, in this order, round after round until nothing changes:
//   programs and operations (deletion in halving chunks), fault rules and departures, the machine, values of
//   operations.
// A candidate is accepted only if its run has the same signature (model/run/outcome.h): a smaller case of another bug
// is not a smaller case of this one. Every accepted case carries the departures that its run really took, so that what
// is left in the schedule is necessary.
#pragma once

#include <cstdint>
#include <functional>

#include "model/run/run.h"

namespace memtorture::shrink {

struct Progress {
  std::uint64_t runs;
  std::size_t operations, faults, departures;  // of the smallest case so far
};

struct Options {
  std::uint64_t runs_budget = 20'000;
  std::function<void(const Progress&)> progress = {};  // called when a smaller case was found and every 256 runs
  std::function<bool()> stop = {};                     // asked before each run: true ends with the smallest so far
};

struct Result {
  program::Case smallest;
  run::Outcome outcome;  // of the smallest, with its history
  std::uint64_t runs = 0;
  bool reproduced = true;  // false: the case did not show its bug even once; smallest is then the case itself
};

// Runs a candidate with its own schedule (Runner::replay, or a sandboxed replay). The history is asked for once, when
// the case is as small as it gets.
using Judge = std::function<run::Outcome(const program::Case&, run::Keep)>;

Result shrink(const program::Case& the_case, const run::Outcome& found, const Judge& judge,
              const Options& options = {});

// Operations, faults (rules and single failures) and departures of a case: the measure that shrinking lowers.
Progress measure(const program::Case& the_case);

}  // namespace memtorture::shrink
