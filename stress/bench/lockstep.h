// Subject + oracle, as every front end runs them, without audits. items = operations of programs.
#pragma once

#include <benchmark/benchmark.h>

#include <utility>

#include "model/run/run.h"

namespace memtorture::bench {

inline constexpr run::Options fast{.audit_every = run::audit_never, .steps_budget = 1'000'000'000};

enum class LockOrder : std::uint8_t { watched, unwatched };

inline void lockstep(benchmark::State& state, const program::Case& the_case, machine::Chooser& chooser,
                     LockOrder order = LockOrder::watched) {
  auto subject = run::make_kernel();
  subject->machine().watch_locks(order == LockOrder::watched);
  run::Runner runner(std::move(subject));
  std::uint64_t operations = 0;
  for (auto _ : state) {
    const run::Outcome& outcome = runner.run(the_case, chooser, fast);
    if (outcome.verdict != program::Verdict::pass) state.SkipWithError("the run did not pass");
    operations += outcome.statistics.operations;
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(operations));
}

}  // namespace memtorture::bench
