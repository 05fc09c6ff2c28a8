// CPUs that go and come, on both engines: what runs there goes on elsewhere and nothing is lost, nobody is moved who
// may not be, what must not happen is refused, and every layer gives back what it kept there (P-PCP-8).
//
// On fibers seeded dice decide at every point; on threads the host does, and ThreadSanitizer watches: counters of a CPU
// are plain memory, so a task that is moved without an order between both CPUs is a race.
#include "allocator/machine/cpu_hotplug.h"

#include <gtest/gtest.h>

#include <array>

#include "allocator/kernel/objects_rig.h"
#include "allocator/kernel/stacks_rig.h"
#include "allocator/kernel/strands_rig.h"

namespace memtorture::kernel {
namespace {

using namespace machine;
using subject::GFP_ATOMIC;
using subject::GFP_KERNEL;

class CpuHotplug : public testing::Test {
 protected:
  void boot(unsigned cpus) {
    Shape shape = shape_named("flat").value();
    shape.cpus = static_cast<std::uint8_t>(cpus);
    kernel_.boot(shape, {}, said_, said_);
  }
  std::uint64_t seeds() const { return Machine::concurrent() ? 20 : 400; }

  Tally said_;
  Kernel kernel_;
};

TEST_F(CpuHotplug, GoesAndComes) {
  boot(3);
  Cast cast;
  cast.task(0, [] {
    for (unsigned cpu = 0; cpu != 3; ++cpu) EXPECT_TRUE(cpu_online(cpu));
    EXPECT_TRUE(take_cpu_down(2));
    EXPECT_TRUE(cpu_online(1));
    EXPECT_FALSE(cpu_online(2));
    EXPECT_FALSE(take_cpu_down(2)) << "it has gone";
    EXPECT_TRUE(bring_cpu_up(2));
    EXPECT_TRUE(cpu_online(2));
    EXPECT_FALSE(bring_cpu_up(2)) << "it is there";
    EXPECT_FALSE(take_cpu_down(0)) << "the boot processor stays";
  });
  EXPECT_EQ(cast.run(kernel_), StopReason::finished);
  EXPECT_EQ(said_.reports, 0u);
}

TEST_F(CpuHotplug, WhoCallsItThereGoesOnElsewhere) {
  boot(2);
  Cast cast;
  cast.task(1, [] {
    EXPECT_TRUE(take_cpu_down(1));
    EXPECT_EQ(raw_smp_processor_id(), 0u);
  });
  EXPECT_EQ(cast.run(kernel_), StopReason::finished);
}

TEST_F(CpuHotplug, AtomicCallersAreReportedAndRefused) {
  boot(2);
  Cast cast;
  cast.task(0, [] {
    preempt_disable();
    EXPECT_FALSE(take_cpu_down(1));
    EXPECT_FALSE(bring_cpu_up(1));
    preempt_enable();
    EXPECT_TRUE(cpu_online(1));
  });
  EXPECT_EQ(cast.run(kernel_), StopReason::finished);
  EXPECT_EQ(said_.count(ReportKind::scheduling), 2u);
}

TEST_F(CpuHotplug, BootBringsThemBack) {
  boot(2);
  Cast cast;
  cast.task(0, [] { EXPECT_TRUE(take_cpu_down(1)); });
  EXPECT_EQ(cast.run(kernel_), StopReason::finished);
  boot(2);
  Cast again;
  again.task(1, [] { EXPECT_EQ(raw_smp_processor_id(), 1u); });
  EXPECT_EQ(again.run(kernel_), StopReason::finished);
}

// Tasks that have not begun, that run, sleep or wait; interrupts that were still to come.
TEST_F(CpuHotplug, NothingIsLost) {
  for (std::uint64_t seed = 1; seed <= seeds() && !HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    boot(4);
    std::array<std::atomic<unsigned>, 24> done{};
    Mutex mutex(LockClass("test.m"));
    Cast cast;
    unsigned next = 0;
    for (unsigned cpu = 0; cpu != 4; ++cpu) {
      cast.task(cpu, [&done, next] {
        for (unsigned i = 0; i != 10; ++i) {
          point("op");
          sleep_jiffies(1);
        }
        ++done[next];
      });
      cast.task(cpu, [&, at = next + 1] {
        for (unsigned i = 0; i != 10; ++i) {
          mutex.lock();
          point("op");
          mutex.unlock();
        }
        ++done[at];
      });
      const ContextKind kinds[] = {ContextKind::softirq, ContextKind::hardirq, ContextKind::nmi};
      for (unsigned k = 0; k != 3; ++k) {
        cast.add(kinds[k], cpu, [&done, at = next + 2 + k] {
          point("op");
          EXPECT_TRUE(cpu_online(raw_smp_processor_id()));
          ++done[at];
        });
      }
      next += 5;
    }
    cast.task(0, [] {
      EXPECT_TRUE(take_cpu_down(1));
      sleep_jiffies(1);
      EXPECT_TRUE(take_cpu_down(3));
      sleep_jiffies(1);
      EXPECT_TRUE(bring_cpu_up(1));
      EXPECT_TRUE(take_cpu_down(2));
      EXPECT_TRUE(bring_cpu_up(3));
      sleep_jiffies(1);
      EXPECT_TRUE(take_cpu_down(1));
    });
    ASSERT_EQ(cast.run(kernel_, seed), StopReason::finished);
    for (unsigned i = 0; i != next; ++i) EXPECT_EQ(done[i], 1u) << i;
    EXPECT_EQ(said_.reports, 0u);
  }
}

// Whoever has a pin stays, however long; and what he counts there is his while he has it.
TEST_F(CpuHotplug, APinHolds) {
  for (std::uint64_t seed = 1; seed <= seeds() && !HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    boot(3);
    unsigned counters[3] = {};
    constexpr unsigned rounds = 20;
    Cast cast;
    for (unsigned cpu = 0; cpu != 3; ++cpu) {
      cast.task(cpu, [&counters] {
        for (unsigned i = 0; i != rounds; ++i) {
          preempt_disable();
          const unsigned here = smp_processor_id();
          const unsigned before = counters[here];
          point("op");
          EXPECT_TRUE(cpu_online(here));
          EXPECT_EQ(smp_processor_id(), here);
          counters[here] = before + 1;
          preempt_enable();
        }
      });
    }
    cast.task(0, [] {
      for (unsigned i = 0; i != 10; ++i) {
        const unsigned cpu = 1 + i % 2;
        EXPECT_TRUE(take_cpu_down(cpu));
        cond_resched();
        EXPECT_TRUE(bring_cpu_up(cpu));
      }
    });
    ASSERT_EQ(cast.run(kernel_, seed), StopReason::finished);
    EXPECT_EQ(counters[0] + counters[1] + counters[2], 3 * rounds);
  }
}

// A lock that the CPU's task holds is no obstacle for ever, and one that nobody will release is a deadlock.
TEST_F(CpuHotplug, WaitsForWhoCannotBePreempted) {
  if (Machine::concurrent()) GTEST_SKIP() << "schedules are for the deterministic engine";
  boot(2);
  struct Script final : Chooser {  // at the first point of task 0 task 1 moves, at its own first one task 0 again
    bool interested(const Moment& moment) override {
      return moment.site == Site("op") && moment.who < 2 && moment.visit == 1 && !taken[moment.who];
    }
    std::uint32_t choose(const Moment& moment, std::span<const Option> options) override {
      taken[moment.who] = true;
      for (std::uint32_t i = 0; i != options.size(); ++i) {
        if (options[i].move == Move::switch_to && options[i].whom == 1 - moment.who) return i;
      }
      return 0;
    }
    bool roll(const Moment&, std::uint32_t) override { return false; }
    void restart() override {}
    bool taken[2] = {};
  } script;
  std::string said;
  Cast cast;
  cast.task(0, [&said] {
    point("op");
    said += "down ";
    EXPECT_TRUE(take_cpu_down(1));
    said += "gone ";
  });
  cast.task(1, [&said] {
    preempt_disable();
    point("op");
    said += "pinned ";
    preempt_enable();
    said += "moved? ";
    EXPECT_EQ(raw_smp_processor_id(), 1u) << "run to completion: it had ended before the other one went on";
  });
  EXPECT_EQ(cast.run(kernel_, script), StopReason::finished);
  EXPECT_EQ(said, "down pinned moved? gone ");
}

// --- layers ----------------------------------------------------------------------------------------------------------

Shape with_lists(unsigned cpus, unsigned nodes) {
  Shape shape = shape_named("tiny-64").value();
  shape.cpus = static_cast<std::uint8_t>(cpus);
  shape.nodes = static_cast<std::uint8_t>(nodes);
  shape.pcp_high = 12;
  shape.pcp_batch = 4;
  return shape;
}

struct Kept {
  std::uint64_t pages = 0, objects = 0;
};

Kept kept_by(ObjectsRig& rig, unsigned cpu) {
  Kept kept;
  for (unsigned zone = 0; zone != rig.kernel.zones().size(); ++zone) kept.pages += rig.kernel.pcp_count(zone, cpu);
  for (const CacheHandle cache : rig.caches()) kept.objects += rig.kernel.cpu_array(cache, cpu).avail;
  return kept;
}

void use_everything(Kernel& kernel, unsigned rounds) {
  for (unsigned i = 0; i != rounds; ++i) {
    Pfn pages[3];
    std::uint64_t objects[3];
    for (Pfn& page : pages) page = kernel.alloc_pages(GFP_KERNEL, 0);
    for (std::uint64_t& object : objects) object = kernel.kmalloc(40 + 200 * (i % 3), GFP_KERNEL);
    point("op");
    for (const Pfn page : pages) kernel.free_pages_of(page, 0);
    for (const std::uint64_t object : objects) kernel.kfree(object);
  }
}

TEST(CpuHotplugOfLayers, PagesAndObjectsGoBack) {
  ObjectsRig rig(with_lists(2, 1));
  Cast works;
  works.task(1, [&] { use_everything(rig.kernel, 3); });
  ASSERT_EQ(works.run(rig.kernel), StopReason::finished);
  const Kept before = kept_by(rig, 1);
  EXPECT_GT(before.pages, 0u);
  EXPECT_GT(before.objects, 0u);
  Cast goes;
  goes.task(0, [&] { EXPECT_TRUE(rig.kernel.cpu_down(1)); });
  ASSERT_EQ(goes.run(rig.kernel), StopReason::finished);
  const Kept after = kept_by(rig, 1);
  EXPECT_EQ(after.pages, 0u);
  EXPECT_EQ(after.objects, 0u);
  rig.check();
  Cast comes;
  comes.task(0, [&] { EXPECT_TRUE(rig.kernel.cpu_up(1)); });
  ASSERT_EQ(comes.run(rig.kernel), StopReason::finished);
  ASSERT_EQ(works.run(rig.kernel), StopReason::finished);
  EXPECT_GT(kept_by(rig, 1).pages, 0u);
}

// CPU 1 is the only one of node 1: what it shared with itself, and what was on its way home from it, has no user.
TEST(CpuHotplugOfLayers, ANodeWithoutCpusKeepsNothing) {
  ObjectsRig rig(with_lists(2, 2));
  std::uint64_t objects[200] = {};
  enum class Left : std::uint8_t { aliens, shared };
  const auto left = [&](Left what) {
    std::uint64_t sum = 0;
    for (const CacheHandle cache : rig.caches()) {
      sum += what == Left::aliens ? rig.kernel.alien_array(cache, 1, 0).avail : rig.kernel.shared_array(cache, 1).avail;
    }
    return sum;
  };
  Cast works;
  works.task(0, [&] {
    for (std::uint64_t& object : objects) object = rig.kernel.kmalloc(100, GFP_KERNEL);
  });
  ASSERT_EQ(works.run(rig.kernel), StopReason::finished);
  Cast frees;
  frees.task(1, [&] {
    for (const std::uint64_t object : objects) rig.kernel.kfree(object);
    for (std::uint64_t& object : objects) object = rig.kernel.kmalloc(100, GFP_KERNEL);
    for (const std::uint64_t object : objects) rig.kernel.kfree(object);
  });
  ASSERT_EQ(frees.run(rig.kernel), StopReason::finished);
  EXPECT_GT(left(Left::aliens), 0u);
  EXPECT_GT(left(Left::shared), 0u);
  const std::uint64_t slabs = rig.kernel.slab_pages(subject::SlabPages::unreclaimable);
  Cast goes;
  goes.task(0, [&] { EXPECT_TRUE(rig.kernel.cpu_down(1)); });
  ASSERT_EQ(goes.run(rig.kernel), StopReason::finished);
  EXPECT_EQ(left(Left::aliens), 0u);
  EXPECT_EQ(left(Left::shared), 0u);
  EXPECT_LT(rig.kernel.slab_pages(subject::SlabPages::unreclaimable), slabs) << "more were free than the node may keep";
  rig.check();
}

TEST(CpuHotplugOfLayers, KeptStacksGoBack) {
  Shape shape = with_stacks(8 << 10, Toggle::off, Toggle::on);
  shape.cpus = 2;
  StacksRig<Recorder> rig(shape);
  const auto kept = [&] {
    unsigned stacks = 0;
    rig.kernel.stacks().for_each_stack([&](std::uint64_t, subject::StackUse use, std::uint32_t cpu) {
      if (use == subject::StackUse::cached && cpu == 1) ++stacks;
    });
    return stacks;
  };
  unsigned before = 0, after = 0;
  rig.task(
      [&] {
        const subject::TaskHandle task = rig.kernel.fork();
        rig.kernel.exit_task(task);
        before = kept();
        EXPECT_TRUE(rig.kernel.cpu_down(1));
        after = kept();
      },
      1);
  ASSERT_TRUE(rig.boot());
  EXPECT_EQ(rig.run().reason, StopReason::finished);
  EXPECT_EQ(before, 1u);
  EXPECT_EQ(after, 0u);
}

// Everybody at work while CPUs go and come.
TEST(CpuHotplugOfLayers, UnderLoad) {
  for (std::uint64_t seed = 1; seed <= (Machine::concurrent() ? 20 : 150) && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    const Shape shape = with_lists(4, seed % 2 == 0 ? 2 : 1);
    ObjectsRig rig(shape);
    Tally said;
    rig.kernel.boot(shape, {}, said, said);
    ASSERT_TRUE(rig.kernel.boot_objects());
    Cast cast;
    for (unsigned cpu = 0; cpu != 4; ++cpu) {
      cast.task(cpu, [&] { use_everything(rig.kernel, 12); });
      cast.add(ContextKind::hardirq, cpu, [&] { rig.kernel.kfree(rig.kernel.kmalloc(40, GFP_ATOMIC)); });
    }
    cast.task(0, [&] {
      SplitMix random{seed};
      for (unsigned i = 0; i != 12; ++i) {
        const auto cpu = static_cast<unsigned>(1 + random.below(3));
        if (!cpu_online(cpu)) {
          EXPECT_TRUE(rig.kernel.cpu_up(cpu));
          continue;
        }
        EXPECT_TRUE(rig.kernel.cpu_down(cpu));
        cond_resched();
      }
      for (const unsigned cpu : {1u, 3u}) {
        if (cpu_online(cpu)) EXPECT_TRUE(rig.kernel.cpu_down(cpu));
      }
    });
    ASSERT_EQ(cast.run(rig.kernel, seed), StopReason::finished);
    EXPECT_EQ(said.reports, 0u);
    rig.check();
    for (const unsigned cpu : {1u, 3u}) {
      const Kept kept = kept_by(rig, cpu);
      EXPECT_EQ(kept.pages, 0u) << cpu;
      EXPECT_EQ(kept.objects, 0u) << cpu;
    }
    rig.kernel.boot(shape, {}, rig.said, rig.said);
  }
}

}  // namespace
}  // namespace memtorture::kernel
