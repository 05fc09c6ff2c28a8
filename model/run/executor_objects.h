// What the operations on objects and on the elements of pools have in common.
#pragma once

#include "model/run/executor.h"

namespace memtorture::run {

template <class Allocate>
void Executor::allocate_object(program::Out out, const Asked& asked, Allocate&& allocate) {
  if (objects_ == nullptr) return skip();
  begin();
  granted_object(out, allocate(), asked);
}

template <class Release>
void Executor::release_object(program::In in, Release&& call) {
  if (objects_ == nullptr) return skip();
  if (const Holding* block = holding(in); block != nullptr) {  // a crime: pages are no object
    if (!exists(frame_of(*block, in), 1) || is_high(frame_of(*block, in))) return skip();
    begin();
    call(machine_->ram().address_of(frame_of(*block, in)));
    return end();
  }
  Holding* held = object(in);
  if (held == nullptr) return skip();
  if (in.offset == 0) give_up_object(*held);
  begin();
  call(held->address + in.offset);
  end();
}

}  // namespace memtorture::run
