// The toy machine of domain.md 22.1: exact counts for whole request sequences, until the allocator refuses.
#include <gtest/gtest.h>

#include "allocator/kernel/test_rig.h"

namespace memtorture::kernel {
namespace {

using machine::no_pfn;
using machine::ZoneKind;
using namespace subject;  // GFP names

struct Served {  // runs of allocations from one zone
  std::vector<std::pair<char, unsigned>> runs;
  unsigned total = 0;
  void add(char zone) {
    if (runs.empty() || runs.back().first != zone) runs.emplace_back(zone, 0);
    ++runs.back().second;
    ++total;
  }
};

Served exhaust(Rig& rig, gfp_t gfp, unsigned order, std::uint32_t task_flags = 0) {
  Served served;
  rig.alone([&] {
    machine::current().flags |= task_flags;
    for (Pfn pfn; (pfn = rig.kernel.alloc_pages(gfp, order)) != no_pfn;)
      served.add(rig.kind_of(pfn) == ZoneKind::dma ? 'D' : 'N');
  });
  return served;
}

using Runs = std::vector<std::pair<char, unsigned>>;

TEST(ToyMachine, OrderZeroSequences) {
  constexpr struct Row {
    gfp_t gfp;
    std::uint32_t task;
    unsigned normal_left, dma_left;
  } rows[] = {
      {GFP_KERNEL | gfp_noretry, 0, 96, 44},
      {GFP_ATOMIC, 0, 36, 24},
      {GFP_KERNEL, machine::pf_memalloc, 0, 0},
      {GFP_DMA | GFP_KERNEL | gfp_noretry, 0, 3072, 32},
      {GFP_NOWAIT, 0, 96, 44},  // ruling D7: no reserve
  };
  const Runs sequences[] = {{{'N', 2952}, {'D', 972}, {'N', 24}, {'D', 8}},
                            {{'N', 2952}, {'D', 972}, {'N', 84}, {'D', 28}},
                            {{'N', 2952}, {'D', 972}, {'N', 24}, {'D', 8}, {'N', 96}, {'D', 44}},
                            {{'D', 992}},
                            {{'N', 2952}, {'D', 972}, {'N', 24}, {'D', 8}}};
  for (std::size_t i = 0; i != std::size(rows); ++i) {
    Rig rig("toy");
    EXPECT_EQ(exhaust(rig, rows[i].gfp, 0, rows[i].task).runs, sequences[i]) << "row " << i;
    EXPECT_EQ(rig.free_in(ZoneKind::normal), rows[i].normal_left) << "row " << i;
    EXPECT_EQ(rig.free_in(ZoneKind::dma), rows[i].dma_left) << "row " << i;
    EXPECT_EQ(rig.said.count(machine::ReportKind::allocation_failure), 1u) << "row " << i;
    EXPECT_EQ(rig.said.reports.size(), 1u);
  }
}

TEST(ToyMachine, HigherOrders) {
  constexpr struct {
    unsigned order;
    std::uint32_t task;
    unsigned blocks, normal_left, dma_left;
  } rows[] = {{1, 0, 1978, 96, 44},
              {3, 0, 494, 96, 48},
              {5, 0, 123, 96, 64},
              {10, 0, 2, 1024, 1024},
              {3, machine::pf_memalloc, 512, 0, 0},
              {5, machine::pf_memalloc, 128, 0, 0},
              {10, machine::pf_memalloc, 4, 0, 0}};
  for (const auto& row : rows) {
    Rig rig("toy");
    EXPECT_EQ(exhaust(rig, GFP_KERNEL | gfp_noretry, row.order, row.task).total, row.blocks) << row.order;
    EXPECT_EQ(rig.free_in(ZoneKind::normal), row.normal_left) << row.order;
    EXPECT_EQ(rig.free_in(ZoneKind::dma), row.dma_left) << row.order;
  }
}

TEST(ToyMachine, OrderElevenIsRefusedWithAWarning) {  // P-BUDDY-9
  for (const gfp_t gfp : {GFP_KERNEL, GFP_KERNEL | gfp_nofail, GFP_ATOMIC | gfp_nowarn}) {
    Rig rig("toy");
    const auto before = rig.free_set();
    EXPECT_EQ(exhaust(rig, gfp, 11).total, 0u);
    EXPECT_EQ(rig.said.count(machine::ReportKind::order_too_big), (gfp & gfp_nowarn) != 0 ? 0u : 1u);
    EXPECT_EQ(rig.said.reports.size(), rig.said.count(machine::ReportKind::order_too_big));
    EXPECT_EQ(rig.free_set(), before);
    EXPECT_EQ(rig.said.kswapd_wakes, 0u);
  }
}

TEST(ToyMachine, NomemallocKeepsAReclaimerOutOfTheReserve) {  // P-GFP-8
  Rig rig("toy");
  EXPECT_EQ(exhaust(rig, GFP_KERNEL | gfp_nomemalloc, 0, machine::pf_memalloc).total, 3956u);
}

TEST(ToyMachine, RealtimeTaskGoesAQuarterDeeper) {
  Rig rig("toy");
  exhaust(rig, GFP_KERNEL | gfp_noretry, 0, machine::pf_realtime);
  EXPECT_EQ(rig.free_in(ZoneKind::normal), 72u);
  EXPECT_EQ(rig.free_in(ZoneKind::dma), 36u);
}

}  // namespace
}  // namespace memtorture::kernel
