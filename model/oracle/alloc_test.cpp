// Entitlement, zones, refusals: the worked numbers of domain.md 5.7 and 22.1, and each rule from both sides.
#include "model/oracle/driver_test.h"

namespace memtorture::oracle::test {
namespace {

using program::AllocPages;
using subject::GFP_ATOMIC;
using subject::GFP_KERNEL;
using subject::GFP_NOWAIT;

// The last legal page of a zone is fine, the next one is not: how many of Normal's 3072 and then DMA's 1024 may go.
TEST(Allocation, KernelRequestsStopWhereTheToyMachineSays) {
  Driver d;
  d.fill(1024, 2952, kernel_noretry);  // Normal to LOW
  d.fill(0, 972, kernel_noretry);      // DMA to LOW + reserve
  EXPECT_EQ(d.told(EventKind::kswapd_woken, 0), Ruling::fine);
  d.fill(1024 + 2952, 24, kernel_noretry);  // Normal to MIN
  d.fill(972, 8, kernel_noretry);           // DMA to MIN + reserve
  ASSERT_EQ(d.call(AllocPages{Out{1}, {kernel_noretry}, {0}}), Ruling::fine);
  EXPECT_EQ(d.granted(4000), Ruling::broken);
  EXPECT_EQ(d.rule(), "wmark.min");
}

TEST(Allocation, TheRefusalAfterThatIsLegalWithOneReport) {
  Driver d;
  d.fill(1024, 2952, kernel_noretry);
  d.fill(0, 972, kernel_noretry);
  EXPECT_EQ(d.told(EventKind::kswapd_woken, 0), Ruling::fine);
  d.fill(3976, 24, kernel_noretry);
  d.fill(972, 8, kernel_noretry);
  ASSERT_EQ(d.call(AllocPages{Out{1}, {kernel_noretry}, {0}}), Ruling::fine);
  EXPECT_EQ(d.told(EventKind::reclaim_began, 0, 0, no_pfn, kernel_noretry), Ruling::fine);
  EXPECT_EQ(d.told(EventKind::reclaim_ended, 0), Ruling::fine);
  EXPECT_EQ(d.report(ReportKind::allocation_failure), Ruling::fine);
  EXPECT_EQ(d.refused(), Ruling::fine) << d.oracle.finding().detail;
  // ATOMIC goes on: Normal to 36, DMA to 24.
  d.fill(4000, 60, GFP_ATOMIC);
  d.fill(980, 20, GFP_ATOMIC);
  EXPECT_EQ(d.call(AllocPages{Out{1}, {GFP_ATOMIC}, {0}}), Ruling::fine);
  EXPECT_EQ(d.granted(4060), Ruling::broken);
  EXPECT_EQ(d.rule(), "wmark.min");
}

TEST(Allocation, ARefusalBeforeTheMarkIsSpurious) {
  Driver d;
  d.fill(1024, 2951, kernel_noretry);
  ASSERT_EQ(d.call(AllocPages{Out{1}, {GFP_NOWAIT}, {0}}), Ruling::fine);
  EXPECT_EQ(d.refused(), Ruling::broken);
  EXPECT_EQ(d.rule(), "page.fail.spurious");
}

TEST(Allocation, TheReserveOfALowerZoneIsKept) {
  Driver d;
  d.fill(1024, 2952, kernel_noretry);
  d.fill(0, 972, kernel_noretry);
  d.told(EventKind::kswapd_woken, 0);
  d.fill(3976, 24, kernel_noretry);
  d.fill(972, 8, kernel_noretry);
  ASSERT_EQ(d.call(AllocPages{Out{1}, {kernel_noretry}, {0}}), Ruling::fine);
  EXPECT_EQ(d.granted(980), Ruling::broken);
  EXPECT_EQ(d.rule(), "wmark.reserve");
}

TEST(Allocation, NowaitHasNoReserveAndMemallocEveryPage) {
  Driver d;
  d.fill(1024, 2952, kernel_noretry);
  d.fill(0, 972, kernel_noretry);
  d.told(EventKind::kswapd_woken, 0);
  d.fill(3976, 24, GFP_NOWAIT);
  d.fill(972, 8, GFP_NOWAIT);
  d.set_task_flags(machine::pf_memalloc);
  d.fill(4000, 96, GFP_KERNEL);
  d.fill(980, 44, GFP_KERNEL);
  EXPECT_EQ(d.call(AllocPages{Out{1}, {GFP_KERNEL | subject::gfp_nowarn}, {0}}), Ruling::fine);
  EXPECT_EQ(d.refused(), Ruling::fine) << d.oracle.finding().detail;
}

TEST(Allocation, TheZoneIsTheFirstThatPasses) {
  Driver d;
  ASSERT_EQ(d.call(AllocPages{Out{1}, {GFP_KERNEL}, {0}}), Ruling::fine);
  EXPECT_EQ(d.granted(0), Ruling::broken);
  EXPECT_EQ(d.rule(), "zone.preference");
}

TEST(Allocation, AZoneAboveTheFlagsIsOutOfBounds) {
  Driver d;
  d.alloc(0, 0, GFP_KERNEL | subject::gfp_dma);
  ASSERT_EQ(d.call(AllocPages{Out{1}, {GFP_KERNEL | subject::gfp_dma}, {0}}), Ruling::fine);
  EXPECT_EQ(d.granted(1024), Ruling::broken);
  EXPECT_EQ(d.rule(), "zone.bound");
}

TEST(Allocation, SmallBlockingRequestsAreNotRefused) {
  Driver d;
  d.fill(1024, 2952, kernel_noretry);
  d.fill(0, 972, kernel_noretry);
  d.told(EventKind::kswapd_woken, 0);
  d.fill(3976, 24, kernel_noretry);
  d.fill(972, 8, kernel_noretry);
  ASSERT_EQ(d.call(AllocPages{Out{1}, {subject::GFP_NOFS}, {0}}), Ruling::fine);
  EXPECT_TRUE(d.oracle.may_wait_forever(0));
  EXPECT_EQ(d.refused(), Ruling::broken);
  EXPECT_EQ(d.rule(), "page.fail.small");
}

TEST(Allocation, KswapdIsOwedBelowTheLowMark) {
  Driver d;
  d.fill(1024, 2952, kernel_noretry);
  d.fill(0, 972, kernel_noretry);
  ASSERT_EQ(d.call(AllocPages{Out{1}, {kernel_noretry}, {0}}), Ruling::fine);
  EXPECT_EQ(d.granted(3976), Ruling::broken);
  EXPECT_EQ(d.rule(), "wmark.kswapd");
}

TEST(Allocation, HighOrdersObeyThePerOrderCheck) {
  Driver d;
  for (unsigned i = 0; i != 2; ++i) d.alloc(0, 1024 + 1024 * i, kernel_noretry, 10);
  ASSERT_EQ(d.call(AllocPages{Out{1}, {kernel_noretry | subject::gfp_nowarn}, {10}}), Ruling::fine);
  EXPECT_EQ(d.granted(3072), Ruling::broken);  // 1024 - 1023 is not above any mark
  EXPECT_EQ(d.rule(), "wmark.min");
}

TEST(Allocation, BlocksAreAlignedWholeAndFree) {
  {
    Driver d;
    d.call(AllocPages{Out{1}, {GFP_KERNEL}, {2}});
    EXPECT_EQ(d.granted(1026), Ruling::broken);
    EXPECT_EQ(d.rule(), "buddy.align");
  }
  {
    Driver d;
    d.alloc(0, 1024);
    d.call(AllocPages{Out{1}, {GFP_KERNEL}, {0}});
    EXPECT_EQ(d.granted(1024), Ruling::broken);
    EXPECT_EQ(d.rule(), "page.overlap");
  }
  {
    Driver d;
    d.call(AllocPages{Out{1}, {GFP_KERNEL}, {0}});
    EXPECT_EQ(d.granted(4096), Ruling::broken);
    EXPECT_EQ(d.rule(), "page.reserved");
  }
}

TEST(Allocation, TheSmallestSufficientBlockIsCut) {
  Driver d;
  d.alloc(0, 1024);  // leaves 1025 (order 0), 1026 (order 1), ...
  d.call(AllocPages{Out{1}, {GFP_KERNEL}, {0}});
  EXPECT_EQ(d.granted(2048), Ruling::broken);
  EXPECT_EQ(d.rule(), "buddy.smallest");
}

TEST(Allocation, ZeroedMeansEveryByte) {
  Driver d;
  d.alloc(0, 1024, GFP_KERNEL | subject::gfp_zero);
  d.call(program::GetZeroedPage{Out{1}, {GFP_KERNEL}});
  EXPECT_EQ(d.granted(1025, 17), Ruling::broken);
  EXPECT_EQ(d.rule(), "gfp.zero");
}

TEST(Allocation, OrdersTooBigAreRefusedWithAWarning) {
  Driver d;
  d.call(AllocPages{Out{1}, {GFP_KERNEL}, {11}});
  EXPECT_EQ(d.report(ReportKind::order_too_big), Ruling::fine);
  EXPECT_EQ(d.refused(), Ruling::fine);
  d.call(AllocPages{Out{1}, {GFP_KERNEL | subject::gfp_nowarn}, {200}});
  EXPECT_EQ(d.refused(), Ruling::fine);
  d.call(AllocPages{Out{1}, {GFP_KERNEL}, {11}});
  EXPECT_EQ(d.refused(), Ruling::broken);
  EXPECT_EQ(d.rule(), "page.report.missing");
}

TEST(Allocation, AnInjectedFailureIsARefusalWithoutReport) {
  Driver d;
  const auto site = machine::Site("page.alloc").index();
  d.call(AllocPages{Out{1}, {GFP_KERNEL}, {0}});
  EXPECT_EQ(d.told(EventKind::faulted, 0, site), Ruling::fine);
  EXPECT_EQ(d.refused(), Ruling::fine);
  d.call(AllocPages{Out{1}, {GFP_KERNEL}, {0}});
  d.told(EventKind::faulted, 0, site);
  EXPECT_EQ(d.granted(1024), Ruling::broken);
  EXPECT_EQ(d.rule(), "fault.honoured");
}

TEST(Allocation, ADelayAndAnInterruptExcuseNothing) {
  for (const machine::Site site : {machine::Site("wake.lost"), machine::Site("irq.storm")}) {
    Driver d;
    d.call(AllocPages{Out{1}, {GFP_KERNEL}, {0}});
    EXPECT_EQ(d.told(EventKind::faulted, 0, site.index()), Ruling::fine);
    EXPECT_EQ(d.refused(), Ruling::broken);
    EXPECT_EQ(d.rule(), "page.fail.spurious");
    Driver nofail;
    nofail.call(AllocPages{Out{1}, {GFP_KERNEL | subject::gfp_nofail}, {0}});
    EXPECT_EQ(nofail.told(EventKind::faulted, 0, site.index()), Ruling::fine);
    EXPECT_EQ(nofail.granted(1024), Ruling::fine);
  }
}

TEST(Allocation, NofailIsNeverInjected) {
  Driver d;
  d.call(AllocPages{Out{1}, {GFP_KERNEL | subject::gfp_nofail}, {0}});
  EXPECT_EQ(d.told(EventKind::faulted, 0, machine::Site("page.alloc").index()), Ruling::broken);
  EXPECT_EQ(d.rule(), "fault.nofail");
}

TEST(Allocation, CrimesOfFlagsOweTheirReport) {
  struct Row {
    Op op;
    ReportKind kind;
    std::string_view crime;
    bool refused;
  };
  const Row rows[] = {
      {program::GetFreePage{Out{0}, {subject::GFP_HIGHUSER}}, ReportKind::highmem_address, "highmem-address", false},
      {program::AllocPagesExact{Out{0}, {4096}, {GFP_KERNEL | subject::gfp_comp}}, ReportKind::compound_exact,
       "compound-exact", false},
      {AllocPages{Out{0}, {GFP_KERNEL | subject::gfp_dma | subject::gfp_highmem}, {0}}, ReportKind::zone_bits,
       "zone-bits", true},
      {AllocPages{Out{0}, {GFP_KERNEL | subject::gfp_movable | subject::gfp_reclaimable}, {0}},
       ReportKind::mobility_bits, "mobility-bits", false},
  };
  for (const Row& row : rows) {
    for (const bool reported : {true, false}) {
      Driver d;
      EXPECT_EQ(d.call(row.op), Ruling::crime);
      EXPECT_EQ(d.crime(), row.crime);
      if (reported) EXPECT_EQ(d.report(row.kind), Ruling::fine);
      EXPECT_EQ(row.refused ? d.refused() : d.granted(1024), reported ? Ruling::fine : Ruling::broken);
      if (!reported) EXPECT_EQ(d.rule(), "page.report.missing");
    }
  }
}

TEST(Allocation, ExactKeepsOnlyItsPages) {
  Driver d;
  EXPECT_EQ(d.call(program::AllocPagesExact{Out{0}, {3 * 4096 - 5}, {GFP_KERNEL}}), Ruling::fine);
  EXPECT_EQ(d.granted(1024), Ruling::fine) << d.oracle.finding().detail;
  d.alloc(1, 1027);
  EXPECT_EQ(d.call(program::FreePagesExact{In{0}, {3 * 4096 - 5}}), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine);
  EXPECT_EQ(d.oracle.live_block(1024).first, no_pfn);
  EXPECT_EQ(d.oracle.live_block(1027).first, 1027u);
}

TEST(Allocation, WhatOthersTakeMeanwhileIsAnExcuse) {
  Driver d(toy(), 2);
  d.fill(1024, 2952, kernel_noretry);
  d.fill(0, 972, kernel_noretry);
  d.told(EventKind::kswapd_woken, 0);
  d.fill(3976, 24, kernel_noretry);
  d.fill(972, 7, kernel_noretry);
  // One page is left for NOWAIT; two ask at once, one is refused.
  ASSERT_EQ(d.call(AllocPages{Out{1}, {GFP_NOWAIT | subject::gfp_nowarn}, {0}}), Ruling::fine);
  d.who = 1;
  ASSERT_EQ(d.call(AllocPages{Out{2}, {GFP_NOWAIT}, {0}}), Ruling::fine);
  EXPECT_EQ(d.granted(979), Ruling::fine) << d.oracle.finding().detail;
  d.who = 0;
  EXPECT_EQ(d.refused(), Ruling::fine) << d.oracle.finding().detail;
}

TEST(Geometry, VectorsOfTheReference) {
  struct Row {
    machine::Shape shape;
    std::uint64_t min_free;
    std::vector<std::array<std::uint64_t, 3>> marks;
    std::uint64_t totalreserve;
  };
  const auto pc = [](std::uint64_t mib) {
    machine::Shape shape;
    shape.ram_bytes = mib << 20;
    shape.zone_end_bytes = {std::uint64_t{16} << 20, std::uint64_t{16} << 20, std::uint64_t{896} << 20};
    return shape;
  };
  machine::Shape big;
  big.ram_bytes = std::uint64_t{8} << 30;
  big.zone_end_bytes = {std::uint64_t{16} << 20, std::uint64_t{4} << 30, machine::zone_end_none};
  const Row rows[] = {
      {toy(), 512, {{32, 40, 48}, {96, 120, 144}}, 204},
      {pc(128), 1448, {{45, 56, 67}, {316, 395, 474}}, 653},
      {pc(512), 2896, {{22, 27, 33}, {701, 876, 1051}}, 1580},
      {pc(1024), 3831, {{17, 21, 25}, {939, 1173, 1408}, {32, 66, 100}}, 3565},
      {pc(4096), 3831, {{17, 21, 25}, {939, 1173, 1408}, {128, 982, 1836}}, 32940},
      {big, 11585, {{5, 6, 7}, {1442, 1802, 2163}, {1448, 1810, 2172}}, 12527},
  };
  for (const Row& row : rows) {
    Geometry geometry;
    geometry.build(row.shape, {});
    EXPECT_EQ(geometry.min_free_kbytes(), row.min_free);
    ASSERT_EQ(geometry.count(), row.marks.size());
    for (unsigned z = 0; z != geometry.count(); ++z) {
      EXPECT_EQ((std::array{geometry.zone(z).mark_min, geometry.zone(z).mark_low, geometry.zone(z).mark_high}),
                row.marks[z]);
    }
    EXPECT_EQ(geometry.totalreserve(), row.totalreserve);
  }
  const std::pair<std::uint64_t, unsigned> batches[] = {{4096, 0},    {16384, 3},   {28672, 7},   {65536, 15},
                                                        {126976, 31}, {131072, 31}, {225280, 31}, {1u << 20, 31}};
  for (const auto& [pages, batch] : batches) EXPECT_EQ(pcp_batch_of(pages, 4096), batch) << pages;
}

TEST(Geometry, WrongPublicationIsFoundAtOnce) {
  struct Row {
    std::string_view rule;
    void (*spoil)(subject::ZoneInfo&);
  };
  const Row rows[] = {
      {"zone.layout", [](subject::ZoneInfo& z) { ++z.start; }},
      {"zone.layout", [](subject::ZoneInfo& z) { --z.managed; }},
      {"wmark.formula", [](subject::ZoneInfo& z) { ++z.mark_low; }},
      {"wmark.formula", [](subject::ZoneInfo& z) { ++z.lowmem_reserve[3]; }},
      {"pcp.size", [](subject::ZoneInfo& z) { ++z.pcp_batch; }},
  };
  for (const Row& row : rows) {
    Driver d;
    auto zones = d.zones;
    row.spoil(zones[0]);
    EXPECT_EQ(d.oracle.begin(d.the_case, zones, d.promises), Ruling::broken);
    EXPECT_EQ(d.rule(), row.rule);
  }
}

TEST(Geometry, ATerabyteCostsWhatIsTouched) {
  machine::Shape shape = toy();
  shape.ram_bytes = machine::ram_bytes_max;
  shape.pcp_high = 0;
  shape.pcp_batch = 1;
  Driver d(shape);
  d.alloc(0, (1u << 28) - 1024, GFP_KERNEL, 10);
  d.free(0, 10);
  EXPECT_EQ(d.call(program::NrFreePages{}), Ruling::fine);
  EXPECT_EQ(d.returned(1u << 28), Ruling::fine);
}

}  // namespace
}  // namespace memtorture::oracle::test
