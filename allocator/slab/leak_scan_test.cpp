// The leak scan (domain.md 20.6): what refers to what, in every form that a program can write it down.
#include <gtest/gtest.h>

#include "allocator/kernel/debug_rig.h"

namespace memtorture::kernel {
namespace {

using machine::ReportKind;
using namespace subject;  // GFP and SLAB names

class Leaks : public DebugRig {
 public:
  explicit Leaks(std::string_view checks = "U") : DebugRig(letters(checks), 1 << 16) {}
  // The word at `at` of one object refers to another.
  void refer(std::uint64_t from, std::uint64_t at, std::uint64_t to) { std::memcpy(bytes(from + at), &to, sizeof(to)); }
  std::uint64_t clean(std::uint64_t size) {
    const std::uint64_t object = kernel.kzalloc(size, GFP_KERNEL);
    EXPECT_NE(object, 0u);
    return object;
  }
  std::set<std::uint64_t> scan(std::vector<std::uint64_t> roots) {
    const std::uint32_t n = kernel.scan_leaks(roots);
    std::set<std::uint64_t> leaked;
    for (const machine::Report& report : said.reports) {
      EXPECT_EQ(report.kind, ReportKind::object_leak);
      leaked.insert(report.address);
    }
    EXPECT_EQ(leaked.size(), n);
    forget();
    return leaked;
  }
};
using Set = std::set<std::uint64_t>;

TEST(LeakScan, FollowsChainsFromTheRoots) {
  for (const std::string_view checks : {"U", "FZPUK"}) {
    Leaks rig(checks);
    rig.alone([&] {
      const std::uint64_t a = rig.clean(64), b = rig.clean(500), c = rig.clean(5000), d = rig.clean(40);
      rig.refer(a, 8, b);
      rig.refer(b, 488, c);
      EXPECT_EQ(rig.scan({a, d}), Set{});
      EXPECT_EQ(rig.scan({a}), Set{d});
      EXPECT_EQ(rig.scan({b, d}), Set{a});
      EXPECT_EQ(rig.scan({}), (Set{a, b, c, d}));
      EXPECT_EQ(rig.scan({a, d}), Set{}) << "a scan leaves nothing behind";
    });
  }
}

TEST(LeakScan, CountsInteriorAddressesAndNothingBeside) {
  Leaks rig;
  rig.alone([&] {
    const std::uint64_t holder = rig.clean(64), object = rig.clean(100);
    for (const std::uint64_t at : {0, 1, 50, 99}) {
      rig.refer(holder, 16, object + at);
      EXPECT_EQ(rig.scan({holder}), Set{}) << at;
      EXPECT_EQ(rig.scan({object + at}), Set{holder}) << at;
    }
    for (const std::uint64_t wrong : {object - 1, object + 100, object ^ std::uint64_t{1} << 40, std::uint64_t{1}}) {
      rig.refer(holder, 16, wrong);
      EXPECT_EQ(rig.scan({holder}), Set{object});
    }
  });
}

TEST(LeakScan, ACycleThatNobodyRefersToIsLeaked) {
  Leaks rig;
  rig.alone([&] {
    const std::uint64_t a = rig.clean(32), b = rig.clean(32), c = rig.clean(32);
    rig.refer(a, 0, b);
    rig.refer(b, 0, c);
    rig.refer(c, 0, a);
    rig.refer(c, 8, c);
    EXPECT_EQ(rig.scan({}), (Set{a, b, c}));
    for (const std::uint64_t root : {a, b, c}) EXPECT_EQ(rig.scan({root}), Set{});
  });
}

TEST(LeakScan, OnlyWholeAlignedWordsOfTheRequestedBytesAreReferences) {
  Leaks rig;
  rig.alone([&] {
    const std::uint64_t holder = rig.clean(44), object = rig.clean(32);
    rig.refer(holder, 32, object);
    EXPECT_EQ(rig.scan({holder}), Set{});
    rig.refer(holder, 32, 0);
    for (const std::uint64_t at : {4, 40}) {  // unaligned; not all of it is the caller's
      rig.refer(holder, at, object);
      EXPECT_EQ(rig.scan({holder}), Set{object});
      rig.refer(holder, at, 0);
    }
  });
}

TEST(LeakScan, FreeAndQuarantinedObjectsNeitherLeakNorRefer) {
  for (const std::string_view checks : {"U", "UK"}) {
    Leaks rig(checks);
    rig.alone([&] {
      const std::uint64_t holder = rig.clean(64), object = rig.clean(200);
      rig.refer(holder, 0, object);
      rig.kernel.kfree(holder);
      EXPECT_EQ(rig.kernel.object_state(holder) == ObjectState::quarantined, checks == "UK");
      EXPECT_EQ(rig.scan({holder}), Set{object});
      rig.kernel.kfree(object);
      EXPECT_EQ(rig.scan({}), Set{});
    });
  }
}

TEST(LeakScan, SaysWhoAllocatedWhatIsLost) {
  Leaks rig;
  rig.alone([&] {
    machine::current().op = 11;
    const std::uint64_t object = rig.clean(77);
    EXPECT_EQ(rig.kernel.scan_leaks({}), 1u);
    const auto details = rig.expect_one(ReportKind::object_leak, object);
    EXPECT_EQ(details.size, 77u);
    EXPECT_EQ(details.cache, "size-128");
    EXPECT_EQ(details.check, machine::debug_user);
    EXPECT_EQ(details.allocated.op, 11u);
    EXPECT_TRUE(details.allocated.known);
    EXPECT_FALSE(details.freed.known);
  });
}

// Off-slab descriptors, arrays and node structures are live objects of general caches.
TEST(LeakScan, TheLayersOwnObjectsAreNoLeaksAndReferToNothing) {
  for (const std::string_view checks : {"U", "FZPUK"}) {
    machine::Shape shape = checked_shape("tiny-64", letters(checks));
    shape.cpus = shape.nodes = 2;
    Leaks rig;
    rig.kernel.boot(shape, {}, rig.said, rig.said);
    ASSERT_TRUE(rig.kernel.boot_objects());
    rig.alone([&] {
      const CacheHandle cache = rig.kernel.kmem_cache_create({.name = "large", .size = rig.off_slab_size()});
      ASSERT_TRUE(rig.kernel.cache_info(cache).off_slab);
      const std::uint64_t object = rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL);
      EXPECT_EQ(rig.scan({object}), Set{});
      // On top of its array, then handed out again: the array still has the address.
      rig.kernel.kmem_cache_free(cache, object);
      EXPECT_EQ(rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL), object);
      EXPECT_EQ(rig.scan({}), Set{object});
      const std::uint64_t array = rig.kernel.slab().cache_at(cache).array()[0];
      ASSERT_EQ(rig.kernel.object_state(array), ObjectState::live);
      EXPECT_EQ(rig.scan({array}), Set{object});
      rig.kernel.kmem_cache_free(cache, object);
    });
  }
}

TEST(LeakScan, OnlyCachesThatStoreTheirUser) {
  Leaks rig("F");
  rig.alone([&] {
    const CacheHandle traced = rig.kernel.kmem_cache_create({.name = "u", .size = 64, .flags = SLAB_STORE_USER});
    const CacheHandle quiet =
        rig.kernel.kmem_cache_create({.name = "quiet", .size = 64, .flags = SLAB_STORE_USER | SLAB_NOLEAKTRACE});
    const std::uint64_t object = rig.kernel.kmem_cache_zalloc(traced, GFP_KERNEL);
    rig.kernel.kmem_cache_zalloc(quiet, GFP_KERNEL);
    const std::uint64_t other = rig.clean(64);
    EXPECT_EQ(rig.scan({}), Set{object});
    rig.refer(other, 0, object);
    EXPECT_EQ(rig.scan({other}), Set{}) << "the objects of every checked cache are searched";
  });
}

TEST(LeakScan, LargeObjectsTooThoughTheyHaveNoPlaceForTheWord) {
  Leaks rig;
  rig.alone([&] {
    const std::uint64_t object = rig.clean(4096);
    EXPECT_EQ(rig.scan({}), Set{object});
  });
}

}  // namespace
}  // namespace memtorture::kernel
