// The arithmetic of domain.md 10.4, row by row on both word sizes, and what must hold for every request.
#include "allocator/slab/geometry.h"

#include <gtest/gtest.h>

#include <bit>

#include "allocator/slab/size_classes.h"

namespace memtorture::slab {
namespace {

using namespace subject;  // SLAB names

constexpr Platform bits32{.word_bytes = 4, .descriptor_bytes = 28, .order_max = 10, .break_order = 1};
constexpr Platform bits64{.word_bytes = 8, .descriptor_bytes = 48, .order_max = 10, .break_order = 1};

struct Vector {
  std::uint32_t size;
  slab_flags_t flags;
  std::uint32_t num;
  unsigned order;
  bool off_slab;
  std::uint32_t left_over, colour;
};

void expect(const Platform& platform, const Vector& row) {
  SCOPED_TRACE(testing::Message() << row.size << " on " << 8 * platform.word_bytes << " bits");
  const auto g = geometry_for(platform, row.size, 0, row.flags);
  ASSERT_TRUE(g.has_value());
  EXPECT_EQ(g->num, row.num);
  EXPECT_EQ(g->order, row.order);
  EXPECT_EQ(g->off_slab, row.off_slab);
  EXPECT_EQ(g->left_over, row.left_over);
  EXPECT_EQ(g->colour, row.colour);
}

TEST(Geometry, VectorsOf32BitMachines) {  // P-SLAB-5
  constexpr slab_flags_t hw = SLAB_HWCACHE_ALIGN;
  for (const Vector& row : std::initializer_list<Vector>{{32, hw, 113, 0, false, 0, 0},
                                                         {64, hw, 59, 0, false, 0, 0},
                                                         {128, hw, 30, 0, false, 64, 1},
                                                         {192, hw, 20, 0, false, 128, 2},
                                                         {256, hw, 15, 0, false, 128, 2},
                                                         {512, hw, 8, 0, true, 0, 0},
                                                         {1024, hw, 4, 0, true, 0, 0},
                                                         {2048, hw, 2, 0, true, 0, 0},
                                                         {4096, hw, 1, 0, true, 0, 0},
                                                         {8192, hw, 1, 1, true, 0, 0},
                                                         {131072, hw, 1, 5, true, 0, 0},
                                                         {40, 0, 92, 0, false, 20, 0},
                                                         {100, 0, 39, 0, false, 12, 0},
                                                         {300, 0, 13, 0, false, 116, 1},
                                                         {700, 0, 11, 1, false, 420, 6},
                                                         {1500, 0, 5, 1, false, 644, 10},
                                                         {3000, 0, 2, 1, false, 2156, 33}})
    expect(bits32, row);
}

TEST(Geometry, VectorsOf64BitMachines) {
  constexpr slab_flags_t hw = SLAB_HWCACHE_ALIGN;
  for (const Vector& row : std::initializer_list<Vector>{{32, hw, 112, 0, false, 0, 0},
                                                         {64, hw, 59, 0, false, 0, 0},
                                                         {128, hw, 30, 0, false, 64, 1},
                                                         {192, hw, 20, 0, false, 128, 2},
                                                         {256, hw, 15, 0, false, 128, 2},
                                                         {512, hw, 8, 0, true, 0, 0},
                                                         {1024, hw, 4, 0, true, 0, 0},
                                                         {2048, hw, 2, 0, true, 0, 0},
                                                         {4096, hw, 1, 0, true, 0, 0},
                                                         {8192, hw, 1, 1, true, 0, 0},
                                                         {131072, hw, 1, 5, true, 0, 0},
                                                         {40, 0, 92, 0, false, 0, 0},
                                                         {100, 0, 37, 0, false, 48, 0},
                                                         {300, 0, 13, 0, false, 40, 0},
                                                         {700, 0, 11, 1, false, 352, 5},
                                                         {1500, 0, 5, 1, false, 600, 9},
                                                         {3000, 0, 2, 1, false, 2136, 33}})
    expect(bits64, row);
}

TEST(Geometry, SmallMachinesKeepToSinglePages) {
  Platform small = bits32;
  small.break_order = 0;
  const auto g = geometry_for(small, 700, 0, 0);
  EXPECT_EQ(g->num, 5u);
  EXPECT_EQ(g->order, 0u);
  EXPECT_FALSE(g->off_slab);
}

TEST(Geometry, ReclaimableCachesKeepTheSmallestOrder) {
  const auto g = geometry_for(bits32, 700, 0, SLAB_RECLAIM_ACCOUNT);
  EXPECT_EQ(g->order, 0u);
  EXPECT_EQ(g->num, 5u);
}

TEST(Geometry, NoLeakTraceKeepsTheDescriptorOnTheSlab) {
  EXPECT_FALSE(geometry_for(bits64, 512, 0, SLAB_HWCACHE_ALIGN | SLAB_NOLEAKTRACE)->off_slab);
}

TEST(Geometry, DebuggingEnlargesTheBuffer) {
  const auto zones = geometry_for(bits64, 100, 0, SLAB_RED_ZONE);
  EXPECT_EQ(zones->object_offset, 8u);
  EXPECT_EQ(zones->object_size, 104u);
  EXPECT_EQ(zones->buffer_size, 104u + 16);
  const auto both = geometry_for(bits32, 100, 0, SLAB_RED_ZONE | SLAB_STORE_USER | SLAB_POISON);
  EXPECT_EQ(both->buffer_size, 104u + 16 + 8);
  EXPECT_EQ(both->flags, SLAB_RED_ZONE | SLAB_STORE_USER | SLAB_POISON);
  const auto user = geometry_for(bits32, 100, 0, SLAB_STORE_USER);
  EXPECT_EQ(user->object_offset, 0u);
  EXPECT_EQ(user->buffer_size, 100u + 4);
}

// The quick paths take a buffer for its object, and the other way round.
TEST(Geometry, OnlyWhatACheckNeedsStandsBeforeAnObject) {
  constexpr slab_flags_t checks = SLAB_RED_ZONE | SLAB_KASAN;
  unsigned with_offset = 0;
  for (const slab_flags_t flags : {slab_flags_t{0}, SLAB_RED_ZONE, SLAB_POISON, SLAB_STORE_USER, SLAB_KASAN}) {
    for (const slab_flags_t more : {slab_flags_t{0}, SLAB_HWCACHE_ALIGN, SLAB_STORE_USER, SLAB_DEBUG_FREE}) {
      for (const std::uint32_t bytes : {1, 8, 100, 512, 3000, 5000}) {
        const auto geometry = geometry_for(bits64, bytes, 0, flags | more);
        ASSERT_TRUE(geometry);
        if (geometry->object_offset == 0) continue;
        ++with_offset;
        EXPECT_NE(geometry->flags & checks, 0u) << bytes;
      }
    }
  }
  EXPECT_NE(with_offset, 0u);
}

TEST(Geometry, DebuggingIsDroppedWhereTheAlignmentForbidsIt) {
  const auto g = geometry_for(bits64, 100, 64, SLAB_RED_ZONE | SLAB_STORE_USER | SLAB_POISON);
  EXPECT_EQ(g->flags, std::uint32_t{SLAB_POISON});
  EXPECT_EQ(g->object_offset, 0u);
  EXPECT_EQ(g->buffer_size, 128u);
}

TEST(Geometry, NothingFitsBeyondTheLargestSlab) {
  Platform one_page = bits64;
  one_page.order_max = 0;
  EXPECT_FALSE(geometry_for(one_page, 4096, 8192, 0).has_value());
  EXPECT_FALSE(geometry_for(one_page, 4096, 0, SLAB_NOLEAKTRACE).has_value());
  EXPECT_TRUE(geometry_for(one_page, 4096, 0, 0).has_value());
}

// Whatever is asked for: everything fits, nothing overlaps, every object is aligned.
TEST(Geometry, EveryLayoutHolds) {
  for (const Platform& platform : {bits32, bits64}) {
    for (std::uint32_t size = platform.word_bytes; size <= 20'000; size += 1 + size / 64) {
      for (std::uint32_t align : {0u, 4u, 16u, 64u, 256u, 8192u}) {
        for (const slab_flags_t flags : {0u, SLAB_HWCACHE_ALIGN, SLAB_RED_ZONE, SLAB_RED_ZONE | SLAB_STORE_USER}) {
          const auto g = geometry_for(platform, size, align, flags);
          ASSERT_TRUE(g.has_value()) << size << " " << align;
          const std::uint64_t slab = std::uint64_t{platform.page_bytes()} << g->order;
          const std::uint64_t on_slab = g->off_slab ? 0 : g->management_bytes;
          ASSERT_GE(g->object_size, size);
          ASSERT_LE(g->object_offset + g->object_size, g->buffer_size);
          ASSERT_EQ(on_slab + std::uint64_t{g->num} * g->buffer_size + g->left_over, slab) << size << " " << align;
          ASSERT_GE(g->management_bytes, platform.descriptor_bytes + g->num * bufctl_bytes);
          ASSERT_LE(g->colour * g->colour_off, g->left_over);
          ASSERT_GE(g->align, align);
          ASSERT_TRUE(std::has_single_bit(g->align));
          ASSERT_EQ((on_slab + g->buffer_size) % g->align, 0u);
          ASSERT_EQ(g->colour_off % g->align, 0u);
        }
      }
    }
  }
}

TEST(Geometry, PlatformsOfTheShapes) {
  const auto platform = [](std::string_view shape) { return platform_of(machine::shape_named(shape).value()); };
  EXPECT_EQ(platform("x86-32").word_bytes, 4u);
  EXPECT_EQ(platform("tiny-32").descriptor_bytes, 28u);
  EXPECT_EQ(platform("x86-64").word_bytes, 8u);
  EXPECT_EQ(platform("toy").word_bytes, 8u);
  EXPECT_EQ(platform("x86-64").break_order, 1u);
  EXPECT_EQ(platform("toy").break_order, 0u);
  EXPECT_EQ(platform("x86-64").kmalloc_max(), 4u << 20);
  EXPECT_EQ(platform("alpha").kmalloc_max(), 8u << 20);
  EXPECT_EQ(platform("buddy16").kmalloc_max(), 64u << 10);
}

TEST(SizeClasses, AreThoseOfK26) {  // 11.2 with lines of 64 bytes
  EXPECT_EQ(size_classes[0], 32u);
  EXPECT_EQ(size_classes[1], 64u);
  EXPECT_EQ(size_classes[2], 128u);
  EXPECT_EQ(size_classes[3], 192u);
  EXPECT_EQ(size_classes[4], 256u);
  EXPECT_EQ(size_classes[5], 512u);
  EXPECT_EQ(size_classes[size_class_of(129)], 192u);
  EXPECT_EQ(size_classes[size_class_of(131073)], 262144u);
  constexpr auto short_lines = make_size_classes<32>();
  EXPECT_EQ(short_lines[2], 96u);
  constexpr auto long_lines = make_size_classes<128>();
  EXPECT_EQ(long_lines[3], 256u);
}

}  // namespace
}  // namespace memtorture::slab
