// One misuse, written at the end of a program: each kind as the shortest sequence of operations that commits it.
#pragma once

#include "model/program/author.h"

namespace memtorture::program {

// One that this program's context can commit.
void commit_crime(Author& author);
void commit_object_crime(Author& author);  // on a machine with objects
void commit_stack_crime(Author& author);   // on a machine with kernel stacks
void commit_percpu_crime(Author& author);  // on a machine with per-CPU memory

}  // namespace memtorture::program
