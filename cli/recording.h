// The schedule of a run that kills its process.
//
// A run leaves its departures in its outcome, but a dead one leaves no outcome. Here the run happens in a child, and
// each decision is in shared memory before the subject feels it.
#pragma once

#include <vector>

#include "cli/generating.h"

namespace memtorture::cli {

// The departures that the run took before it ended, died or was ended; in the order in which they were taken.
std::vector<machine::Departure> record_schedule(const Generator& generator, std::uint64_t seed,
                                                const program::Case& the_case, const run::Options& options);

std::uint64_t resident_bytes(int pid);  // 0: it is gone

}  // namespace memtorture::cli
