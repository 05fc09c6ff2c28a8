// Subjects with one known defect: they prove, on every run of the tests and without rebuilding anything, that thread
// runs report. Silence of the stress tests says something only if the same Runner, tape and engine speak up here.
//
// Each wraps the sound kernel. None keeps state that it shares between CPUs, but for the counters that are the point.
#pragma once

#include <cstdint>
#include <memory>

#include "allocator/subject/subject.h"

namespace memtorture::threads {

enum class Defect : std::uint8_t {
  unlocked_counter,  // counts allocations in plain shared memory: a data race, like a structure whose lock is not taken
  atomic_counter,    // none: the same counter done right
  forgets_dma,       // serves __GFP_DMA from any zone
  refuses,           // refuses order 1 while there is plenty
  loses_blocks,      // blocks of order 1 are never given back
  unlocked_references,  // keeps all references but one in plain shared memory: two drops at once may both be the last
  atomic_references,    // none: the same count done right
  // Of objects:
  unlocked_object_counter,  // counts kmallocs in plain shared memory, like an array that is used without its lock
  atomic_object_counter,    // none: the same counter done right
  forgets_object_dma,       // serves kmalloc with __GFP_DMA from any general cache
  loses_objects,            // kfree does nothing
  destroys_busy,            // says that a cache is gone while objects of it are there
  interruptible_lock,       // kmalloc takes a lock of its own and leaves interrupts on, though handlers call it, too
  irqsave_lock,             // none: the same lock taken right
  // Of per-CPU memory:
  unlocked_areas,  // keeps count of the areas in plain shared memory, like maps of chunks that are changed without lock
  atomic_areas,    // none: the same done right
  // Of kernel stacks:
  unlocked_stacks,  // keeps count of forked tasks in plain shared memory
  atomic_stacks,    // none: the same done right
};

std::unique_ptr<subject::Subject> make_broken(Defect defect);

}  // namespace memtorture::threads
