// kmalloc and what belongs to it (domain.md 11).
#include <gtest/gtest.h>

#include <limits>

#include "allocator/kernel/objects_rig.h"
#include "allocator/slab/size_classes.h"

namespace memtorture::kernel {
namespace {

using machine::ReportKind;
using machine::Shape;
using namespace subject;  // GFP names

Shape shape_of(std::string_view name) { return machine::shape_named(name).value(); }

TEST(Kmalloc, ServesEverySizeFromTheSmallestClass) {  // P-KMALLOC-1, P-KMALLOC-2
  for (const std::string_view shape : {"x86-64", "x86-32", "alpha"}) {
    ObjectsRig rig(shape);
    const std::uint64_t max = rig.kernel.slab().platform().kmalloc_max();
    rig.alone([&] {
      auto& k = rig.kernel;
      for (const std::uint32_t size : slab::size_classes) {
        for (const std::uint64_t bytes : {size - 1ull, size + 0ull, size + 1ull}) {
          const std::uint64_t object = k.kmalloc(bytes, GFP_KERNEL);
          if (bytes > max) {
            EXPECT_EQ(object, 0u) << bytes;
            continue;
          }
          ASSERT_NE(object, 0u) << bytes;
          EXPECT_EQ(k.ksize(object), slab::size_classes[slab::size_class_of(bytes)]);
          EXPECT_EQ(object % 8, 0u);
          EXPECT_NE(rig.kind_of(rig.ram().pfn_of(object)), machine::ZoneKind::highmem);
          std::memset(rig.bytes(object), 0x11, k.ksize(object));
          k.kfree(object);
        }
      }
      rig.check();
      EXPECT_EQ(k.kmalloc(std::numeric_limits<std::uint64_t>::max(), GFP_KERNEL), 0u);
    });
    EXPECT_TRUE(rig.said.reports.empty());
    EXPECT_EQ(rig.said.reclaims.size(), 0u);  // P-KMALLOC-7
  }
}

TEST(Kmalloc, FewOrdersMeanASmallerMaximum) {
  Shape shape = shape_of("flat");
  shape.orders = 3;
  ObjectsRig rig(shape);
  rig.alone([&] {
    EXPECT_NE(rig.kernel.kmalloc(16384, GFP_KERNEL), 0u);
    EXPECT_EQ(rig.kernel.kmalloc(16385, GFP_KERNEL), 0u);
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(Kmalloc, NothingIsAPointerThatMayBeFreed) {  // P-KMALLOC-4
  ObjectsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    EXPECT_EQ(k.kmalloc(0, GFP_KERNEL), zero_size_ptr);
    EXPECT_EQ(k.kcalloc(0, 8, GFP_KERNEL), zero_size_ptr);
    EXPECT_EQ(k.ksize(zero_size_ptr), 0u);
    machine::preempt_disable();
    EXPECT_EQ(k.kmalloc(0, GFP_KERNEL), zero_size_ptr) << "nothing to wait for, nothing to report";
    machine::preempt_enable();
    k.kfree(zero_size_ptr);
    k.kzfree(zero_size_ptr);
    k.kfree(0);
    k.kzfree(0);
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(Kmalloc, DmaMemoryIsLow) {
  ObjectsRig rig("tiny-all");
  rig.alone([&] {
    for (const std::uint64_t bytes : {32, 4096, 100'000}) {
      const std::uint64_t object = rig.kernel.kmalloc(bytes, GFP_KERNEL | gfp_dma);
      EXPECT_EQ(rig.kind_of(rig.ram().pfn_of(object)), machine::ZoneKind::dma);
    }
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(Kmalloc, NeverHighMemory) {  // D15
  ObjectsRig rig("tiny-32");
  rig.alone([&] {
    const std::uint64_t object = rig.kernel.kmalloc(100, GFP_KERNEL | gfp_highmem);
    EXPECT_NE(rig.kind_of(rig.ram().pfn_of(object)), machine::ZoneKind::highmem);
  });
  EXPECT_EQ(rig.said.count(ReportKind::slab_gfp), 1u);
  EXPECT_EQ(rig.said.reports.size(), 1u);
}

TEST(Kmalloc, ArraysAreZeroedAndDoNotOverflow) {  // P-KMALLOC-3
  ObjectsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    std::memset(rig.bytes(k.kmalloc(1000, GFP_KERNEL)), 0xff, 1000);
    for (const std::uint64_t bytes : {33, 500, 5000}) {
      const std::uint64_t dirty = k.kmalloc(bytes, GFP_KERNEL);
      std::memset(rig.bytes(dirty), 0xff, k.ksize(dirty));
      k.kfree(dirty);
      const std::uint64_t clean = k.kzalloc(bytes, GFP_KERNEL);
      EXPECT_EQ(clean, dirty);
      EXPECT_TRUE(rig.all_bytes(clean, bytes, std::byte{0}));
    }
    EXPECT_TRUE(rig.all_bytes(k.kcalloc(10, 100, GFP_KERNEL), 1000, std::byte{0}));
    constexpr std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
    for (const auto& [n, bytes] : {std::pair{max, 2ull}, {2ull, max}, {1ull << 32, 1ull << 32}, {max / 2 + 1, 2ull}}) {
      EXPECT_EQ(k.kcalloc(n, bytes, GFP_KERNEL), 0u);
      EXPECT_EQ(k.kmalloc_array(n, bytes, GFP_KERNEL), 0u);
    }
    EXPECT_NE(k.kmalloc_array(16, 16, GFP_KERNEL), 0u);
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(Krealloc, MovesOnlyWhenItMust) {  // 11.4, P-KMALLOC-5
  ObjectsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    const std::uint64_t first = k.krealloc(0, 40, GFP_KERNEL);
    EXPECT_EQ(k.ksize(first), 64u);
    for (unsigned i = 0; i != 64; ++i) rig.bytes(first)[i] = static_cast<std::byte>(i);
    EXPECT_EQ(k.krealloc(first, 64, GFP_KERNEL), first);
    EXPECT_EQ(k.krealloc(first, 1, GFP_KERNEL), first);
    const std::uint64_t moved = k.krealloc(first, 65, GFP_KERNEL);
    EXPECT_NE(moved, first);
    EXPECT_EQ(k.ksize(moved), 128u);
    for (unsigned i = 0; i != 64; ++i) EXPECT_EQ(rig.bytes(moved)[i], static_cast<std::byte>(i));
    EXPECT_EQ(k.kmalloc(64, GFP_KERNEL), first) << "the old object was freed";
    EXPECT_EQ(k.krealloc(moved, 0, GFP_KERNEL), zero_size_ptr);
    EXPECT_EQ(k.kmalloc(128, GFP_KERNEL), moved);
    EXPECT_EQ(k.krealloc(zero_size_ptr, 0, GFP_KERNEL), zero_size_ptr);
    EXPECT_NE(k.krealloc(zero_size_ptr, 8, GFP_KERNEL), zero_size_ptr);
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(Krealloc, FailureKeepsTheOldObject) {
  ObjectsRig rig(shape_of("toy"), {{.site = "slab.alloc", .interval = 2, .times = 1}});
  rig.alone([&] {
    auto& k = rig.kernel;
    const std::uint64_t object = k.kmalloc(64, GFP_KERNEL);
    std::memset(rig.bytes(object), 0x42, 64);
    EXPECT_EQ(k.krealloc(object, 200, GFP_KERNEL), 0u);
    EXPECT_EQ(rig.said.faults.size(), 1u);
    EXPECT_TRUE(rig.all_bytes(object, 64, std::byte{0x42}));
    EXPECT_TRUE(rig.live(rig.named("size-64")).contains(object));
  });
}

TEST(Kfree, OfWhatIsNoObjectIsReportedAndChangesNothing) {  // 11.7
  ObjectsRig rig("tiny-32");
  rig.alone([&] {
    auto& k = rig.kernel;
    const Pfn plain = k.alloc_pages(GFP_KERNEL, 0);
    const Pfn blemished = k.alloc_pages(GFP_KERNEL, 0);
    k.blemish(blemished, Blemish::slab);
    const std::uint64_t pages = k.nr_free_pages();
    const std::uint64_t wild[] = {1,
                                  17,
                                  rig.ram().address_of(plain),
                                  rig.ram().address_of(plain) + 8,
                                  rig.ram().address_of(blemished),
                                  rig.ram().address_of(0) - 8,
                                  rig.ram().address_of(k.machine().shape().frames()),
                                  rig.ram().address_of(k.machine().shape().frames() - 1),
                                  ~0ull};
    for (const std::uint64_t address : wild) {
      rig.said.reports.clear();
      k.kfree(address);
      k.kzfree(address);
      EXPECT_EQ(k.ksize(address), 0u);
      EXPECT_EQ(k.krealloc(address, 100, GFP_KERNEL), 0u);
      EXPECT_EQ(rig.said.count(ReportKind::bad_object), 4u) << std::hex << address;
      EXPECT_EQ(rig.said.reports.size(), 4u);
    }
    rig.said.reports.clear();
    EXPECT_EQ(k.ksize(0), 0u);
    EXPECT_EQ(rig.said.count(ReportKind::bad_object), 1u);
    EXPECT_EQ(k.nr_free_pages(), pages);
  });
}

// A wrong buffer in an array does no harm to a slab: it is dropped on its way there.
TEST(Kfree, AWrongBufferIsDroppedAtItsSlab) {
  ObjectsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    const CacheHandle cache = k.kmem_cache_create({.name = "victim", .size = 100});
    const std::uint64_t object = k.kmem_cache_alloc(cache, GFP_KERNEL);
    const std::uint64_t other = k.kmalloc(100, GFP_KERNEL);
    k.kmem_cache_free(cache, object + 8);
    k.kmem_cache_free(cache, other);
    k.kmem_cache_free(cache, object);
    k.kmem_cache_free(cache, object);
    EXPECT_EQ(k.kmem_cache_shrink(cache), 0);
    EXPECT_EQ(rig.said.count(ReportKind::bad_object), 3u) << "interior, foreign, and free for the second time";
    rig.check();
    k.kmem_cache_free(cache, 0);
    EXPECT_EQ(rig.said.count(ReportKind::bad_object), 4u);
    k.kfree(other);
  });
}

TEST(Faults, OfObjectsAreInjectedBeforeAnythingChanges) {  // 10.10, P-FAULT-6, P-FAULT-5
  ObjectsRig rig(shape_of("toy"), {{.site = "slab.alloc"}});
  rig.alone([&] {
    auto& k = rig.kernel;
    const std::uint64_t pages = k.nr_free_pages();
    EXPECT_EQ(k.kmalloc(100, GFP_KERNEL), 0u);
    EXPECT_EQ(k.kmalloc(100'000, GFP_ATOMIC), 0u);
    EXPECT_EQ(rig.said.faults.size(), 2u);
    EXPECT_EQ(k.nr_free_pages(), pages);
    EXPECT_NE(k.kmalloc(3000, GFP_KERNEL | gfp_nofail), 0u);
    EXPECT_EQ(rig.said.faults.size(), 2u);
    EXPECT_EQ(k.kmem_cache_create({.name = "c", .size = 64}), no_cache) << "its struct passes, its arrays do not";
    EXPECT_EQ(rig.said.faults.size(), 3u);
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(Faults, CachedObjectsNeedNoPages) {  // P-SLAB-17, P-KMALLOC-8
  ObjectsRig rig("toy");
  rig.alone([&] {
    auto& k = rig.kernel;
    const CacheHandle cache = k.kmem_cache_create({.name = "stocked", .size = 64});
    std::vector<std::uint64_t> objects;
    for (unsigned i = 0; i != 300; ++i) objects.push_back(k.kmem_cache_alloc(cache, GFP_KERNEL));
    for (const std::uint64_t object : objects) k.kmem_cache_free(cache, object);
    const std::size_t stock = 59 * rig.slabs(cache).size();
    while (k.alloc_pages(GFP_ATOMIC | gfp_nowarn, 0) != machine::no_pfn) {
    }
    for (std::size_t i = 0; i != stock; ++i) EXPECT_NE(k.kmem_cache_alloc(cache, GFP_NOWAIT), 0u) << i;
    EXPECT_TRUE(rig.said.reports.empty());
    EXPECT_EQ(k.kmem_cache_alloc(cache, GFP_NOWAIT), 0u);
    EXPECT_EQ(rig.said.count(ReportKind::allocation_failure), 1u) << "the page layer's own report";
    EXPECT_EQ(k.kmem_cache_alloc(cache, GFP_NOWAIT | gfp_nowarn), 0u);
    EXPECT_EQ(rig.said.reports.size(), 1u);
  });
}

}  // namespace
}  // namespace memtorture::kernel
