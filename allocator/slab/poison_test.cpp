// Patterns in objects (domain.md 10.8, P-SLAB-18): what they look like, when a write to a free object is found, and
// what becomes of constructors. And the self-check of slabs.
#include <gtest/gtest.h>

#include "allocator/kernel/debug_rig.h"

namespace memtorture::kernel {
namespace {

using machine::ReportKind;
using namespace subject;  // GFP and SLAB names

bool filled(DebugRig& rig, std::uint64_t object, std::uint64_t size, int pattern) {
  return rig.all_bytes(object, size - 1, static_cast<std::byte>(pattern)) &&
         *rig.bytes(object + size - 1) == std::byte{0xa5};
}

TEST(PoisonedObjects, HaveOnePatternWhenFreshAndAnotherWhenFree) {
  for (const std::string_view checks : {"P", "FZPUK"}) {
    DebugRig rig(letters(checks));
    rig.alone([&] {
      for (const std::uint64_t size : {32, 100, 600, 4096}) {
        const std::uint64_t object = rig.kmalloc(size), usable = rig.kernel.ksize(object);
        EXPECT_TRUE(filled(rig, object, usable, 0x5a)) << size;
        std::memset(rig.bytes(object), 1, size);
        rig.kernel.kfree(object);
        EXPECT_TRUE(filled(rig, object, usable, 0x6b)) << size;
        EXPECT_EQ(rig.kmalloc(size), object);
        EXPECT_TRUE(filled(rig, object, usable, 0x5a)) << size;
        rig.kernel.kfree(object);
        EXPECT_TRUE(rig.all_bytes(rig.kernel.kzalloc(size, GFP_KERNEL), size, std::byte{0}));
      }
      rig.expect_none();
    });
  }
}

TEST(PoisonedObjects, AWriteIsReportedOnceWhenTheObjectIsHandedOut) {
  for (unsigned checks = 0; checks != 32; ++checks) {
    if ((checks & machine::debug_poison) == 0) continue;
    DebugRig rig(static_cast<std::uint8_t>(checks));
    rig.alone([&] {
      for (const std::uint64_t at : {0, 50, 98, 99}) {
        const CacheHandle cache = rig.kernel.kmem_cache_create({.name = "poisoned", .size = 100});
        const std::uint64_t size = rig.kernel.kmem_cache_size(cache);
        const std::uint64_t object = rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL);
        rig.kernel.kmem_cache_free(cache, object);
        *rig.bytes(object + at) = std::byte{0x42};
        EXPECT_EQ(rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL), object) << "handed out all the same";
        const auto details = rig.expect_one(ReportKind::object_poison, object + at);
        EXPECT_EQ(details.check, machine::debug_poison);
        EXPECT_EQ(details.offset, static_cast<std::int64_t>(at));
        EXPECT_EQ(details.found, 0x42);
        EXPECT_TRUE(details.freed.known);
        EXPECT_TRUE(filled(rig, object, size, 0x5a));
        rig.kernel.kmem_cache_free(cache, object);
        EXPECT_EQ(rig.kernel.kmem_cache_destroy(cache), 0);
        rig.expect_none();
      }
    });
  }
}

TEST(PoisonedObjects, AWriteIsReportedWhenTheSlabIsGivenBack) {
  for (const bool off_slab : {false, true}) {
    for (const auto& give_back : {+[](Kernel& k, CacheHandle c) { EXPECT_EQ(k.kmem_cache_destroy(c), 0); },
                                  +[](Kernel& k, CacheHandle c) { EXPECT_EQ(k.kmem_cache_shrink(c), 0); },
                                  +[](Kernel& k, CacheHandle) { EXPECT_GT(k.slab().shrink_all(), 0u); }}) {
      DebugRig rig(letters("FZPUK"));
      rig.alone([&] {
        const CacheHandle cache =
            rig.kernel.kmem_cache_create({.name = "poisoned", .size = off_slab ? rig.off_slab_size() : 60});
        EXPECT_EQ(rig.kernel.cache_info(cache).off_slab, off_slab);
        const std::uint64_t object = rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL);
        rig.kernel.kmem_cache_free(cache, object);
        *rig.bytes(object + 9) = std::byte{0};
        *rig.bytes(object + 20) = std::byte{0};
        give_back(rig.kernel, cache);
        EXPECT_EQ(rig.expect_one(ReportKind::object_poison, object + 9).cache, "poisoned");
      });
    }
  }
}

TEST(PoisonedObjects, AnObjectThatWasNeverUsedIsWatchedToo) {
  DebugRig rig(letters("P"));
  rig.alone([&] {
    const CacheHandle cache = rig.kernel.kmem_cache_create({.name = "fresh", .size = 64});
    const std::uint64_t object = rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL);
    const std::uint64_t next = object + rig.kernel.cache_info(cache).buffer_size;
    *rig.bytes(next) = std::byte{1};
    rig.kernel.kmem_cache_free(cache, object);
    EXPECT_EQ(rig.kernel.kmem_cache_destroy(cache), 0);
    EXPECT_FALSE(rig.expect_one(ReportKind::object_poison, next).allocated.known);
  });
}

struct Made {
  DebugRig* rig;
  unsigned runs = 0;
  static void make(void* arg, std::uint64_t object) {
    Made& self = *static_cast<Made*>(arg);
    ++self.runs;
    std::memset(self.rig->bytes(object), 0xc7, 40);
  }
};

TEST(PoisonedObjects, AreConstructedAtEachAllocation) {  // K26
  for (const std::string_view checks : {"P", "FZPUK", "FZUK", ""}) {
    const bool poisoned = checks.contains('P');
    DebugRig rig(letters(checks));
    rig.alone([&] {
      Made made{&rig};
      const CacheHandle cache =
          rig.kernel.kmem_cache_create({.name = "made", .size = 40, .ctor = {.run = Made::make, .arg = &made}});
      for (unsigned i = 1; i != 5; ++i) {
        const std::uint64_t object = rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL);
        EXPECT_TRUE(rig.all_bytes(object, 40, std::byte{0xc7}));
        EXPECT_EQ(made.runs, poisoned ? i : rig.kernel.cache_info(cache).num);
        rig.kernel.kmem_cache_free(cache, object);
        EXPECT_EQ(rig.all_bytes(object, 40, std::byte{0xc7}), !poisoned);
      }
      EXPECT_EQ(rig.kernel.kmem_cache_destroy(cache), 0);
      rig.expect_none();
    });
  }
}

TEST(PoisonedObjects, NotInACacheWhoseObjectsMayBeReadAfterTheyWereFreed) {
  DebugRig rig(letters("P"));
  rig.alone([&] {
    const CacheHandle cache = rig.kernel.kmem_cache_create({.name = "rcu", .size = 40, .flags = SLAB_DESTROY_BY_RCU});
    const std::uint64_t object = rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL);
    std::memset(rig.bytes(object), 0x31, 40);
    rig.kernel.kmem_cache_free(cache, object);
    EXPECT_TRUE(rig.all_bytes(object, 40, std::byte{0x31}));
    EXPECT_EQ(rig.kernel.cache_info(cache).checks, 0);
    rig.expect_none();
  });
}

// --- self-check -----------------------------------------------------------------------------------------------------

class BrokenSlab : public DebugRig {
 public:
  explicit BrokenSlab(std::uint8_t checks) : DebugRig(checks) {
    alone([&] {
      cache = kernel.kmem_cache_create({.name = "broken", .size = 100});
      kernel.kmem_cache_free(cache, kernel.kmem_cache_alloc(cache, GFP_KERNEL));
    });
    slab = slabs(cache).front().info;
  }
  // What is broken stays behind: the checker of the rig must not see it.
  ~BrokenSlab() { kernel.boot(checked_shape("toy", 0), {}, said, said); }

  void set_word(std::uint64_t offset, std::uint32_t value) {
    std::memcpy(bytes(slab.descriptor + offset), &value, sizeof(value));
  }
  void expect_corrupt(std::uint8_t check) {
    EXPECT_GE(said.count(ReportKind::slab_corrupt), 1u);
    EXPECT_EQ(said.count(ReportKind::slab_corrupt) + said.count(ReportKind::cache_busy), said.reports.size());
    if (said.reports.empty()) return;
    EXPECT_EQ(said.reports.front().kind, ReportKind::slab_corrupt);
    EXPECT_EQ(said.reports.front().address, ram().address_of(slab.first));
    EXPECT_EQ(said.details.front().cache, "broken");
    EXPECT_EQ(said.details.front().check, check);
  }
  CacheHandle cache = no_cache;
  SlabInfo slab{};
};

struct BrokenWord {
  std::uint64_t offset;
  std::uint32_t value;
};
// struct slab, and the index list behind it, on 64 bits. 16 objects are in the array, the chain begins at 16.
constexpr std::uint64_t inuse_at = 16, index_17_at = 48 + 17 * 4;
constexpr BrokenWord broken_words[] = {{inuse_at, 3},          // a wrong count
                                       {index_17_at, 17},      // a loop
                                       {index_17_at, 0x1234},  // out of the slab
                                       {index_17_at, 5},       // to an object that is in use
                                       {index_17_at, ~0u}};    // too short

TEST(SlabSelfCheck, LooksWhenAnObjectIsFreedToTheSlab) {
  for (const char letter : {'F', 'K'}) {
    for (const auto& [offset, value] : broken_words) {
      SCOPED_TRACE(testing::Message() << letter << " " << offset << " " << value);
      BrokenSlab rig(letters({&letter, 1}));
      ASSERT_EQ(rig.kernel.cpu_array(rig.cache, 0).avail, 16u);
      rig.set_word(offset, value);
      rig.alone([&] { EXPECT_EQ(rig.kernel.kmem_cache_destroy(rig.cache), -ebusy); });
      rig.expect_corrupt(letters({&letter, 1}));
    }
  }
}

TEST(SlabSelfCheck, LooksWhenTheSlabIsGivenBack) {
  for (const char letter : {'F', 'K'}) {
    for (const auto& [offset, value] : broken_words) {
      SCOPED_TRACE(testing::Message() << letter << " " << offset << " " << value);
      BrokenSlab rig(letters({&letter, 1}));
      rig.alone([&] {
        for (unsigned i = 0; i != 30; ++i) rig.kernel.slab().reap(0);  // empties the array, leaves the slab
      });
      ASSERT_EQ(rig.count(rig.cache, SlabState::free), 1u);
      rig.set_word(offset, value);
      rig.alone([&] { EXPECT_EQ(rig.kernel.kmem_cache_destroy(rig.cache), 0); });
      EXPECT_EQ(rig.said.reports.size(), 1u);
      rig.expect_corrupt(letters({&letter, 1}));
    }
  }
}

// Chain and count are as they should be, but the chain leads over an object that somebody has.
TEST(SlabSelfCheck, ComparesWithTheRecords) {
  BrokenSlab rig(letters("F"));
  std::uint64_t object = 0;
  rig.alone([&] { object = rig.kernel.kmem_cache_alloc(rig.cache, GFP_KERNEL); });
  const CacheInfo info = rig.kernel.cache_info(rig.cache);
  const std::uint64_t first = rig.ram().address_of(rig.slab.first) + rig.slab.objects_offset + info.object_offset;
  const auto index = static_cast<std::uint32_t>((object - first) / info.buffer_size);
  rig.set_word(index_17_at, index);  // instead of 18
  rig.set_word(48 + index * 4, 19);
  rig.alone([&] { EXPECT_EQ(rig.kernel.kmem_cache_destroy(rig.cache), -ebusy); });
  rig.expect_corrupt(machine::debug_sanity);
}

TEST(SlabSelfCheck, DoesNotLookWithoutTheCheck) {
  BrokenSlab rig(letters("ZPU"));
  rig.alone([&] {
    for (unsigned i = 0; i != 30; ++i) rig.kernel.slab().reap(0);
  });
  rig.set_word(inuse_at, 3);
  rig.alone([&] { EXPECT_EQ(rig.kernel.kmem_cache_destroy(rig.cache), 0); });
  rig.expect_none();
}

}  // namespace
}  // namespace memtorture::kernel
