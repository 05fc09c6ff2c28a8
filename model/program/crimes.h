// One misuse, written at the end of a program: each kind as the shortest sequence of operations that commits it.
#pragma once

#include "model/program/author.h"

namespace memtorture::program {

void commit_crime(Author& author);  // one that this program's context can commit

}  // namespace memtorture::program
