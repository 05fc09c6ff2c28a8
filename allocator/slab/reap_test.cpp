// The periodic reaper and shrinking under pressure (domain.md 10.5, P-SLAB-14).
#include <gtest/gtest.h>

#include "allocator/kernel/objects_rig.h"

namespace memtorture::kernel {
namespace {

using machine::Shape;
using namespace subject;  // GFP names

struct Rigged : ObjectsRig {
  explicit Rigged(unsigned cpus = 1, unsigned nodes = 1) : ObjectsRig(shape(cpus, nodes)) {
    alone([&] { cache = kernel.kmem_cache_create({.name = "reaped", .size = 64}); });  // 59 a slab
  }
  static Shape shape(unsigned cpus, unsigned nodes) {
    Shape shape = machine::shape_named("tiny-64").value();
    shape.cpus = static_cast<std::uint8_t>(cpus);
    shape.nodes = static_cast<std::uint8_t>(nodes);
    return shape;
  }
  std::vector<std::uint64_t> take_many(unsigned n) {
    std::vector<std::uint64_t> objects;
    for (unsigned i = 0; i != n; ++i) objects.push_back(kernel.kmem_cache_alloc(cache, GFP_KERNEL));
    return objects;
  }
  void give(const std::vector<std::uint64_t>& objects) {
    for (const std::uint64_t object : objects) kernel.kmem_cache_free(cache, object);
  }
  std::uint32_t avail() { return kernel.cpu_array(cache, 0).avail; }
  void pass_seconds(unsigned seconds) { machine::sleep_jiffies(seconds * kernel.machine().shape().hz); }

  CacheHandle cache = no_cache;
};

TEST(Reap, TakesAFifthOfWhatNobodyTouches) {
  Rigged rig;
  rig.alone([&] {
    const auto objects = rig.take_many(118);
    rig.give(objects);
    EXPECT_EQ(rig.avail(), 118u);
    rig.kernel.slab().reap(0);
    EXPECT_EQ(rig.avail(), 118u) << "it was used: only the mark goes";
    rig.kernel.slab().reap(0);
    EXPECT_EQ(rig.avail(), 118u - 24) << "(120 + 4) / 5";
    for (unsigned i = 0; i != 3; ++i) rig.kernel.slab().reap(0);
    EXPECT_EQ(rig.avail(), 22u);
    rig.kernel.slab().reap(0);
    EXPECT_EQ(rig.avail(), 11u) << "less than a fifth of the limit: half of it";
    for (unsigned i = 0; i != 4; ++i) rig.kernel.slab().reap(0);
    EXPECT_EQ(rig.avail(), 0u);
    rig.check();
    EXPECT_EQ(rig.live(rig.cache).size(), 0u);
  });
}

TEST(Reap, FreesAFewEmptySlabsEveryFourSeconds) {
  Rigged rig;
  rig.alone([&] {
    rig.kernel.slab().shrink_all();
    rig.give(rig.take_many(59 * 4));  // the array keeps up to 120, the rest goes to slabs
    ASSERT_GE(rig.count(rig.cache, SlabState::free), 1u);
    const unsigned empty = rig.count(rig.cache, SlabState::free);
    rig.kernel.slab().reap(0);
    EXPECT_EQ(rig.count(rig.cache, SlabState::free), empty) << "not yet";
    rig.pass_seconds(4);
    machine::current().cpu = 0;
    rig.kernel.slab().reap(0);
    EXPECT_GE(rig.count(rig.cache, SlabState::free), empty) << "an empty slab was needed since the last look";
    const unsigned before = rig.count(rig.cache, SlabState::free) + rig.count(rig.cache, SlabState::partial);
    rig.kernel.slab().reap(0);
    EXPECT_EQ(rig.count(rig.cache, SlabState::free) + rig.count(rig.cache, SlabState::partial), before);
    rig.pass_seconds(4);
    const unsigned free_now = rig.count(rig.cache, SlabState::free);
    const std::uint64_t pages = rig.kernel.slab_pages(SlabPages::unreclaimable);
    rig.kernel.slab().reap(0);
    // (179 + 5 * 59 - 1) / (5 * 59) = 1 slab of this cache; other caches give back what they have empty.
    EXPECT_LT(rig.kernel.slab_pages(SlabPages::unreclaimable), pages);
    EXPECT_GE(rig.count(rig.cache, SlabState::free) + 1, free_now);
    rig.check();
  });
}

TEST(Reap, EmptiesOneAlienArrayAPass) {
  Rigged rig(2, 2);
  rig.alone([&] {
    const auto objects = rig.take_many(5);
    machine::current().cpu = 1;
    rig.give(objects);
    EXPECT_EQ(rig.kernel.alien_array(rig.cache, 1, 0).avail, 5u);
    rig.kernel.slab().reap(1);
    EXPECT_EQ(rig.kernel.alien_array(rig.cache, 1, 0).avail, 0u);
    EXPECT_EQ(rig.kernel.shared_array(rig.cache, 0).avail, 5u);
    machine::current().cpu = 0;
    rig.check();
  });
}

TEST(Shrink, UnderPressureEverythingUnusedGoes) {
  Rigged rig(2);
  rig.alone([&] {
    auto& k = rig.kernel;
    k.slab().shrink_all();
    const std::uint64_t before = k.nr_free_pages();
    auto objects = rig.take_many(500);
    const std::uint64_t kept = objects.back();
    objects.pop_back();
    std::memset(rig.bytes(kept), 0x3c, 64);
    rig.give(objects);
    std::vector<std::uint64_t> mixed;
    for (const std::uint64_t bytes : {40, 700, 5000, 40'000}) mixed.push_back(k.kmalloc(bytes, GFP_KERNEL));
    for (const std::uint64_t object : mixed) k.kfree(object);
    const std::uint64_t middle = k.nr_free_pages();
    const std::uint64_t freed = k.slab().shrink_all();
    k.drain_all_pages();
    EXPECT_EQ(k.nr_free_pages(), before - 1) << "the slab of the object that is left";
    EXPECT_GE(freed, before - 1 - middle);
    EXPECT_TRUE(rig.all_bytes(kept, 64, std::byte{0x3c}));
    EXPECT_EQ(k.slab().shrink_all(), 0u);
    k.kmem_cache_free(rig.cache, kept);
    EXPECT_EQ(k.slab().shrink_all(), 1u);
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

}  // namespace
}  // namespace memtorture::kernel
