// Crimes at a free, each with every set of checks that sees it and some that do not: what is reported, and that nothing
// else happens (domain.md 10.9).
#include <gtest/gtest.h>

#include "allocator/kernel/debug_rig.h"

namespace memtorture::kernel {
namespace {

using machine::ReportKind;
using namespace subject;  // GFP and SLAB names

constexpr std::uint64_t quarantine_bytes = 4096;

// f(rig, check) for every set of letters that contains one of `seeing`; check: the bit of the one that must report.
template <class F>
void for_each_seeing(std::string_view seeing, F f) {
  for (unsigned checks = 1; checks != 32; ++checks) {
    for (const char letter : seeing) {
      if ((checks & letters({&letter, 1})) == 0) continue;
      SCOPED_TRACE(testing::Message() << "checks " << checks);
      DebugRig rig(static_cast<std::uint8_t>(checks), quarantine_bytes);
      rig.alone([&] { f(rig, letters({&letter, 1})); });
      break;
    }
  }
}

TEST(DebugFree, ASecondFreeIsReportedAndDoesNothing) {
  for_each_seeing("FKZ", [](DebugRig& rig, std::uint8_t check) {
    const std::uint64_t object = rig.kmalloc(100);
    machine::current().op = 7;
    rig.kernel.kfree(object);
    rig.expect_none();
    rig.kernel.kfree(object);
    const auto details = rig.expect_one(ReportKind::object_double_free, object);
    EXPECT_EQ(details.check, check);
    EXPECT_EQ(details.cache, "size-128");
    EXPECT_EQ(details.start, object);
    EXPECT_EQ(details.size, 100u);
    EXPECT_TRUE(details.allocated.known);
    EXPECT_TRUE(details.freed.known);
    EXPECT_EQ(details.freed.op, 7u);
    rig.check();
    const std::uint64_t a = rig.kmalloc(100), b = rig.kmalloc(100);
    EXPECT_NE(a, b) << "handed out twice";
    rig.expect_none();
  });
}

TEST(DebugFree, ASecondFreeIsSeenNotOnlyOnTopOfTheFreeList) {
  for_each_seeing("FKZ", [](DebugRig& rig, std::uint8_t) {
    const std::uint64_t object = rig.kmalloc(100), other = rig.kmalloc(100);
    rig.kernel.kfree(object);
    rig.kernel.kfree(other);
    rig.kernel.kfree(object);
    rig.expect_one(ReportKind::object_double_free, object);
  });
}

TEST(DebugFree, EveryWayOfFreeingReportsAlike) {
  for_each_seeing("FK", [](DebugRig& rig, std::uint8_t) {
    const std::uint64_t object = rig.kmalloc(64);
    rig.kernel.kfree(object);
    const std::vector<std::byte> before(rig.bytes(object), rig.bytes(object) + 64);
    rig.kernel.kzfree(object);
    rig.expect_one(ReportKind::object_double_free, object);
    EXPECT_EQ(rig.kernel.krealloc(object, 20, GFP_KERNEL), 0u);
    rig.expect_one(ReportKind::object_double_free, object);
    EXPECT_EQ(rig.kernel.krealloc(object, 2000, GFP_KERNEL), 0u);
    rig.expect_one(ReportKind::object_double_free, object);
    EXPECT_EQ(rig.kernel.krealloc(object, 0, GFP_KERNEL), zero_size_ptr);
    rig.expect_one(ReportKind::object_double_free, object);
    EXPECT_TRUE(std::equal(before.begin(), before.end(), rig.bytes(object))) << "written to";
  });
}

TEST(DebugFree, AnObjectThatWasNeverHandedOutIsFree) {
  for_each_seeing("FK", [](DebugRig& rig, std::uint8_t) {
    const CacheHandle cache = rig.kernel.kmem_cache_create({.name = "fresh", .size = 64});
    const std::uint64_t object = rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL);
    const std::uint64_t neighbour = object + rig.kernel.cache_info(cache).buffer_size;
    rig.kernel.kmem_cache_free(cache, neighbour);
    const auto details = rig.expect_one(ReportKind::object_double_free, neighbour);
    EXPECT_FALSE(details.allocated.known);
    rig.kernel.kmem_cache_free(cache, object);
    rig.expect_none();
  });
}

TEST(DebugFree, WhatIsNoObjectsStartIsReportedAndStays) {
  for_each_seeing("FK", [](DebugRig& rig, std::uint8_t check) {
    const CacheHandle cache = rig.kernel.kmem_cache_create({.name = "own", .size = 64});
    const std::uint64_t own = rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL), object = rig.kmalloc(100);
    for (const std::uint64_t delta : {1, 8, 99}) {
      const std::uint64_t inside = object + delta;
      rig.kernel.kfree(inside);
      EXPECT_EQ(rig.expect_one(ReportKind::object_invalid_free, inside).check, check);
      rig.kernel.kzfree(inside);
      rig.expect_one(ReportKind::object_invalid_free, inside);
      EXPECT_EQ(rig.kernel.ksize(inside), 0u);
      rig.expect_one(ReportKind::object_invalid_free, inside);
      for (const std::uint64_t size : {50, 500}) {
        EXPECT_EQ(rig.kernel.krealloc(inside, size, GFP_KERNEL), 0u);
        rig.expect_one(ReportKind::object_invalid_free, inside);
      }
    }
    rig.kernel.kmem_cache_free(cache, own + 4);
    EXPECT_EQ(rig.expect_one(ReportKind::object_invalid_free, own + 4).cache, "own");
    const std::uint64_t page = own & ~std::uint64_t{4095};
    rig.kernel.kfree(page);  // the descriptor
    rig.expect_one(ReportKind::object_invalid_free, page);
    rig.check();
    EXPECT_EQ(rig.kernel.object_state(object), ObjectState::live);
    rig.kernel.kfree(object);
    rig.kernel.kmem_cache_free(cache, own);
    rig.expect_none();
  });
}

TEST(DebugFree, AnObjectOfAnotherCacheStaysLive) {
  for_each_seeing("FK", [](DebugRig& rig, std::uint8_t check) {
    const CacheHandle cache = rig.kernel.kmem_cache_create({.name = "named", .size = 100});
    const std::uint64_t object = rig.kmalloc(100);
    rig.kernel.kmem_cache_free(cache, object);
    const auto details = rig.expect_one(ReportKind::object_wrong_cache, object);
    EXPECT_EQ(details.check, check);
    EXPECT_EQ(details.cache, "size-128") << "the cache that the object is of";
    EXPECT_EQ(rig.kernel.object_state(object), ObjectState::live);
    rig.check();
    rig.kernel.kfree(object);
    rig.expect_none();
  });
}

TEST(DebugFree, EitherCacheMaySeeThatItIsTheWrongOne) {
  for (const slab_flags_t flag : {SLAB_DEBUG_FREE, SLAB_KASAN}) {
    DebugRig rig(0);
    rig.alone([&] {
      const CacheHandle checked = rig.kernel.kmem_cache_create({.name = "checked", .size = 64, .flags = flag});
      const CacheHandle plain = rig.kernel.kmem_cache_create({.name = "plain", .size = 64});
      const std::uint64_t a = rig.kernel.kmem_cache_alloc(checked, GFP_KERNEL);
      const std::uint64_t b = rig.kernel.kmem_cache_alloc(plain, GFP_KERNEL);
      rig.kernel.kmem_cache_free(checked, b);
      const auto details = rig.expect_one(ReportKind::object_wrong_cache, b);
      EXPECT_EQ(details.cache, "plain");
      EXPECT_FALSE(details.allocated.known) << "a cache without checks keeps no records";
      rig.kernel.kmem_cache_free(plain, a);
      EXPECT_EQ(rig.expect_one(ReportKind::object_wrong_cache, a).start, a);
      rig.kernel.kmem_cache_free(plain, b);
      rig.kernel.kmem_cache_free(checked, a);
      rig.expect_none();
    });
  }
}

TEST(DebugFree, NobodyFreesWithinTheStructsOfCaches) {
  for_each_seeing("FK", [](DebugRig& rig, std::uint8_t) {
    const CacheHandle cache = rig.kernel.kmem_cache_create({.name = "c", .size = 100});
    const std::uint64_t slab = cache & ~std::uint64_t{4095};
    for (const std::uint64_t address : {slab, cache + 8}) {
      rig.kernel.kfree(address);
      EXPECT_EQ(rig.expect_one(ReportKind::object_invalid_free, address).cache, "kmem_cache");
    }
    EXPECT_EQ(rig.kernel.kmem_cache_destroy(cache), 0);
    rig.kernel.kfree(cache);
    EXPECT_EQ(rig.expect_one(ReportKind::object_double_free, cache).cache, "kmem_cache");
    rig.check();
  });
}

TEST(DebugFree, WhatIsNoObjectAtAllIsABadObjectAsEver) {
  for_each_seeing("FK", [](DebugRig& rig, std::uint8_t) {
    const CacheHandle cache = rig.kernel.kmem_cache_create({.name = "c", .size = 100});
    const std::uint64_t page = rig.kernel.get_free_pages(GFP_KERNEL, 0), wild = 4096;
    for (const std::uint64_t address : {page, wild}) {
      const auto bad = [&] {
        ASSERT_EQ(rig.said.count(ReportKind::bad_object), 1u);
        ASSERT_EQ(rig.said.reports.size(), 1u);
        rig.forget();
      };
      rig.kernel.kfree(address);
      bad();
      rig.kernel.kmem_cache_free(cache, address);
      bad();
      EXPECT_EQ(rig.kernel.ksize(address), 0u);
      bad();
    }
    rig.kernel.kfree(0);
    rig.kernel.kfree(zero_size_ptr);
    rig.expect_none();
    rig.kernel.free_pages(page, 0);
    rig.check();
  });
}

// --- red zones ------------------------------------------------------------------------------------------------------

TEST(Redzone, WhatIsBesideAnObjectIsLookedAtWhenItIsFreed) {
  for_each_seeing("Z", [](DebugRig& rig, std::uint8_t) {
    for (const std::int64_t at : {-8, -1, 104, 111}) {
      const CacheHandle cache = rig.kernel.kmem_cache_create({.name = "zoned", .size = 100});
      const std::uint64_t object = rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL);
      const std::uint64_t wrong = object + static_cast<std::uint64_t>(at);
      *rig.bytes(wrong) ^= std::byte{0x11};
      const auto found = std::to_integer<std::uint8_t>(*rig.bytes(wrong));
      rig.kernel.kmem_cache_free(cache, object);
      const auto details = rig.expect_one(ReportKind::object_redzone, wrong);
      EXPECT_EQ(details.check, machine::debug_redzone);
      EXPECT_EQ(details.offset, at);
      EXPECT_EQ(details.found, found);
      EXPECT_EQ(details.start, object);
      EXPECT_EQ(details.size, 100u);
      EXPECT_EQ(rig.kernel.kmem_cache_destroy(cache), 0) << "the free went on";
      rig.expect_none();
    }
  });
}

TEST(Redzone, BothSidesAreOneReportAndTheWordsAreSetRight) {
  DebugRig rig(letters("Z"));
  rig.alone([&] {
    const std::uint64_t object = rig.kmalloc(128);
    std::memset(rig.bytes(object - 8), 0, 8);
    std::memset(rig.bytes(object + 128), 0, 8);
    rig.kernel.kfree(object);
    EXPECT_EQ(rig.expect_one(ReportKind::object_redzone, object - 8).offset, -8);
    std::uint64_t word;
    for (const std::uint64_t at : {object - 8, object + 128}) {
      std::memcpy(&word, rig.bytes(at), 8);
      EXPECT_EQ(word, 0x09F911029D74E35B);
    }
    EXPECT_EQ(rig.kmalloc(128), object);
    for (const std::uint64_t at : {object - 8, object + 128}) {
      std::memcpy(&word, rig.bytes(at), 8);
      EXPECT_EQ(word, 0xD84156C5635688C0);
    }
    rig.kernel.kfree(object);
    rig.expect_none();
  });
}

TEST(Redzone, OneInactiveWordIsAnOverwriteAndTwoAreADoubleFree) {
  DebugRig rig(letters("Z"));
  rig.alone([&] {
    constexpr std::uint64_t inactive = 0x09F911029D74E35B;
    const std::uint64_t object = rig.kmalloc(64);
    std::memcpy(rig.bytes(object - 8), &inactive, 8);
    rig.kernel.kfree(object);
    rig.expect_one(ReportKind::object_redzone, object - 8);
    rig.kernel.kfree(object);
    EXPECT_EQ(rig.expect_one(ReportKind::object_double_free, object).check, machine::debug_redzone);
  });
}

TEST(Redzone, LargeObjectsKeepTheirPowerOfTwo) {  // K26
  DebugRig rig(letters("ZU"));
  for (const auto& [name, flags] : {std::pair{"size-2048", SLAB_RED_ZONE | SLAB_STORE_USER}, {"size-4096", 0u}}) {
    const CacheInfo info = rig.kernel.cache_info(rig.named(name));
    EXPECT_EQ(info.flags & (SLAB_RED_ZONE | SLAB_STORE_USER), flags) << name;
  }
  EXPECT_EQ(rig.kernel.cache_info(rig.named("size-4096")).buffer_size, 4096u);
  EXPECT_EQ(rig.kernel.cache_info(rig.named("size-4096")).checks, machine::debug_user);
}

TEST(StoreUser, TheWordBehindTheObjectNamesWhoHadItLast) {
  for (const std::string_view shape : {"toy", "tiny-32"}) {
    for (const std::string_view checks : {"U", "ZU", "FZPUK"}) {
      DebugRig rig(checked_shape(shape, letters(checks)));
      rig.alone([&] {
        const bool narrow = shape == "tiny-32", zoned = checks.contains('Z');
        const auto word = [&](std::uint64_t object) {
          std::uint64_t value = 0;
          std::memcpy(&value, rig.bytes(object + 64 + (zoned ? 8 : 0)), narrow ? 4 : 8);
          return value;
        };
        const std::uint64_t who = machine::current().id;
        const auto expected = [&](std::uint64_t op) { return who << (narrow ? 16 : 32) | op; };
        const CacheHandle cache = rig.kernel.kmem_cache_create({.name = "used", .size = 64});
        machine::current().op = 3;
        const std::uint64_t object = rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL);
        EXPECT_EQ(word(object), expected(3));
        machine::current().op = 5;
        rig.kernel.kmem_cache_free(cache, object);
        EXPECT_EQ(word(object), expected(5));
      });
    }
  }
}

}  // namespace
}  // namespace memtorture::kernel
