// Checked accesses (domain.md 20.1): which bytes around an object may be touched, at every moment of its life, and what
// a report about one that may not says. P-DEBUG-6.
#include <gtest/gtest.h>

#include "allocator/kernel/debug_rig.h"

namespace memtorture::kernel {
namespace {

using machine::Access;
using machine::ReportKind;
using namespace subject;  // GFP and SLAB names

// Byte by byte around [object, object + size): the object is open, what is beside it is not.
void expect_exact(DebugRig& rig, std::uint64_t object, std::uint64_t size) {
  for (std::int64_t i = -12; i != static_cast<std::int64_t>(size) + 12; ++i) {
    const std::uint64_t address = object + static_cast<std::uint64_t>(i);
    const bool inside = i >= 0 && i < static_cast<std::int64_t>(size);
    ASSERT_EQ(rig.touch(address), inside) << i << " of " << size;
    if (inside) continue;
    const auto details = rig.expect_one(ReportKind::out_of_bounds, address);
    ASSERT_EQ(details.check, machine::debug_shadow);
    ASSERT_EQ(details.bytes, 1u);
    if (i > 0) {
      ASSERT_EQ(details.start, object);
      ASSERT_EQ(details.offset, i);
    }
  }
  ASSERT_TRUE(rig.touch(object, size));
  ASSERT_FALSE(rig.touch(object, size + 1));
  ASSERT_EQ(rig.expect_one(ReportKind::out_of_bounds, object).offset, static_cast<std::int64_t>(size));
  ASSERT_FALSE(rig.touch(object - 1, size + 1));
  rig.expect_one(ReportKind::out_of_bounds, object - 1);
}

TEST(Access, OfAKmallocedObjectExactlyTheRequestedBytes) {
  for (const std::string_view checks : {"K", "FZPUK"}) {
    for (const std::string_view shape : {"toy", "tiny-32"}) {
      DebugRig rig(checked_shape(shape, letters(checks)));
      rig.alone([&] {
        for (const std::uint64_t size :
             {1, 7, 8, 9, 31, 32, 33, 63, 64, 100, 127, 128, 191, 192, 255, 500, 1023, 2000, 4095, 4096, 5000}) {
          SCOPED_TRACE(testing::Message() << shape << " " << checks << " " << size);
          const std::uint64_t object = rig.kmalloc(size), other = rig.kmalloc(size);
          expect_exact(rig, object, size);
          expect_exact(rig, other, size);
          rig.kernel.kfree(other);
          expect_exact(rig, object, size);
          rig.kernel.kfree(object);
        }
      });
    }
  }
}

// Every object of the slabs of many sizes: the first and the last of each, on and off the slab.
TEST(Access, OfACachesObjectExactlyTheSizeOfItsCreation) {
  for (const std::string_view checks : {"K", "ZK", "UK"}) {
    DebugRig rig(letters(checks));
    unsigned off_slab = 0;
    rig.alone([&] {
      for (const slab_flags_t flags : {0u, SLAB_HWCACHE_ALIGN}) {
        for (const std::uint64_t size : {8, 9, 13, 41, 100, 333, 700, 880, 888, 896, 1500, 3000}) {
          SCOPED_TRACE(testing::Message() << checks << " " << size);
          const CacheHandle cache = rig.kernel.kmem_cache_create({.name = "exact", .size = size, .flags = flags});
          std::vector<std::uint64_t> objects;
          const unsigned n = 2 * rig.kernel.cache_info(cache).num;
          if (rig.kernel.cache_info(cache).off_slab) {
            ++off_slab;
            EXPECT_GE(rig.kernel.cache_info(cache).object_offset, 8u) << "nothing before the first object of a slab";
          }
          for (unsigned i = 0; i != n; ++i) objects.push_back(rig.kernel.kmem_cache_alloc(cache, GFP_KERNEL));
          for (const std::uint64_t object : objects) expect_exact(rig, object, size);
          for (const std::uint64_t object : objects) rig.kernel.kmem_cache_free(cache, object);
          EXPECT_EQ(rig.kernel.kmem_cache_destroy(cache), 0);
          rig.expect_none();
        }
      }
    });
    EXPECT_GE(off_slab, 1u) << checks;
  }
}

TEST(Access, KsizeOpensTheWholeObjectAndKreallocClosesItAgain) {
  DebugRig rig(letters("K"));
  rig.alone([&] {
    const std::uint64_t object = rig.kmalloc(65);
    expect_exact(rig, object, 65);
    EXPECT_EQ(rig.kernel.ksize(object), 128u);
    expect_exact(rig, object, 128);
    for (const std::uint64_t size : {70, 3, 128, 90}) {
      EXPECT_EQ(rig.kernel.krealloc(object, size, GFP_KERNEL), object);
      EXPECT_EQ(rig.kernel.object_requested(object), size);
      expect_exact(rig, object, size);
    }
    const std::uint64_t moved = rig.kernel.krealloc(object, 129, GFP_KERNEL);
    EXPECT_NE(moved, object);
    expect_exact(rig, moved, 129);
    EXPECT_FALSE(rig.touch(object));
    rig.expect_one(ReportKind::use_after_free, object);
  });
}

TEST(Access, OfAFreedObjectNoneInAndOutOfQuarantine) {
  for (const std::uint64_t quarantine : {0, 4096}) {
    DebugRig rig(letters("K"), quarantine);
    rig.alone([&] {
      const std::uint64_t object = rig.kmalloc(50);
      rig.kernel.kfree(object);
      EXPECT_EQ(rig.kernel.object_state(object), quarantine != 0 ? ObjectState::quarantined : ObjectState::free_);
      for (const Access kind : {Access::read, Access::write}) {
        for (const std::uint64_t at : {0, 1, 49, 63}) {
          EXPECT_FALSE(rig.touch(object + at, 1, kind));
          const auto details = rig.expect_one(ReportKind::use_after_free, object + at);
          EXPECT_EQ(details.access, kind);
          EXPECT_EQ(details.start, object);
          EXPECT_EQ(details.size, 50u);
          EXPECT_EQ(details.offset, static_cast<std::int64_t>(at));
          EXPECT_TRUE(details.freed.known);
        }
      }
      EXPECT_EQ(rig.kernel.ksize(object), 0u);
      rig.expect_one(ReportKind::use_after_free, object);
      EXPECT_FALSE(rig.touch(object)) << "ksize opens nothing that is free";
    });
  }
}

TEST(Access, AcrossFramesAndAtTheEndOfRam) {
  DebugRig rig(letters("K"));
  rig.alone([&] {
    const std::uint64_t pages = rig.kernel.get_free_pages(GFP_KERNEL, 2);
    EXPECT_TRUE(rig.touch(pages, 4 * 4096));
    EXPECT_TRUE(rig.touch(pages + 4095, 2));
    EXPECT_TRUE(rig.touch(pages, 0));
    for (const std::uint64_t wild : {std::uint64_t{0}, std::uint64_t{4096}, machine::Ram::linear_base - 1,
                                     rig.ram().address_of(0) + (16u << 20), ~std::uint64_t{0}}) {
      EXPECT_FALSE(rig.touch(wild, 1, Access::write));
      const auto details = rig.expect_one(ReportKind::wild_access, wild);
      EXPECT_EQ(details.access, Access::write);
      EXPECT_EQ(details.cache, "");
    }
    EXPECT_FALSE(rig.touch(machine::Ram::linear_base - 1, 2));
    rig.expect_one(ReportKind::wild_access, machine::Ram::linear_base - 1);
    rig.kernel.free_pages(pages, 2);
    rig.expect_none();
  });
}

// Pages of every order, whole and split, in the free lists, on per-CPU lists, never touched.
TEST(Access, OfAPageExactlyWhileItIsAllocated) {
  for (const std::string_view shape : {"toy", "tiny-32", "flat", "buddy16"}) {
    SCOPED_TRACE(shape);
    DebugRig rig(checked_shape(shape, letters("K")));
    rig.alone([&] {
      const unsigned orders = std::min<unsigned>(rig.kernel.machine().shape().orders, 5);
      for (unsigned order = 0; order != orders; ++order) {
        const Pfn first = rig.kernel.alloc_pages(GFP_KERNEL | gfp_nowarn | gfp_noretry, order);
        if (first == machine::no_pfn) continue;
        for (Pfn i = first; i != first + (1u << order); ++i) EXPECT_TRUE(rig.touch(rig.ram().address_of(i) + 100, 8));
        rig.expect_none();
        rig.kernel.free_pages_of(first, order);
        for (Pfn i = first; i != first + (1u << order); ++i) {
          const std::uint64_t address = rig.ram().address_of(i) + 100;
          EXPECT_FALSE(rig.touch(address, 8));
          EXPECT_EQ(rig.expect_one(ReportKind::use_after_free, address).bytes, 8u);
        }
      }
      const Pfn compound = rig.kernel.alloc_pages(GFP_KERNEL | gfp_nowarn | gfp_noretry | gfp_comp, 2);
      if (compound != machine::no_pfn) EXPECT_TRUE(rig.touch(rig.ram().address_of(compound), 4 * 4096));
      rig.expect_none();
    });
  }
}

// The answer for every frame of the machine against the free lists as the white-box view shows them.
TEST(Access, OfEveryFrameAsTheFreeListsSay) {
  for (const std::string_view shape : {"toy", "tiny-all", "tiny-32"}) {
    machine::Shape with_lists = checked_shape(shape, letters("K"));
    with_lists.pcp_high = 12;
    with_lists.pcp_batch = 4;
    DebugRig rig(with_lists);
    std::set<Pfn> free;
    rig.alone([&] {
      std::vector<Pfn> held;
      for (unsigned i = 0; i != 200; ++i) held.push_back(rig.kernel.alloc_pages(GFP_HIGHUSER, i % 4));
      for (unsigned i = 0; i < 200; i += 3) rig.kernel.free_pages_of(held[i], i % 4);
    });
    for (const auto& [first, order] : rig.free_set()) {
      for (Pfn i = 0; i != Pfn{1} << order; ++i) free.insert(first + i);
    }
    const std::size_t in_blocks = free.size();
    for (unsigned zone = 0; zone != rig.kernel.zones().size(); ++zone) {
      rig.kernel.for_each_pcp(
          zone, 0, [](void* set, Pfn pfn) { static_cast<std::set<Pfn>*>(set)->insert(pfn); }, &free);
    }
    EXPECT_GT(free.size(), in_blocks) << "no page is on a per-CPU list";
    rig.alone([&] {
      for (Pfn pfn = 0; pfn != rig.kernel.machine().shape().frames(); ++pfn) {
        if (rig.kernel.slab_page(pfn).cache != 0) continue;
        ASSERT_EQ(rig.touch(rig.ram().address_of(pfn)), !free.contains(pfn)) << pfn;
      }
      EXPECT_EQ(rig.said.count(ReportKind::use_after_free), rig.said.reports.size());
      rig.forget();
    });
  }
}

TEST(Access, WithoutTheLetterOnlyCachesThatAskForIt) {
  DebugRig rig(letters("FZPU"));
  rig.alone([&] {
    const CacheHandle watched = rig.kernel.kmem_cache_create({.name = "watched", .size = 40, .flags = SLAB_KASAN});
    const std::uint64_t object = rig.kernel.kmem_cache_alloc(watched, GFP_KERNEL), plain = rig.kmalloc(40);
    expect_exact(rig, object, 40);
    EXPECT_TRUE(rig.touch(plain - 1));
    EXPECT_TRUE(rig.touch(0));
    EXPECT_TRUE(rig.touch(rig.ram().address_of(4000)));  // free
    rig.kernel.kfree(plain);
    EXPECT_TRUE(rig.touch(plain));
    rig.expect_none();
  });
}

TEST(Access, TheLargestObjectsHaveNoGuardButAreCheckedInside) {
  DebugRig rig(checked_shape("x86-64", letters("K")));
  rig.alone([&] {
    const CacheInfo info = rig.kernel.cache_info(rig.named("size-4194304"));
    EXPECT_EQ(info.buffer_size, info.object_size);
    const std::uint64_t object = rig.kmalloc(4'000'000);
    EXPECT_TRUE(rig.touch(object, 4'000'000));
    EXPECT_FALSE(rig.touch(object + 4'000'000));
    rig.expect_one(ReportKind::out_of_bounds, object + 4'000'000);
  });
}

}  // namespace
}  // namespace memtorture::kernel
