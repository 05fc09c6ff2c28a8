// Objects of one cache on one CPU: arrays, refill and flush figures, list states, colours, off-slab descriptors,
// contents (domain.md 10.3, 10.5, 22.6).
#include <gtest/gtest.h>

#include "allocator/kernel/objects_rig.h"

namespace memtorture::kernel {
namespace {

using machine::ReportKind;
using machine::Shape;
using namespace subject;  // GFP and SLAB names

Shape shape_of(std::string_view name) { return machine::shape_named(name).value(); }

// One cache of a booted machine, used from CPU 0.
class OneCache : public ObjectsRig {
 public:
  OneCache(std::string_view shape, const CacheSpec& spec) : ObjectsRig(shape) {
    alone([&] { cache = kernel.kmem_cache_create(spec); });
    EXPECT_NE(cache, no_cache);
  }
  std::uint64_t take(gfp_t gfp = GFP_KERNEL) { return kernel.kmem_cache_alloc(cache, gfp); }
  void give(std::uint64_t object) { kernel.kmem_cache_free(cache, object); }
  std::vector<std::uint64_t> take_many(unsigned n) {
    std::vector<std::uint64_t> objects;
    for (unsigned i = 0; i != n; ++i) objects.push_back(take());
    return objects;
  }
  std::uint32_t avail() { return kernel.cpu_array(cache, 0).avail; }

  CacheHandle cache = no_cache;
};

TEST(Objects, AreDisjointAlignedAndInsideTheirSlab) {  // P-SLAB-1
  for (const std::string_view shape : {"toy", "tiny-32", "alpha"}) {
    for (const CacheSpec& spec :
         {CacheSpec{.name = "a", .size = 40}, CacheSpec{.name = "b", .size = 100, .align = 128},
          CacheSpec{.name = "c", .size = 24, .flags = SLAB_HWCACHE_ALIGN}, CacheSpec{.name = "d", .size = 700},
          CacheSpec{.name = "e", .size = 3000, .align = 8192},
          CacheSpec{.name = "f", .size = 100, .flags = SLAB_RED_ZONE | SLAB_STORE_USER}}) {
      SCOPED_TRACE(testing::Message() << shape << " " << spec.name);
      OneCache rig(shape, spec);
      const CacheInfo info = rig.kernel.cache_info(rig.cache);
      rig.alone([&] {
        EXPECT_GE(rig.kernel.kmem_cache_size(rig.cache), spec.size);
        std::map<std::uint64_t, std::uint64_t> taken;  // start -> end
        for (unsigned i = 0; i != 200; ++i) {
          const std::uint64_t object = rig.take();
          ASSERT_NE(object, 0u);
          if (info.object_offset == 0) EXPECT_EQ(object % info.align, 0u);
          EXPECT_EQ(object % std::max<std::uint64_t>(spec.align, 4), 0u);
          const auto after = taken.lower_bound(object);
          EXPECT_TRUE(after == taken.end() || after->first >= object + spec.size);
          EXPECT_TRUE(after == taken.begin() || std::prev(after)->second <= object);
          taken[object] = object + spec.size;
        }
        EXPECT_EQ(rig.live(rig.cache).size(), 200u);
        for (const auto& [object, end] : taken) EXPECT_TRUE(rig.live(rig.cache).contains(object - info.object_offset));
        for (const auto& [object, end] : taken) rig.give(object);
        EXPECT_EQ(rig.live(rig.cache).size(), 0u);
      });
      EXPECT_TRUE(rig.said.reports.empty());
    }
  }
}

TEST(Objects, ACpuHandsOutWhatItGotBackLast) {  // P-SLAB-19
  OneCache rig("toy", {.name = "lifo", .size = 64});
  rig.alone([&] {
    const auto objects = rig.take_many(10);
    for (const std::uint64_t object : objects) rig.give(object);
    for (auto it = objects.rbegin(); it != objects.rend(); ++it) EXPECT_EQ(rig.take(), *it);
  });
}

TEST(Objects, ArraysAreSizedByTheObject) {  // 10.5
  struct Row {
    std::uint64_t size;
    std::uint32_t limit;
  };
  for (const Row& row : {Row{32, 120}, Row{256, 120}, Row{264, 54}, Row{1024, 54}, Row{1032, 24}, Row{4096, 24},
                         Row{4104, 8}, Row{131072, 8}, Row{131080, 1}}) {
    for (const unsigned cpus : {1u, 2u}) {
      Shape shape = shape_of("toy");
      shape.cpus = static_cast<std::uint8_t>(cpus);
      ObjectsRig rig(shape);
      rig.alone([&] {
        const CacheHandle cache = rig.kernel.kmem_cache_create({.name = "sized", .size = row.size});
        const CacheInfo info = rig.kernel.cache_info(cache);
        EXPECT_EQ(info.limit, row.limit) << row.size;
        EXPECT_EQ(info.batchcount, (row.limit + 1) / 2);
        EXPECT_EQ(info.shared, cpus > 1 && row.size <= 4096 ? 8 * info.batchcount : 0);
        EXPECT_EQ(rig.kernel.cache_node(cache, 0).free_limit, (1u + cpus) * info.batchcount + info.num);
      });
    }
  }
}

TEST(Refill, TakesAtMostSixteenFirstAndThenABatch) {
  OneCache rig("toy", {.name = "refill", .size = 64});  // 59 a slab, limit 120, batch 60
  rig.alone([&] {
    rig.take();
    EXPECT_EQ(rig.avail(), 15u) << "an array that was not used gets BATCHREFILL_LIMIT";
    EXPECT_EQ(rig.kernel.cache_node(rig.cache, 0).free_objects, 59u - 16);
    rig.take_many(15);
    EXPECT_EQ(rig.avail(), 0u);
    rig.check();
    rig.take();
    EXPECT_EQ(rig.avail(), 42u) << "what is left of the slab is less than a batch, and nothing is grown for the rest";
    EXPECT_EQ(rig.count(rig.cache, SlabState::full), 1u);
    rig.take_many(42);
    rig.take();
    EXPECT_EQ(rig.avail(), 58u);
    EXPECT_EQ(rig.count(rig.cache, SlabState::full), 2u);
  });
}

TEST(Refill, PrefersPartialSlabsAndGrowsOnlyWhenNothingIsFree) {                     // P-SLAB-3
  OneCache rig("toy", {.name = "states", .size = 1000, .flags = SLAB_NOLEAKTRACE});  // 4 a page, on the slab
  rig.alone([&] {
    const CacheInfo info = rig.kernel.cache_info(rig.cache);
    ASSERT_EQ(info.num, 4u);
    const auto first = rig.take_many(1);
    EXPECT_EQ(rig.slabs(rig.cache).size(), 1u) << "one slab is enough for the request; a batch does not grow more";
    EXPECT_EQ(rig.avail(), 3u);
    const std::uint64_t pages = rig.kernel.slab_pages(SlabPages::unreclaimable);
    rig.take_many(3);
    EXPECT_EQ(rig.kernel.slab_pages(SlabPages::unreclaimable), pages);
    EXPECT_EQ(rig.count(rig.cache, SlabState::full), 1u);
    rig.take();
    EXPECT_EQ(rig.kernel.slab_pages(SlabPages::unreclaimable), pages + 1);
    rig.check();
  });
}

TEST(Flush, EmptiesTheOldestBatchIntoTheSlabs) {
  OneCache rig("toy", {.name = "flush", .size = 64});
  rig.alone([&] {
    const auto objects = rig.take_many(16 + 43 + 59 + 59);  // three slabs, all full
    EXPECT_EQ(rig.avail(), 0u);
    for (unsigned i = 0; i != 120; ++i) rig.give(objects[i]);
    EXPECT_EQ(rig.avail(), 120u);
    EXPECT_EQ(rig.kernel.cache_node(rig.cache, 0).free_objects, 0u);
    EXPECT_EQ(rig.count(rig.cache, SlabState::full), 3u) << "objects in an array count as in use";
    rig.give(objects[120]);
    EXPECT_EQ(rig.avail(), 61u);
    EXPECT_EQ(rig.kernel.cache_node(rig.cache, 0).free_objects, 60u);
    EXPECT_EQ(rig.kernel.cpu_array(rig.cache, 0).entries.back(), objects[120]);
    EXPECT_EQ(rig.kernel.cpu_array(rig.cache, 0).entries.front(), objects[60]) << "the oldest 60 left";
    EXPECT_EQ(rig.count(rig.cache, SlabState::free), 1u);
    EXPECT_EQ(rig.count(rig.cache, SlabState::partial), 1u);
    rig.check();
    for (unsigned i = 121; i != objects.size(); ++i) rig.give(objects[i]);
    rig.check();
    EXPECT_EQ(rig.live(rig.cache).size(), 0u);
  });
}

TEST(Flush, EmptySlabsBeyondTheLimitAreGivenBack) {
  OneCache rig("toy", {.name = "limit", .size = 64});
  rig.alone([&] {
    const std::uint64_t free_limit = rig.kernel.cache_node(rig.cache, 0).free_limit;
    EXPECT_EQ(free_limit, 2u * 60 + 59);
    const std::uint64_t before = rig.kernel.nr_free_pages();
    const auto objects = rig.take_many(59 * 20);
    EXPECT_EQ(rig.kernel.nr_free_pages(), before - 20);
    for (const std::uint64_t object : objects) rig.give(object);
    // The limit is looked at when a slab becomes empty; what partial slabs have free may exceed it by a little.
    EXPECT_LE(rig.kernel.cache_node(rig.cache, 0).free_objects, free_limit + 59);
    EXPECT_GE(rig.kernel.nr_free_pages(), before - 7);
    rig.check();
  });
}

TEST(Flush, FillsTheSharedArrayFirst) {
  Shape shape = shape_of("toy");
  shape.cpus = 2;
  ObjectsRig rig(shape);
  rig.alone([&] {
    auto& k = rig.kernel;
    const CacheHandle cache = k.kmem_cache_create({.name = "shared", .size = 64});
    std::vector<std::uint64_t> objects;
    for (unsigned i = 0; i != 121; ++i) objects.push_back(k.kmem_cache_alloc(cache, GFP_KERNEL));
    const std::uint64_t in_array = k.cpu_array(cache, 0).avail;
    for (const std::uint64_t object : objects) k.kmem_cache_free(cache, object);
    EXPECT_EQ(k.shared_array(cache, 0).avail, 60u);
    EXPECT_EQ(k.cpu_array(cache, 0).avail, in_array + 121 - 60);
    rig.check();
    // CPU 1 is served from there without a look at a slab.
    machine::current().cpu = 1;
    const std::uint64_t hottest = k.shared_array(cache, 0).entries.back();
    EXPECT_EQ(k.kmem_cache_alloc(cache, GFP_KERNEL), hottest);
    EXPECT_EQ(k.shared_array(cache, 0).avail, 60u - 16);
    EXPECT_EQ(k.cpu_array(cache, 1).avail, 15u);
    machine::current().cpu = 0;
  });
}

// domain.md 22.6, on a machine of more than 32 MB: 11 objects in two pages, six colours of 64 bytes.
TEST(Trace, SevenSlabsOf700Bytes) {
  Shape shape = shape_of("x86-32");
  ObjectsRig rig(shape);
  rig.alone([&] {
    auto& k = rig.kernel;
    const CacheHandle cache = k.kmem_cache_create({.name = "seven-hundred", .size = 700});
    std::vector<std::uint64_t> objects;
    std::vector<std::uint32_t> offsets;
    std::set<Pfn> seen;
    for (unsigned i = 0; i != 77; ++i) {
      objects.push_back(k.kmem_cache_alloc(cache, GFP_KERNEL));
      for (const SeenSlab& slab : rig.slabs(cache)) {
        if (seen.insert(slab.info.first).second) offsets.push_back(slab.info.colour_offset);
      }
      EXPECT_EQ(seen.size(), i / 11 + 1) << i;
    }
    EXPECT_EQ(offsets, (std::vector<std::uint32_t>{0, 64, 128, 192, 256, 320, 0}));  // P-SLAB-6
    EXPECT_EQ(k.kmem_cache_shrink(cache), 1);
    EXPECT_EQ(rig.slabs(cache).size(), 7u);
    for (unsigned i = 1; i != objects.size(); ++i) k.kmem_cache_free(cache, objects[i]);
    EXPECT_EQ(k.kmem_cache_shrink(cache), 1);
    EXPECT_EQ(rig.slabs(cache).size(), 1u) << "exactly one slab of two pages is held";
    EXPECT_EQ(k.kmem_cache_destroy(cache), -ebusy);
    EXPECT_EQ(rig.said.count(ReportKind::cache_busy), 1u);
    k.kmem_cache_free(cache, objects[0]);
    EXPECT_EQ(k.kmem_cache_shrink(cache), 0);
    EXPECT_TRUE(rig.slabs(cache).empty());
    EXPECT_EQ(k.kmem_cache_destroy(cache), 0);
  });
  EXPECT_EQ(rig.said.reports.size(), 1u);
}

TEST(OffSlab, DescriptorsComeFromAGeneralCacheAndGoBack) {
  ObjectsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    const CacheHandle cache = k.kmem_cache_create({.name = "off", .size = 2048});
    const CacheInfo info = k.cache_info(cache);
    ASSERT_TRUE(info.off_slab);
    const std::size_t before = rig.live(info.management_cache).size();
    const std::uint64_t a = k.kmem_cache_alloc(cache, GFP_KERNEL);
    EXPECT_EQ(rig.live(info.management_cache).size(), before + 1);
    rig.check();
    k.kmem_cache_free(cache, a);
    EXPECT_EQ(k.kmem_cache_shrink(cache), 0);
    EXPECT_EQ(rig.live(info.management_cache).size(), before);
  });
}

TEST(OffSlab, WithoutADescriptorThePagesGoBack) {
  ObjectsRig rig(shape_of("toy"), {{.site = "slab.alloc", .interval = 2, .times = 1}});  // the object passes
  rig.alone([&] {
    auto& k = rig.kernel;
    const std::uint64_t pages = k.nr_free_pages();
    EXPECT_EQ(k.kmalloc(4096, GFP_KERNEL), 0u);
    EXPECT_EQ(rig.said.faults.size(), 1u);
    EXPECT_EQ(k.nr_free_pages(), pages);
    rig.check();
    EXPECT_NE(k.kmalloc(4096, GFP_KERNEL), 0u);
  });
}

TEST(Contents, ZallocClearsTheWholeObjectAndKzfreeLeavesNothing) {  // P-SLAB-2, P-KMALLOC-6
  OneCache rig("toy", {.name = "zeroes", .size = 100});
  rig.alone([&] {
    const std::uint64_t dirty = rig.take();
    std::memset(rig.bytes(dirty), 0x5a, 104);
    rig.give(dirty);
    const std::uint64_t clean = rig.kernel.kmem_cache_zalloc(rig.cache, GFP_KERNEL);
    EXPECT_EQ(clean, dirty);
    EXPECT_TRUE(rig.all_bytes(clean, 104, std::byte{0}));
    std::memset(rig.bytes(clean), 0x5a, 104);
    rig.kernel.kzfree(clean);
    EXPECT_TRUE(rig.all_bytes(clean, 104, std::byte{0}));
  });
}

TEST(Contents, AConstructorRunsOncePerObjectOfASlab) {  // P-SLAB-7
  struct Count {
    ObjectsRig* rig = nullptr;
    std::map<std::uint64_t, unsigned> runs;
  } count;
  const auto ctor = [](void* arg, std::uint64_t object) {
    auto& c = *static_cast<Count*>(arg);
    ++c.runs[object];
    std::memset(c.rig->bytes(object), 0xc7, 200);
  };
  OneCache rig("toy", {.name = "built", .size = 200, .ctor = {.run = ctor, .arg = &count}});
  count.rig = &rig;
  rig.alone([&] {
    const CacheInfo info = rig.kernel.cache_info(rig.cache);
    for (unsigned round = 0; round != 3; ++round) {
      const auto objects = rig.take_many(info.num + 1);
      EXPECT_EQ(count.runs.size(), 2 * info.num);
      for (const std::uint64_t object : objects) {
        EXPECT_EQ(count.runs[object], 1u);
        EXPECT_TRUE(rig.all_bytes(object, 200, std::byte{0xc7})) << "constructed, and nothing else has written to it";
      }
      for (const std::uint64_t object : objects) rig.give(object);
    }
    EXPECT_EQ(count.runs.size(), 2 * info.num);
  });
}

// What reaches the page layer of a caller's flags (10.5), and that both ways are announced.
TEST(Layer, RequestsForPagesAreAnnounced) {
  ObjectsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    const CacheHandle plain = k.kmem_cache_create({.name = "plain", .size = 200});
    const CacheHandle low = k.kmem_cache_create(
        {.name = "low", .size = 5000, .flags = SLAB_CACHE_DMA | SLAB_RECLAIM_ACCOUNT | SLAB_NOLEAKTRACE});
    const std::uint64_t stocked = k.kmalloc(64, GFP_KERNEL);
    rig.said.requests.clear();
    k.kfree(stocked);
    EXPECT_EQ(k.kmalloc(64, GFP_KERNEL), stocked);
    EXPECT_TRUE(rig.said.requests.empty()) << "served from an array";

    const std::uint64_t a = k.kmem_cache_alloc(plain, GFP_KERNEL | gfp_zero | gfp_movable | gfp_nowarn | gfp_comp);
    ASSERT_EQ(rig.said.requests.size(), 1u);
    EXPECT_EQ(rig.said.requests[0].gfp, GFP_KERNEL | gfp_nowarn);
    EXPECT_EQ(rig.said.requests[0].order, 0u);
    EXPECT_EQ(rig.said.requests[0].nid, 0);
    EXPECT_EQ(rig.said.requests[0].granted, rig.ram().pfn_of(a));

    const std::uint64_t b = k.kmem_cache_alloc(low, GFP_ATOMIC | gfp_dma);
    ASSERT_EQ(rig.said.requests.size(), 2u);
    EXPECT_EQ(rig.said.requests[1].gfp, GFP_ATOMIC | gfp_dma | gfp_reclaimable);
    EXPECT_EQ(rig.said.requests[1].order, 1u);

    k.kmem_cache_free(plain, a);
    k.kmem_cache_free(low, b);
    rig.said.releases.clear();
    EXPECT_EQ(k.kmem_cache_shrink(low), 0);
    ASSERT_EQ(rig.said.releases.size(), 1u);
    EXPECT_EQ(rig.said.releases[0], std::pair(rig.ram().pfn_of(b), 1u));
  });
}

TEST(Layer, PagesOfSlabsAreMarkedAndFreePagesAreNot) {
  OneCache rig("toy", {.name = "marked", .size = 700});
  rig.alone([&] {
    const std::uint64_t object = rig.take();
    const Pfn pfn = rig.ram().pfn_of(object);
    EXPECT_EQ(rig.kernel.page(pfn).flags, std::uint32_t{pg_slab});
    EXPECT_EQ(rig.kernel.slab_page(pfn).cache, rig.cache);
    rig.give(object);
    EXPECT_EQ(rig.kernel.kmem_cache_shrink(rig.cache), 0);
    EXPECT_EQ(rig.kernel.page(pfn).flags & pg_slab, 0u);
    EXPECT_EQ(rig.kernel.slab_page(pfn).cache, no_cache);
    EXPECT_FALSE(rig.kernel.page(pfn).mapping);
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(Zones, ADmaCacheStaysInItsZone) {  // P-SLAB-12
  OneCache rig("toy", {.name = "dma", .size = 500, .flags = SLAB_CACHE_DMA});
  rig.alone([&] {
    for (unsigned i = 0; i != 100; ++i) {
      const std::uint64_t object = rig.take(GFP_KERNEL | gfp_dma);
      EXPECT_EQ(rig.kind_of(rig.ram().pfn_of(object)), machine::ZoneKind::dma);
    }
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(Zones, ReclaimableCachesAreCountedApart) {  // P-SLAB-13
  OneCache rig("toy", {.name = "inode", .size = 500, .flags = SLAB_RECLAIM_ACCOUNT});
  rig.alone([&] {
    EXPECT_EQ(rig.kernel.slab_pages(SlabPages::reclaimable), 0u);
    rig.take();
    EXPECT_EQ(rig.kernel.slab_pages(SlabPages::reclaimable), 1u);
  });
}

TEST(Flags, WhatMakesNoSenseIsReportedAndPutRight) {  // 10.9
  OneCache rig("tiny-all", {.name = "plain", .size = 64});
  rig.alone([&] {
    for (const gfp_t gfp : {gfp_highmem, gfp_dma32, gfp_dma, gfp_t{1} << 30}) {
      rig.said.reports.clear();
      const std::uint64_t object = rig.take(GFP_KERNEL | gfp);
      ASSERT_NE(object, 0u);
      EXPECT_EQ(rig.said.count(ReportKind::slab_gfp), 1u);
      EXPECT_EQ(rig.said.reports.size(), 1u);
      EXPECT_EQ(rig.said.reports[0].gfp, GFP_KERNEL | gfp);
      EXPECT_NE(rig.kind_of(rig.ram().pfn_of(object)), machine::ZoneKind::highmem);
    }
    const CacheHandle dma = rig.kernel.kmem_cache_create({.name = "dma", .size = 64, .flags = SLAB_CACHE_DMA});
    rig.said.reports.clear();
    const std::uint64_t object = rig.kernel.kmem_cache_alloc(dma, GFP_KERNEL);
    EXPECT_EQ(rig.said.count(ReportKind::slab_gfp), 1u);
    EXPECT_EQ(rig.kind_of(rig.ram().pfn_of(object)), machine::ZoneKind::dma);
    rig.take(GFP_KERNEL | gfp_zero | gfp_movable | gfp_cold);
    EXPECT_EQ(rig.said.reports.size(), 1u) << "hints for the page layer are dropped without a word";
  });
}

}  // namespace
}  // namespace memtorture::kernel
