// Rounds: a workload run again and again with new seeds on the thread engine, each judged after the join.
//
// What must hold of every run: it ends (a legal panic or a legal wait for ever is an end), the oracle accepts the
// merged logs, the harness gets everything back, and the final audit of free lists, per-CPU lists and counters is
// clean. ThreadSanitizer watches from outside and fails the process.
#pragma once

#include <cstdint>
#include <string>

#include "model/run/run.h"
#include "stress/threads/workload.h"

namespace memtorture::threads {

// The thread engine asks the run's chooser only for the seeds of its CPUs. (RandomChooser's dice depend on the place
// alone: every seed would give the same interleavings.)
class SeedChooser final : public machine::Chooser {
 public:
  explicit SeedChooser(std::uint64_t seed) : seed_(seed), random_(seed) {}
  bool interested(const machine::Moment&) override { return false; }
  std::uint32_t choose(const machine::Moment&, std::span<const machine::Option>) override { return 0; }
  bool roll(const machine::Moment&, std::uint32_t percent) override { return random_.percent(percent); }
  void restart() override { random_ = program::Random(seed_); }

 private:
  std::uint64_t seed_;
  program::Random random_;
};

struct Tally {
  std::uint64_t runs = 0, ended_early = 0;  // early: panic or stalled, both legal
  run::Statistics statistics;
  std::uint64_t handovers = 0;  // releases of blocks that more than one task touches
  std::uint64_t reports = 0;    // of the subject
  std::uint64_t caches = 0;     // shrunk or destroyed
  std::uint64_t cpus = 0;       // that went
  std::uint64_t reclaims = 0, handler_operations = 0;
};

// One run. The text is empty when all is well, else it says what happened: seed, verdict, report and the end of the
// merged history. The case follows from the seed.
std::string run_round(run::Runner& runner, const Workload& workload, std::uint64_t seed, Tally& tally);

}  // namespace memtorture::threads
