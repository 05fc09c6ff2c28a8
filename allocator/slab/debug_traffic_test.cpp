// Correct use is never reported, whatever the checks and the machine (P-DEBUG-2): random traffic with contents
// verified, every access asked for first, all 32 sets of checks. And that the checks change nothing else: every
// invariant holds, all memory comes back.
#include <gtest/gtest.h>

#include "allocator/kernel/debug_rig.h"

namespace memtorture::kernel {
namespace {

using namespace subject;  // GFP and SLAB names

struct SplitMix {
  std::uint64_t state;
  std::uint64_t below(std::uint64_t n) {
    std::uint64_t z = (state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (z ^ (z >> 31)) % n;
  }
};

struct Block {
  std::uint64_t address = 0, size = 0;
  CacheHandle cache = no_cache;  // none: kmalloc
  std::byte value{};
};

class Traffic {
 public:
  Traffic(DebugRig& rig, std::uint64_t seed) : rig_(rig), random_{seed} {
    for (const CacheSpec& spec : {CacheSpec{.name = "words", .size = 8}, CacheSpec{.name = "odd", .size = 173},
                                  CacheSpec{.name = "lines", .size = 200, .flags = SLAB_HWCACHE_ALIGN},
                                  CacheSpec{.name = "aligned", .size = 300, .align = 512},
                                  CacheSpec{.name = "large", .size = 3001, .flags = SLAB_RED_ZONE | SLAB_POISON},
                                  CacheSpec{.name = "off-slab", .size = rig.off_slab_size()},
                                  CacheSpec{.name = "rcu", .size = 48, .flags = SLAB_DESTROY_BY_RCU},
                                  CacheSpec{.name = "made", .size = 72, .ctor = {.run = construct, .arg = &rig}}}) {
      caches_.push_back(rig.kernel.kmem_cache_create(spec));
      specs_.push_back(spec);
      EXPECT_NE(caches_.back(), no_cache) << spec.name;
    }
  }
  void step() {
    Block& block = blocks_[random_.below(std::size(blocks_))];
    if (block.address == 0) return allocate(block);
    verify(block);
    if (block.cache == no_cache && random_.below(3) == 0) return reallocate(block);
    release(block);
  }
  void finish() {
    for (Block& block : blocks_) {
      if (block.address == 0) continue;
      verify(block);
      release(block);
    }
    for (const CacheHandle cache : caches_) EXPECT_EQ(rig_.kernel.kmem_cache_destroy(cache), 0);
  }
  unsigned allocated = 0;

 private:
  static void construct(void* arg, std::uint64_t object) {
    std::memset(static_cast<DebugRig*>(arg)->bytes(object), 0xc0, 72);
  }
  std::uint64_t some_size() {
    constexpr std::uint64_t limits[] = {16, 100, 1000, 5000};
    return 1 + random_.below(limits[random_.below(std::size(limits))]);
  }
  void fill(Block& block) {
    block.value = static_cast<std::byte>(random_.below(256));
    EXPECT_TRUE(rig_.touch(block.address, block.size, machine::Access::write));
    std::memset(rig_.bytes(block.address), std::to_integer<int>(block.value), block.size);
  }
  void allocate(Block& block) {
    const std::uint64_t which = random_.below(2 * caches_.size());
    block.cache = which < caches_.size() ? caches_[which] : no_cache;
    block.size = block.cache != no_cache ? specs_[which].size : some_size();
    const bool made = block.cache != no_cache && specs_[which].ctor;
    const bool zero = !made && random_.below(4) == 0;
    const gfp_t gfp = GFP_KERNEL | gfp_nowarn | gfp_noretry | (zero ? gfp_zero : 0);
    block.address =
        block.cache != no_cache ? rig_.kernel.kmem_cache_alloc(block.cache, gfp) : rig_.kernel.kmalloc(block.size, gfp);
    if (block.address == 0) return;
    ++allocated;
    if (zero) EXPECT_TRUE(rig_.all_bytes(block.address, block.size, std::byte{0}));
    if (made) {
      EXPECT_TRUE(rig_.all_bytes(block.address, block.size, std::byte{0xc0})) << "no object is handed out unmade";
      block.value = std::byte{0xc0};  // and it is given back as it was made
    } else {
      fill(block);
    }
  }
  void verify(const Block& block) {
    EXPECT_TRUE(rig_.touch(block.address, block.size));
    ASSERT_TRUE(rig_.all_bytes(block.address, block.size, block.value));
    if (random_.below(4) != 0) return;
    const std::uint64_t usable = rig_.kernel.ksize(block.address);
    ASSERT_GE(usable, block.size);
    ASSERT_TRUE(rig_.touch(block.address, usable));
  }
  void reallocate(Block& block) {
    const std::uint64_t size = some_size();
    const std::uint64_t fresh = rig_.kernel.krealloc(block.address, size, GFP_KERNEL | gfp_nowarn | gfp_noretry);
    if (fresh == 0) return;
    EXPECT_TRUE(rig_.all_bytes(fresh, std::min(size, block.size), block.value));
    block.address = fresh;
    block.size = size;
    fill(block);
  }
  void release(Block& block) {
    if (block.cache != no_cache) {
      rig_.kernel.kmem_cache_free(block.cache, block.address);
    } else if (random_.below(4) == 0) {
      rig_.kernel.kzfree(block.address);
    } else {
      rig_.kernel.kfree(block.address);
    }
    block.address = 0;
  }

  DebugRig& rig_;
  SplitMix random_;
  std::vector<CacheHandle> caches_;
  std::vector<CacheSpec> specs_;
  Block blocks_[60];
};

void shrink_everything(DebugRig& rig) {
  const CacheHandle cache_cache = rig.named("kmem_cache");
  for (unsigned round = 0; round != 2; ++round) {  // descriptors of the first round's slabs
    for (const CacheHandle cache : rig.caches()) {
      if (cache != cache_cache) rig.kernel.kmem_cache_shrink(cache);
    }
  }
  rig.kernel.slab().shrink_all();
  rig.kernel.drain_all_pages();
}

class EveryShape : public testing::TestWithParam<std::string_view> {};

TEST_P(EveryShape, CorrectUseIsNeverReported) {
  for (unsigned checks = 0; checks != 32; ++checks) {
    SCOPED_TRACE(testing::Message() << "checks " << checks);
    machine::Shape shape = checked_shape(GetParam(), static_cast<std::uint8_t>(checks), 20'000);
    DebugRig rig(shape);
    rig.alone([&] {
      shrink_everything(rig);
      const std::uint64_t free_before = rig.kernel.nr_free_pages();
      Traffic traffic(rig, checks + 1);
      for (unsigned i = 0; i != 1500 && !HasFailure(); ++i) {
        traffic.step();
        if (i % 500 == 0) rig.check();
        if (i % 300 == 0) rig.kernel.slab().reap(0);
        EXPECT_LE(rig.kernel.quarantined_bytes(), shape.quarantine_bytes);
      }
      EXPECT_GT(traffic.allocated, 100u);
      traffic.finish();
      shrink_everything(rig);
      EXPECT_EQ(rig.kernel.quarantined_bytes(), 0u);
      EXPECT_EQ(rig.kernel.nr_free_pages(), free_before);
      EXPECT_EQ(rig.kernel.scan_leaks({}), 0u) << "the layer's own objects are no leaks";
    });
    rig.expect_none();
  }
}

INSTANTIATE_TEST_SUITE_P(DebugTraffic, EveryShape, testing::Values("toy", "tiny-32", "tiny-64", "tiny-all", "alpha"));

TEST(DebugTraffic, OnTwoNodes) {
  machine::Shape shape = checked_shape("tiny-64", letters("FZPUK"), 20'000);
  shape.cpus = shape.nodes = 2;
  DebugRig rig(shape);
  rig.alone([&] {
    Traffic traffic(rig, 1);
    for (unsigned i = 0; i != 3000; ++i) traffic.step();
    rig.check();
    traffic.finish();
  });
  rig.expect_none();
}

TEST(DebugTraffic, EveryShapeOfTheTableBootsWithAllChecks) {
  for (const machine::ShapeRow& row : machine::shape_table()) {
    SCOPED_TRACE(row.name);
    DebugRig rig(checked_shape(row.name, letters("FZPUK"), 4096));
    rig.alone([&] {
      const std::uint64_t object = rig.kmalloc(100);
      std::memset(rig.bytes(object), 1, 100);
      rig.kernel.kfree(object);
    });
    rig.expect_none();
  }
}

TEST(DebugTraffic, ArraysHoldLittleOnAMachineWithChecks) {  // 10.5: debug builds
  DebugRig rig(letters("U"));
  for (const auto& [name, limit] : {std::pair{"size-128", 32u}, {"size-512", 32u}, {"size-2048", 24u}})
    EXPECT_EQ(rig.kernel.cache_info(rig.named(name)).limit, limit) << name;
}

TEST(DebugTraffic, ARunRemembersNothingOfTheLast) {
  machine::Shape shape = checked_shape("toy", letters("FZPUK"), 4096);
  DebugRig rig(shape);
  std::uint64_t first = 0;
  for (unsigned run = 0; run != 3; ++run) {
    rig.kernel.boot(shape, {}, rig.said, rig.said);
    ASSERT_TRUE(rig.kernel.boot_objects());
    rig.alone([&] {
      EXPECT_EQ(rig.kernel.quarantined_bytes(), 0u);
      const std::uint64_t object = rig.kmalloc(300);
      if (run == 0) first = object;
      EXPECT_EQ(object, first);
      rig.kernel.kfree(object);
      EXPECT_NE(rig.kernel.quarantined_bytes(), 0u);
      rig.kmalloc(64);
      EXPECT_EQ(rig.kernel.scan_leaks({}), 1u);
    });
    rig.forget();
  }
}

}  // namespace
}  // namespace memtorture::kernel
