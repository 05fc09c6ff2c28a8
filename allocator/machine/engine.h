// What machine/ has for the engines themselves; layers do not need it.
#pragma once

#include "allocator/machine/machine.h"

namespace memtorture::machine {

// The common entry of everything that gives up the CPU; false: it must not, and was reported.
bool may_give_up_cpu(Site site);
void went_to_sleep();  // tells the witness

}  // namespace memtorture::machine
