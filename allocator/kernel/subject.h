// The shipped kernel as a subject.
#pragma once

#include <memory>

#include "allocator/subject/subject.h"

namespace memtorture::kernel {

std::unique_ptr<subject::Subject> make_subject();

}  // namespace memtorture::kernel
