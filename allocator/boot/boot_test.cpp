#include <gtest/gtest.h>

#include <vector>

#include "allocator/boot/bank.h"
#include "allocator/boot/memory_map.h"

namespace memtorture::boot {
namespace {

using machine::Shape;

Shape shape_named(std::string_view name) { return machine::shape_named(name).value(); }

std::vector<ZonePlace> zones_of(const Shape& shape) {
  ZonePlace places[zones_max];
  const unsigned count = place_zones(shape, places);
  return {places, places + count};
}

TEST(Bank, PiecesAreDisjointAlignedAndZero) {  // P-BOOT-1
  Bank bank(4096, 4096);
  std::byte* const a = bank.take(3, 1);
  std::byte* const b = bank.take(64, 64);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b) % 64, 0u);
  EXPECT_GE(b, a + 3);
  EXPECT_GE(a, bank.kept().data() + bank.kept().size());
  b[5] = std::byte{7};
  bank.kept()[0] = std::byte{9};
  bank.reset();
  EXPECT_EQ(bank.take(3, 1), a);
  EXPECT_EQ(bank.take(64, 64)[5], std::byte{0}) << "a piece of the next run is zero again";
  EXPECT_EQ(bank.kept()[0], std::byte{9}) << "kept bytes survive a reset";
  bank.forget_kept();
  EXPECT_EQ(bank.kept()[0], std::byte{0});
}

TEST(MemoryMap, UsableFramesAreAllButReservedAndHole) {  // P-BOOT-3
  Shape shape = shape_named("flat");                     // 1024 frames
  shape.reserved_pages = 10;
  shape.hole_start = 300;
  shape.hole_end = 400;
  const MemoryMap map(shape);
  std::vector<Span> usable;
  map.for_each_usable(map.all, [&](Span span) { usable.push_back(span); });
  EXPECT_EQ(usable, (std::vector<Span>{{10, 300}, {400, 1024}}));
  EXPECT_EQ(map.present(map.all), 924u);
  EXPECT_TRUE(map.is_reserved(9));
  EXPECT_FALSE(map.is_reserved(10));
  EXPECT_FALSE(map.exists(300));
  EXPECT_TRUE(map.exists(400));
  EXPECT_FALSE(map.exists(1024));
}

TEST(MemoryMap, HoleInsideTheReservedRangeLeavesOneRun) {
  Shape shape = shape_named("flat");
  shape.reserved_pages = 10;
  shape.hole_start = 4;
  shape.hole_end = 8;
  std::vector<Span> usable;
  MemoryMap(shape).for_each_usable({0, 1024}, [&](Span span) { usable.push_back(span); });
  EXPECT_EQ(usable, (std::vector<Span>{{10, 1024}}));
}

TEST(Zones, FollowTheLayout) {  // P-ZONE-1, domain.md 3.2
  const auto pc = zones_of(shape_named("x86-32"));
  ASSERT_EQ(pc.size(), 3u);
  EXPECT_EQ(pc[0].span, (Span{0, 4096}));
  EXPECT_EQ(pc[1].span, (Span{4096, 229376}));
  EXPECT_EQ(pc[2].span, (Span{229376, 262144}));
  EXPECT_EQ(pc[2].kind, ZoneKind::highmem);
  const auto big = zones_of(shape_named("x86-64"));
  ASSERT_EQ(big.size(), 3u);
  EXPECT_EQ(big[1].span, (Span{4096, 1048576}));
  EXPECT_EQ(big[1].kind, ZoneKind::dma32);
}

TEST(Zones, NodesCutRamIntoEqualBanks) {
  Shape shape = shape_named("toy");
  shape.nodes = 2;
  const auto zones = zones_of(shape);
  ASSERT_EQ(zones.size(), 3u);
  EXPECT_EQ(zones[0].span, (Span{0, 1024}));
  EXPECT_EQ(zones[1].span, (Span{1024, 2048}));
  EXPECT_EQ(zones[2].span, (Span{2048, 4096}));
  EXPECT_EQ(zones[1].node, 0u);
  EXPECT_EQ(zones[2].node, 1u);
}

TEST(Zones, KindsComeFromTheLayoutNotFromTheRam) {
  EXPECT_EQ(zone_kinds_of(shape_named("flat")), 0b0100u);
  EXPECT_EQ(zone_kinds_of(shape_named("toy")), 0b0101u);
  EXPECT_EQ(zone_kinds_of(shape_named("x86-32")), 0b1101u);
  EXPECT_EQ(zone_kinds_of(shape_named("tiny-all")), 0b1111u);
}

}  // namespace
}  // namespace memtorture::boot
