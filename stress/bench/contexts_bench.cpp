// What the rules about contexts cost, what interrupts cost, and what a switch of fibers costs.
//
// The rules have two parts. What a function says about itself (it may sleep, it needs a pin) is one comparison that
// nothing switches off. What is seen of the order of locks (lock_watch.h) can be: Machine::watch_locks. The same
// program with and without it, in lockstep and on the allocator alone, is the cost of watching; the rest of the rules
// is in both figures.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <string>

#include "allocator/kernel/kernel.h"
#include "stress/bench/lockstep.h"
#include "stress/bench/silence.h"
#include "stress/bench/workload.h"

namespace memtorture::bench {
namespace {

// --- locks -----------------------------------------------------------------------------------------------------------

// Every operation takes locks: the allocator's, and in turn one of the program's in each form around it.
program::Case case_of_locks() {
  using namespace program;
  constexpr Slot live = 64;
  Case the_case;
  the_case.shape = shape_with_objects("tiny-32");
  Program program{.name = "t", .ops = {}};
  for (Slot slot = 0; slot != live; ++slot) the_case.slot_names.push_back("s" + std::to_string(slot));
  for (unsigned i = 0; i != 10'000; ++i) {
    const auto slot = static_cast<Slot>(i % live);
    const bool takes = i / live % 2 == 0;
    const Op what = takes ? Op(AllocPages{{slot}, {subject::GFP_ATOMIC}, {1}}) : Op(FreePagesOf{{slot, 0}, {1}});
    switch (i % 3) {
      case 0: program.ops.insert(program.ops.end(), {SpinLockIrqsave{{3}}, what, SpinUnlockIrqrestore{{3}}}); break;
      case 1: program.ops.insert(program.ops.end(), {SpinLockBh{{2}}, what, SpinUnlockBh{{2}}}); break;
      case 2: program.ops.insert(program.ops.end(), {MutexLockOp{{1}}, what, MutexUnlockOp{{1}}}); break;
    }
  }
  the_case.programs.push_back(std::move(program));
  return the_case;
}

void BM_locks_lockstep(benchmark::State& state, LockOrder order) {
  run::StraightChooser chooser;
  lockstep(state, case_of_locks(), chooser, order);
}
BENCHMARK_CAPTURE(BM_locks_lockstep, watched, LockOrder::watched);
BENCHMARK_CAPTURE(BM_locks_lockstep, unwatched, LockOrder::unwatched);

void BM_pages_lockstep(benchmark::State& state, LockOrder order) {
  run::StraightChooser chooser;
  lockstep(state, mixed_case(shape("tiny-32"), {}), chooser, order);
}
BENCHMARK_CAPTURE(BM_pages_lockstep, watched, LockOrder::watched);
BENCHMARK_CAPTURE(BM_pages_lockstep, unwatched, LockOrder::unwatched);

// No executor and no oracle: a block of two frames comes and goes, under the zone's lock each time.
void BM_zone_lock_pairs(benchmark::State& state, LockOrder order) {
  constexpr unsigned pairs = 10'000;
  kernel::Kernel kernel;
  kernel.machine().watch_locks(order == LockOrder::watched);
  Silence silence;
  run::StraightChooser chooser;
  const machine::Strand strand{.id = 0,
                               .kind = machine::ContextKind::task,
                               .cpu = 0,
                               .flags = 0,
                               .body =
                                   [](void* arg) {
                                     auto& its = *static_cast<kernel::Kernel*>(arg);
                                     for (unsigned i = 0; i != pairs; ++i)
                                       its.free_pages_of(its.alloc_pages(subject::GFP_KERNEL, 1), 1);
                                   },
                               .arg = &kernel};
  for (auto _ : state) {
    kernel.boot(shape("tiny-32"), {}, silence, silence);
    kernel.machine().run({&strand, 1}, chooser, {.steps_budget = 1'000'000'000});
  }
  state.SetItemsProcessed(state.iterations() * pairs);
}
BENCHMARK_CAPTURE(BM_zone_lock_pairs, watched, LockOrder::watched);
BENCHMARK_CAPTURE(BM_zone_lock_pairs, unwatched, LockOrder::unwatched);

// --- interrupts ------------------------------------------------------------------------------------------------------

constexpr unsigned handlers = 48;

// Two CPUs, a task on each, and handlers that come at random points: softirqs, hardirqs, each a few allocations and
// releases. Without them: the same operations in two more tasks.
program::Case interrupted_case(bool interrupts) {
  using namespace program;
  Case the_case = mixed_case(shape("tiny-32", 2), {.operations = 240, .live = 16, .tasks = 2});
  for (unsigned i = 0; i != handlers; ++i) {
    const auto slot = static_cast<Slot>(the_case.slot_names.size());
    the_case.slot_names.push_back("h" + std::to_string(i));
    Program* its = nullptr;
    if (interrupts || i < 2) {
      its = &the_case.programs.emplace_back(
          Program{.name = "h" + std::to_string(i), .cpu = static_cast<std::uint8_t>(i % 2), .ops = {}});
      if (interrupts) its->kind = i % 3 == 0 ? machine::ContextKind::softirq : machine::ContextKind::hardirq;
    } else {
      its = &the_case.programs[2 + i % 2];
    }
    for (unsigned k = 0; k != 5; ++k) {
      its->ops.push_back(AllocPages{{slot}, {subject::GFP_ATOMIC}, {0}});
      its->ops.push_back(FreePagesOf{{slot, 0}, {0}});
    }
  }
  return the_case;
}

void BM_interrupts(benchmark::State& state, bool interrupts) {
  run::RandomChooser chooser(1, {.switch_permille = 60, .fault_permille = 0, .migrations = false});
  lockstep(state, interrupted_case(interrupts), chooser, LockOrder::watched);
}
BENCHMARK_CAPTURE(BM_interrupts, injected, true);
BENCHMARK_CAPTURE(BM_interrupts, none, false);

// --- switches --------------------------------------------------------------------------------------------------------

// Two tasks of one CPU give way to one another: a look at the context, a look for the other one, a switch of stacks.
void BM_fiber_switch(benchmark::State& state) {
  constexpr unsigned rounds = 10'000;
  machine::Machine machine;
  Silence silence;
  run::StraightChooser chooser;
  machine::Strand strands[2];
  for (unsigned i = 0; i != 2; ++i) {
    strands[i] = {.id = static_cast<machine::ContextId>(i),
                  .kind = machine::ContextKind::task,
                  .cpu = 0,
                  .flags = 0,
                  .body =
                      [](void*) {
                        for (unsigned k = 0; k != rounds; ++k) machine::schedule();
                      },
                  .arg = nullptr};
  }
  for (auto _ : state) {
    machine.boot(shape("flat"), silence);
    machine.run(strands, chooser, {.steps_budget = 1'000'000'000});
  }
  state.SetItemsProcessed(state.iterations() * 2 * rounds);
}
BENCHMARK(BM_fiber_switch);

}  // namespace
}  // namespace memtorture::bench
