// The sandboxed form of run(): the subject dies, hangs or eats memory in a child process, and that is a verdict.
//
// The child replays the case and writes its Outcome to a pipe; the parent waits no longer than the time limit. What the
// child printed on stderr before it died (a sanitizer's report) is kept in sandbox_detail; events, and the decisions of
// a chooser, are in shared memory before the subject feels them, so a dead run has a history too.
#pragma once

#include <cstdint>
#include <vector>

#include "model/run/run.h"

namespace memtorture::run {

struct SandboxLimits {
  std::uint32_t seconds = 10;                           // wall clock: only the host knows whether a subject hangs
  std::uint64_t memory_bytes = std::uint64_t{4} << 30;  // host memory beyond what the child starts with
};

using MakeSubject = std::unique_ptr<subject::Subject> (*)();

[[nodiscard]] Outcome replay_sandboxed(const Case& the_case, const Options& options = {},
                                       const SandboxLimits& limits = {}, MakeSubject make_subject = &make_kernel);

// The departures that a run with this chooser takes before it ends, dies or is ended; in the order taken.
[[nodiscard]] std::vector<machine::Departure> record_schedule(const Case& the_case, machine::Chooser& chooser,
                                                              const Options& options = {},
                                                              const SandboxLimits& limits = {});

std::uint64_t resident_bytes(int pid);  // host memory of a process; 0: it is gone

}  // namespace memtorture::run
