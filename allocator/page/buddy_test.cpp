#include "allocator/page/buddy.h"

#include <gtest/gtest.h>

#include "allocator/kernel/test_rig.h"

namespace memtorture::page {
namespace {

using kernel::Rig;
using machine::Shape;
using subject::GFP_ATOMIC;

using Counts = std::vector<std::uint64_t>;

Counts blocks_by_order(Rig& rig, unsigned orders) {
  const auto& zone = rig.kernel.zones()[0];
  return {zone.nr_free, zone.nr_free + orders};
}

// The trace of domain.md 22.3: counts per order after each step, whatever the addresses.
TEST(Buddy, SixteenPageTrace) {
  Rig rig("buddy16");
  const auto expect = [&](std::uint64_t free, Counts counts) {
    EXPECT_EQ(rig.kernel.nr_free_pages(), free);
    EXPECT_EQ(blocks_by_order(rig, 5), counts);
  };
  expect(16, {0, 0, 0, 0, 1});
  rig.alone([&] {
    auto& k = rig.kernel;
    const Pfn a = k.alloc_pages(GFP_ATOMIC, 0);
    expect(15, {1, 1, 1, 1, 0});
    const Pfn b = k.alloc_pages(GFP_ATOMIC, 1);
    expect(13, {1, 0, 1, 1, 0});
    const Pfn c = k.alloc_pages(GFP_ATOMIC, 0);
    expect(12, {0, 0, 1, 1, 0});
    const Pfn d = k.alloc_pages(GFP_ATOMIC, 2);
    expect(8, {0, 0, 0, 1, 0});
    EXPECT_EQ(std::vector({a, b, c, d}), (std::vector<Pfn>{0, 2, 1, 4}));  // we keep the lower half
    k.free_pages_of(a, 0);
    expect(9, {1, 0, 0, 1, 0});
    k.free_pages_of(c, 0);
    expect(10, {0, 1, 0, 1, 0});
    k.free_pages_of(b, 1);
    expect(12, {0, 0, 1, 1, 0});
    k.free_pages_of(d, 2);
    expect(16, {0, 0, 0, 0, 1});
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

// P-BUDDY-12: zones and holes whose ends are not multiples of the top block never merge across.
TEST(Buddy, OddBoundariesSurviveAFullCycle) {
  Shape shape = machine::shape_named("flat").value();
  shape.ram_bytes = 1003 * shape.page_bytes();
  shape.zone_end_bytes = {301 * shape.page_bytes(), 301 * shape.page_bytes(), machine::zone_end_none};
  shape.reserved_pages = 5;
  shape.hole_start = 517;
  shape.hole_end = 602;
  shape.min_free_kbytes = 0;
  ASSERT_EQ(machine::why_impossible(shape), std::nullopt);
  Rig rig(shape);
  const auto before = rig.free_set();
  for (const auto& [pfn, order] : before) EXPECT_EQ(pfn % (1u << order), 0u);
  EXPECT_EQ(rig.kernel.nr_free_pages(), 1003u - 5 - 85);
  rig.alone([&] {
    machine::current().flags |= machine::pf_memalloc;
    std::vector<Pfn> live;
    for (Pfn pfn; (pfn = rig.kernel.alloc_pages(GFP_ATOMIC | subject::gfp_nowarn, 0)) != no_pfn;) live.push_back(pfn);
    EXPECT_EQ(live.size(), 1003u - 5 - 85);
    for (std::size_t i = 0; i != live.size(); ++i) rig.kernel.free_pages_of(live[i * 7 % live.size()], 0);  // P-BUDDY-7
  });
  EXPECT_EQ(rig.free_set(), before);
  EXPECT_TRUE(rig.said.reports.empty());
}

#if MT_ENGINE_FIBER  // on threads every descriptor is made valid at boot: 8 GiB of them
// A machine of 1 TiB: nothing but what is used becomes real, and all of it is accounted for.
TEST(Buddy, HugeMachineIsLazilyReal) {
  Shape shape = machine::shape_named("x86-64").value();
  shape.ram_bytes = machine::ram_bytes_max;
  Rig rig(shape);
  EXPECT_EQ(rig.kernel.nr_free_pages(), std::uint64_t{1} << 28);
  const Pfn last = (Pfn{1} << 28) - 1024;
  EXPECT_EQ(rig.kernel.page(last).flags, std::uint32_t{subject::pg_buddy});
  EXPECT_EQ(rig.kernel.page(last).private_, 10u);
  EXPECT_EQ(rig.kernel.page(last + 1).flags, 0u);
  rig.alone([&] {
    const Pfn pfn = rig.kernel.alloc_pages(GFP_ATOMIC, 3);
    ASSERT_NE(pfn, no_pfn);
    EXPECT_EQ(rig.kernel.nr_free_pages(), (std::uint64_t{1} << 28) - 8);
    rig.kernel.free_pages_of(pfn, 3);
  });
  EXPECT_EQ(rig.kernel.nr_free_pages(), std::uint64_t{1} << 28);
}
#endif

TEST(Buddy, RebootForgetsTheLastRun) {
  Rig rig("tiny-all");
  const auto before = rig.free_set();
  rig.alone([&] {
    for (int i = 0; i != 300; ++i) ASSERT_NE(rig.kernel.alloc_pages(GFP_ATOMIC, 0), no_pfn);
  });
  EXPECT_NE(rig.free_set(), before);
  rig.kernel.boot(machine::shape_named("tiny-all").value(), {}, rig.said, rig.said);
  EXPECT_EQ(rig.free_set(), before);
}

}  // namespace
}  // namespace memtorture::page
