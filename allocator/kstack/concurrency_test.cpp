// Tasks on several CPUs that fork, go deep and end, with handlers on top of them at any point: every frame is found as
// it was written, and every page comes back.
//
// On fibers a seeded chooser decides at every point; on threads the host does, and ThreadSanitizer watches.
#include <gtest/gtest.h>

#include "allocator/kernel/stacks_rig.h"

namespace memtorture::kernel {
namespace {

using machine::ContextKind;
using machine::Shape;
using machine::StopReason;
using machine::Toggle;
using subject::StackUse;
using subject::TaskHandle;

using Stacks = StacksRig<Tally>;
constexpr std::uint64_t KiB = 1024;
constexpr unsigned cpus = 3;

class Traffic {
 public:
  explicit Traffic(Stacks& rig) : rig_(rig) {}

  void task(std::uint64_t seed) {
    SplitMix random{seed};
    for (unsigned i = 0; i != 30; ++i) {
      frames(random, 2000);
      exchange(random, rig_.kernel.fork());
      if (random.below(4) == 0) machine::schedule();
    }
  }
  void handler(std::uint64_t seed) {
    SplitMix random{seed};
    frames(random, 600);
    exchange(random, subject::no_task);
  }
  void end_all() {
    for (auto& slot : slots_) give(slot.exchange(0, std::memory_order_acq_rel));
  }
  std::atomic<unsigned> broken{0};

 private:
  // What is forked here ends anywhere.
  void exchange(SplitMix& random, TaskHandle fresh) {
    give(slots_[random.below(std::size(slots_))].exchange(fresh, std::memory_order_acq_rel));
  }
  void give(TaskHandle task) {
    if (task != subject::no_task) rig_.kernel.exit_task(task);
  }
  void frames(SplitMix& random, std::uint64_t bytes) {
    const std::uint64_t token = random() | 1, before = rig_.kernel.stack_pointer();
    (void)rig_.kernel.push(random.below(bytes), token);
    (void)rig_.kernel.alloca_bytes(random.below(200), token + 2);
    const auto depth = static_cast<std::uint32_t>(random.below(6));
    const bool deep_broken = rig_.kernel.recurse(depth, random.below(100), token + 4).frames_broken != 0;
    const bool lost = rig_.kernel.pop().return_address != token || rig_.kernel.stack_pointer() != before;
    if (deep_broken || lost) broken.fetch_add(1, std::memory_order_relaxed);
  }

  Stacks& rig_;
  std::atomic<TaskHandle> slots_[8] = {};
};

void run_traffic(Toggle irq_stacks, Toggle cache, std::uint64_t seed) {
  Shape shape = with_stacks(8 * KiB, irq_stacks, cache);
  shape.cpus = cpus;
  Stacks rig(shape);
  Traffic traffic(rig);
  const std::uint64_t before = rig.kernel.nr_free_pages();
  for (unsigned cpu = 0; cpu != cpus; ++cpu) {
    for (unsigned i = 0; i != 2; ++i) rig.task([&, s = seed + 10 * cpu + i] { traffic.task(s); }, cpu);
    for (unsigned i = 0; i != 4; ++i) {
      const ContextKind kind = i % 2 == 0 ? ContextKind::hardirq : ContextKind::softirq;
      rig.add(kind, cpu, [&, s = seed + 10 * cpu + 5 + i] { traffic.handler(s); });
    }
  }
  ASSERT_TRUE(rig.boot());
  Dice dice(seed);
  EXPECT_EQ(rig.run(dice).reason, StopReason::finished);
  rig.alone([&] {
    traffic.end_all();
    rig.kernel.shut_down();
    rig.kernel.drain_all_pages();
  });
  EXPECT_EQ(traffic.broken, 0U);
  EXPECT_EQ(rig.said.reports, 0U);
  const std::uint64_t stacks = irq_stacks == Toggle::on ? 3 * cpus : cpus;  // those of CPUs stay
  EXPECT_EQ(before - rig.kernel.nr_free_pages(), 2 * stacks);
  EXPECT_TRUE(rig.stacks(StackUse::cached).empty());
}

TEST(KstackConcurrency, SharedStacks) {
  for (std::uint64_t seed = 0; seed != 20; ++seed) run_traffic(Toggle::off, Toggle::off, seed);
}

TEST(KstackConcurrency, InterruptStacksAndKeptOnes) {
  for (std::uint64_t seed = 0; seed != 20; ++seed) run_traffic(Toggle::on, Toggle::on, seed);
}

}  // namespace
}  // namespace memtorture::kernel
