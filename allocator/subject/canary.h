// A canary: any subject with a planted bug, to prove that the machinery reports. A clean fuzz run, property or sweep
// says something only if the same machinery finds the canary; so each of them has a test that must fail on it.
//
// The bugs are planted in the facet, not in the allocator: what is wrapped stays sound, its structures agree with its
// answers, and only what the caller gets is wrong. Each needs a few operations in the right order, so that chance alone
// does not find it in the first cases, and each breaks one rule of the specification.
//
// Not for the thread engine: the wrapper keeps plain state across CPUs.
#pragma once

#include <cstdint>
#include <memory>

#include "allocator/subject/subject.h"

namespace memtorture::subject {

enum class Planted : std::uint8_t {
  double_grant,  // after a free of order 1 the second block of order 2 is the first one again, which is still owned
  stale_zero,    // after a free of order 1 the next get_zeroed_page skips the zeroing
};

std::unique_ptr<Subject> make_canary(Planted bug, std::unique_ptr<Subject> sound);

}  // namespace memtorture::subject
