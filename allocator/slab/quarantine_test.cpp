// Freed objects that are held back (P-DEBUG-7): the bound, the order, who empties it, and that what is there is not
// handed out.
#include <gtest/gtest.h>

#include "allocator/kernel/debug_rig.h"

namespace memtorture::kernel {
namespace {

using machine::ReportKind;
using namespace subject;  // GFP and SLAB names

class Held : public DebugRig {
 public:
  explicit Held(std::uint64_t buffers, std::string_view checks = "K") : DebugRig(letters(checks), 1 << 16) {
    const std::uint32_t buffer = kernel.cache_info(named("size-128")).buffer_size;
    const machine::Shape shape = checked_shape("toy", letters(checks), buffers * buffer);
    kernel.boot(shape, {}, said, said);
    EXPECT_TRUE(kernel.boot_objects());
  }
  std::vector<std::uint64_t> take_many(unsigned n) {
    std::vector<std::uint64_t> objects;
    for (unsigned i = 0; i != n; ++i) objects.push_back(kmalloc(100));
    return objects;
  }
  bool held(std::uint64_t object) { return kernel.object_state(object) == ObjectState::quarantined; }
};

TEST(Quarantine, IsFirstInFirstOutAndKeepsItsBudget) {
  Held rig(3);
  rig.alone([&] {
    const std::uint32_t buffer = rig.kernel.cache_info(rig.named("size-128")).buffer_size;
    const auto objects = rig.take_many(8);
    for (std::size_t i = 0; i != objects.size(); ++i) {
      rig.kernel.kfree(objects[i]);
      EXPECT_EQ(rig.kernel.quarantined_bytes(), std::min<std::size_t>(i + 1, 3) * buffer);
      for (std::size_t k = 0; k != objects.size(); ++k) {
        EXPECT_EQ(rig.held(objects[k]), k <= i && i < k + 3) << k << " after " << i;
      }
      rig.check();
    }
    rig.expect_none();
  });
}

TEST(Quarantine, WhatIsThereIsNotHandedOut) {
  Held rig(4);
  rig.alone([&] {
    const std::uint64_t object = rig.kmalloc(100);
    rig.kernel.kfree(object);
    for (unsigned i = 0; i != 3; ++i) {
      const std::uint64_t other = rig.kmalloc(100);
      EXPECT_NE(other, object);
      rig.kernel.kfree(other);
    }
    const std::uint64_t last = rig.kmalloc(100);
    EXPECT_NE(last, object);
    rig.kernel.kfree(last);  // pushes the first one out, on top of the array
    EXPECT_EQ(rig.kmalloc(100), object);
    rig.expect_none();
  });
}

TEST(Quarantine, ABufferLargerThanTheBudgetGoesStraightOn) {
  Held rig(3);
  rig.alone([&] {
    const std::uint64_t small = rig.kmalloc(100), large = rig.kmalloc(1000);
    rig.kernel.kfree(small);
    rig.kernel.kfree(large);
    EXPECT_TRUE(rig.held(small)) << "and makes nobody leave";
    EXPECT_EQ(rig.kernel.object_state(large), ObjectState::free_);
    EXPECT_EQ(rig.kmalloc(1000), large);
    rig.expect_none();
  });
}

TEST(Quarantine, ShrinkAndDestroyTakeTheirCachesPart) {
  Held rig(8);
  rig.alone([&] {
    const CacheHandle a = rig.kernel.kmem_cache_create({.name = "a", .size = 100});
    const CacheHandle b = rig.kernel.kmem_cache_create({.name = "b", .size = 100});
    const auto free_one = [&](CacheHandle cache) {
      const std::uint64_t object = rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL);
      rig.kernel.kmem_cache_free(cache, object);
      EXPECT_TRUE(rig.held(object));
      return object;
    };
    free_one(a);
    const std::uint64_t other = free_one(b);
    EXPECT_EQ(rig.kernel.kmem_cache_shrink(a), 0) << "nothing is in use";
    EXPECT_TRUE(rig.slabs(a).empty());
    EXPECT_TRUE(rig.held(other));
    free_one(a);
    EXPECT_EQ(rig.kernel.kmem_cache_destroy(a), 0);
    EXPECT_TRUE(rig.held(other));
    EXPECT_EQ(rig.kernel.kmem_cache_destroy(b), 0);
    rig.check();
    rig.expect_none();
  });
}

TEST(Quarantine, DescriptorsOfSlabsGoStraightOn) {
  Held rig(8);
  rig.alone([&] {
    const CacheHandle cache = rig.kernel.kmem_cache_create({.name = "off", .size = rig.off_slab_size()});
    ASSERT_TRUE(rig.kernel.cache_info(cache).off_slab);
    rig.kernel.kmem_cache_free(cache, rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL));
    const std::uint64_t descriptor = rig.slabs(cache).front().info.descriptor;
    EXPECT_EQ(rig.kernel.object_state(descriptor), ObjectState::live);
    EXPECT_EQ(rig.kernel.kmem_cache_shrink(cache), 0);
    EXPECT_EQ(rig.kernel.object_state(descriptor), ObjectState::free_);
    rig.expect_none();
  });
}

TEST(Quarantine, PressureTakesNothingFromIt) {
  Held rig(8);
  rig.alone([&] {
    const std::uint64_t object = rig.kmalloc(100);
    rig.kernel.kfree(object);
    rig.kernel.slab().shrink_all();
    rig.kernel.slab().reap(0);
    EXPECT_TRUE(rig.held(object));
    EXPECT_FALSE(rig.touch(object));
    rig.expect_one(ReportKind::use_after_free, object);
  });
}

TEST(Quarantine, ALiveObjectKeepsItsCacheBusyAsEver) {
  Held rig(8);
  rig.alone([&] {
    const CacheHandle cache = rig.kernel.kmem_cache_create({.name = "busy", .size = 100});
    const std::uint64_t object = rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL);
    EXPECT_EQ(rig.kernel.kmem_cache_destroy(cache), -ebusy);
    rig.expect_one(ReportKind::cache_busy, 0);
    rig.kernel.kmem_cache_free(cache, object);
    EXPECT_EQ(rig.kernel.kmem_cache_destroy(cache), 0);
    rig.expect_none();
  });
}

TEST(Quarantine, AWriteToWhatItHoldsIsFoundWhenTheObjectIsHandedOutAgain) {
  Held rig(1, "PK");
  rig.alone([&] {
    const std::uint64_t object = rig.kmalloc(100);
    rig.kernel.kfree(object);
    *rig.bytes(object + 17) = std::byte{0x99};
    rig.kernel.kfree(rig.kmalloc(100));
    rig.expect_none();
    EXPECT_EQ(rig.kmalloc(100), object);
    const auto details = rig.expect_one(ReportKind::object_poison, object + 17);
    EXPECT_EQ(details.offset, 17);
    EXPECT_EQ(details.found, 0x99);
  });
}

}  // namespace
}  // namespace memtorture::kernel
