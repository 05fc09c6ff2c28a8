// Slabs give pages back when memory is short and when time passes, with the whole machine around them (domain.md 9.3,
// 10.5, P-SLAB-14).
#include <gtest/gtest.h>

#include "allocator/kernel/objects_rig.h"
#include "allocator/kernel/strands_rig.h"

namespace memtorture::kernel {
namespace {

using machine::no_pfn;
using machine::Shape;
using machine::StopReason;
using namespace subject;  // GFP names

// The rig writes down what several contexts say, and host threads' time passes by itself. On threads the last test here
// and stress/threads do this work.
constexpr std::string_view fibers_only = "counts what several contexts say, by exact time";

Shape slabs_on(unsigned cpus, machine::Toggle reap = machine::Toggle::off) {
  Shape shape = machine::shape_named("flat").value();
  shape.ram_bytes = std::uint64_t{2} << 20;
  shape.min_free_kbytes = 16;
  shape.cpus = static_cast<std::uint8_t>(cpus);
  shape.objects = machine::ObjectLayer::slab;
  shape.reap = reap;
  return shape;
}

struct Slabs : ObjectsRig {
  explicit Slabs(const Shape& shape) : ObjectsRig(shape) {
    alone([&] { cache = kernel.kmem_cache_create({.name = "big", .size = 2000}); });  // one or two a page
  }
  void cycle(unsigned objects) {  // and leaves empty slabs, or full arrays, behind
    std::vector<std::uint64_t> taken;
    for (unsigned i = 0; i != objects; ++i) taken.push_back(kernel.kmem_cache_alloc(cache, GFP_KERNEL));
    for (const std::uint64_t object : taken) kernel.kmem_cache_free(cache, object);
  }
  void exhaust() {
    while (kernel.alloc_pages(GFP_ATOMIC | gfp_nowarn, 0) != no_pfn) {
    }
  }
  std::uint64_t slab_pages() { return kernel.slab_pages(SlabPages::unreclaimable); }
  void pass(unsigned seconds) { machine::sleep_jiffies(seconds * kernel.machine().shape().hz); }

  CacheHandle cache = no_cache;
};

TEST(SlabReclaim, DirectReclaimTakesEmptySlabs) {
  Slabs rig(slabs_on(1));
  rig.alone([&] {
    rig.cycle(200);
    rig.exhaust();
    const std::uint64_t before = rig.slab_pages();
    // ATOMIC went below MIN: it takes more than one page until an ordinary request passes.
    EXPECT_NE(rig.kernel.alloc_pages(GFP_KERNEL, 0), no_pfn);
    EXPECT_GT(rig.said.reclaimed, 0u);
    EXPECT_EQ(before - rig.slab_pages(), rig.said.reclaimed) << "every page that was told, and no other";
  });
  EXPECT_EQ(rig.said.killed, 0u);
  EXPECT_EQ(rig.said.released, 0u) << "there are no clients";
}

TEST(SlabReclaim, AsMuchAsIsWantedAndEmptySlabsFirst) {
  Slabs rig(slabs_on(1));
  rig.alone([&] {
    rig.cycle(200);
    const std::uint32_t avail = rig.kernel.cpu_array(rig.cache, 0).avail;
    const unsigned empty = rig.count(rig.cache, SlabState::free);
    ASSERT_GE(empty, 2u);
    const std::uint64_t pages = rig.slab_pages();
    rig.kernel.slab().shrink(1, GFP_KERNEL);
    EXPECT_EQ(rig.slab_pages(), pages - 1);
    EXPECT_EQ(rig.kernel.cpu_array(rig.cache, 0).avail, avail);
    rig.kernel.slab().shrink(empty + 4, GFP_KERNEL);
    EXPECT_EQ(rig.kernel.cpu_array(rig.cache, 0).avail, 0u) << "empty slabs were not enough";
  });
}

TEST(SlabReclaim, GrowthOfOneCacheTakesTheSlabsOfAnother) {
  Slabs rig(slabs_on(1));
  rig.alone([&] {
    auto& k = rig.kernel;
    const CacheHandle other = k.kmem_cache_create({.name = "off-slab", .size = 3000, .align = 0});
    rig.cycle(200);
    rig.exhaust();
    std::vector<std::uint64_t> objects;
    for (unsigned i = 0; i != 20; ++i) objects.push_back(k.kmem_cache_alloc(other, GFP_KERNEL));
    for (const std::uint64_t object : objects) EXPECT_NE(object, 0u);
    rig.check();
    for (const std::uint64_t object : objects) k.kmem_cache_free(other, object);
  });
  EXPECT_GT(rig.said.reclaimed, 0u);
}

TEST(SlabReclaim, WhoMakesACacheDoesNotComeBackToTheChain) {
  Slabs rig(slabs_on(1));
  rig.alone([&] {
    // Nothing but slabs, and the chain is locked: there is a process to kill.
    rig.kernel.client_add(ClientKind::process, 40, GFP_KERNEL);
    rig.cycle(200);
    rig.exhaust();
    for (unsigned i = 0; i != 8; ++i) {
      const std::string name = "made" + std::to_string(i);
      EXPECT_NE(rig.kernel.kmem_cache_create({.name = name, .size = 1000}), no_cache);
    }
  });
  EXPECT_EQ(rig.said.count(machine::ReportKind::lock_recursion), 0u);
}

TEST(SlabReclaim, KswapdTakesEmptySlabs) {
  if (machine::Machine::concurrent()) GTEST_SKIP() << fibers_only;
  Slabs rig(slabs_on(1));
  std::uint64_t before = 0;
  Cast cast;
  cast.task(0, [&] {
    rig.cycle(200);
    before = rig.slab_pages();
    rig.exhaust();
  });
  EXPECT_EQ(cast.run(rig.kernel), StopReason::finished);
  EXPECT_GT(rig.said.kswapd_wakes, 0u);
  EXPECT_LT(rig.slab_pages(), before);
  EXPECT_TRUE(rig.said.reclaims.empty());
}

// --- the clock ------------------------------------------------------------------------------------------------------

TEST(Reaper, ComesEveryTwoSeconds) {
  if (machine::Machine::concurrent()) GTEST_SKIP() << fibers_only;
  Slabs rig(slabs_on(1, machine::Toggle::on));
  std::vector<std::uint32_t> avail;
  Cast cast;
  cast.task(0, [&] {
    rig.cycle(24);  // limit 24: a pass takes 5
    for (unsigned i = 0; i != 8; ++i) {
      avail.push_back(rig.kernel.cpu_array(rig.cache, 0).avail);
      rig.pass(1);
    }
  });
  EXPECT_EQ(cast.run(rig.kernel), StopReason::finished);
  // After a second the mark goes, after three, five and seven a fifth each.
  EXPECT_EQ(avail, (std::vector<std::uint32_t>{24, 24, 24, 19, 19, 14, 14, 9}));
}

TEST(Reaper, EachCpuHasItsOwn) {
  if (machine::Machine::concurrent()) GTEST_SKIP() << fibers_only;
  Slabs rig(slabs_on(2, machine::Toggle::on));
  Cast cast;
  cast.task(1, [&] {
    rig.cycle(24);
    for (unsigned i = 0; i != 20; ++i) rig.pass(2);
  });
  cast.task(0, [&] { rig.cycle(24); });
  EXPECT_EQ(cast.run(rig.kernel), StopReason::finished);
  EXPECT_EQ(rig.kernel.cpu_array(rig.cache, 0).avail, 0u);
  EXPECT_EQ(rig.kernel.cpu_array(rig.cache, 1).avail, 0u);
  EXPECT_EQ(rig.count(rig.cache, SlabState::free), 0u) << "every four seconds some empty slabs go";
  EXPECT_EQ(rig.live(rig.cache).size(), 0u);
}

TEST(Reaper, KeepsNoMachineAliveAndHidesNoDeadlock) {
  if (machine::Machine::concurrent()) GTEST_SKIP() << fibers_only;
  Slabs idle(slabs_on(2, machine::Toggle::on));
  EXPECT_EQ(Cast().task(0, [&] { idle.cycle(3); }).run(idle.kernel), StopReason::finished);
  Slabs stuck(slabs_on(2, machine::Toggle::on));
  machine::WaitQueue queue;
  EXPECT_EQ(Cast().task(0, [&] { queue.wait(); }).run(stuck.kernel), StopReason::deadlock);
  Slabs late(slabs_on(2, machine::Toggle::on));
  EXPECT_EQ(Cast().task(0, [&] { machine::sleep_jiffies(~0u); }).run(late.kernel), StopReason::finished)
      << "one pass when time has passed, not one for each two seconds of it";
}

// Programs, reapers and kswapd on every CPU, decided by dice (threads: by the host), and in the end nothing is lost.
TEST(Reaper, InTheMiddleOfEverything) {
  for (std::uint64_t seed = 0; seed != (machine::Machine::concurrent() ? 10 : 150); ++seed) {
    Shape shape = slabs_on(3, machine::Toggle::on);
    shape.nodes = static_cast<std::uint8_t>(1 + seed % 2);
    ObjectsRig rig(shape);
    Tally said;
    rig.kernel.boot(shape, {}, said, said);
    ASSERT_TRUE(rig.kernel.boot_objects());
    CacheHandle cache = no_cache;
    rig.alone([&] { cache = rig.kernel.kmem_cache_create({.name = "big", .size = 700}); });
    Cast cast;
    for (unsigned cpu = 0; cpu != 3; ++cpu) {
      cast.task(cpu, [&rig, cache, cpu, seed] {
        SplitMix random{seed * 3 + cpu};
        std::vector<std::uint64_t> held;
        held.reserve(64);
        for (unsigned i = 0; i != 60; ++i) {
          machine::begin_operation(i);
          if (held.size() < 64 && random.below(2) == 0) {
            const std::uint64_t object = rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL | gfp_noretry | gfp_nowarn);
            if (object == 0) continue;
            std::memset(rig.bytes(object), static_cast<int>(object >> 8 & 0xff), 700);
            held.push_back(object);
          } else if (!held.empty()) {
            const std::uint64_t object = held.back();
            held.pop_back();
            EXPECT_TRUE(rig.all_bytes(object, 700, static_cast<std::byte>(object >> 8 & 0xff)));
            rig.kernel.kmem_cache_free(cache, object);
          }
          if (random.below(8) == 0) machine::sleep_jiffies(100 + random.below(300));
        }
        for (const std::uint64_t object : held) rig.kernel.kmem_cache_free(cache, object);
      });
    }
    ASSERT_EQ(cast.run(rig.kernel, seed), StopReason::finished) << seed;
    EXPECT_EQ(said.reports, 0u) << seed;
    EXPECT_EQ(rig.live(cache).size(), 0u) << seed;
    rig.alone([&] { EXPECT_EQ(rig.kernel.kmem_cache_destroy(cache), 0); });
  }
}

}  // namespace
}  // namespace memtorture::kernel
