// Singles of a sweep by fork: one run of the case, which at each visit that shall fail leaves a child behind in which
// it does. The children share all that came before, so n visits cost n tails of the run and n forks instead of n runs.
//
// It pays where the run up to the visit costs more than a fork (sweep.h, README: in long cases). The process must have
// no other thread.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "model/run/run.h"

namespace memtorture::explore {

// What a child says of its run. Not told: it died.
enum class Fate : std::uint8_t { died, refused, survived, ended, bug };

// `visits`: of the case, in the order of the run, and exactly as a run that nothing was done to makes them. fate_of:
// called in a child, of its run. before: called in the parent before each fork. Empty: a process could not be started,
// or somebody said stop.
std::vector<Fate> fork_at_visits(run::Runner& runner, const program::Case& the_case, const run::Options& options,
                                 std::span<const machine::Moment> visits,
                                 const std::function<Fate(const run::Outcome&, const machine::Moment&)>& fate_of,
                                 const std::function<bool(const machine::Moment&)>& before);

}  // namespace memtorture::explore
