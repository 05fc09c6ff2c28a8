// How verbs run one case: in this process or in a sandbox, and which of the two is wise.
#pragma once

#include "model/run/run.h"
#include "model/run/sandbox.h"
#include "model/shrink/shrink.h"

namespace memtorture::cli {

// The subject died, so only a sandbox can tell.
bool is_death(program::Verdict verdict);

// Judges for the minimiser. The first rejects quickly, on a machine that it keeps; what shows the wanted bug is
// confirmed on a machine of its own, because a case on disk must show its bug alone and not thanks to what an earlier
// candidate left behind.
shrink::Judge judge_here(const run::Options& options, std::string wanted_signature);
shrink::Judge judge_sandboxed(const run::Options& options);

// Looks at a case that may kill: first in a sandbox; unless it died there, again in this process. With its history.
run::Outcome look(const program::Case& the_case, const run::Options& options);

std::string verdict_words(const run::Outcome& outcome);  // "finding page.overlap", "pass"
std::string expect_words(const program::Expect& expect);
std::string size_words(const shrink::Progress& size);  // "3 operations, 0 faults, 1 departure"

}  // namespace memtorture::cli
