// Random cases for RapidCheck: born of the generator (model/program/generate.h), shrunk by the edits of a case, so that
// a counterexample is made smaller in the same vocabulary as by the minimiser and printed in the case language.
#pragma once

#include <cstdint>
#include <ostream>

#include <rapidcheck.h>

#include "model/program/case.h"
#include "model/program/generate.h"

namespace memtorture::program {

void showValue(const Case& the_case, std::ostream& out);  // found by RapidCheck through its argument

}  // namespace memtorture::program

namespace memtorture::props {

using program::Case;
using program::GenerateOptions;

// Cases of at most options.ops_max operations at RapidCheck's full size, fewer while it is still warming up.
rc::Gen<Case> cases(const GenerateOptions& options);

// A seed for a chooser or an edit. Does not shrink: a smaller seed is not a simpler run.
rc::Gen<std::uint64_t> seeds();

// All cases that are one edit smaller, the largest deletions first; lazily, because most are never looked at.
rc::Seq<Case> smaller(const Case& the_case);

}  // namespace memtorture::props
