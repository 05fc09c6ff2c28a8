// Cpusets: which node serves whom, what is reclaimed, who is woken (domain.md 3.5, 5.6, 9.1).
//
// Two nodes of 64 pages with marks 16/20/24, one CPU on node 0. Home, the cpuset, is node 1.
#include <gtest/gtest.h>

#include "allocator/kernel/test_rig.h"

namespace memtorture::kernel {
namespace {

using machine::no_pfn;
using namespace subject;  // GFP names

constexpr machine::NodeSet home = 2;
constexpr Pfn home_start = 64;

machine::Shape two_nodes() {
  machine::Shape shape = machine::shape_named("flat").value();
  shape.ram_bytes = 512 << 10;
  shape.nodes = 2;
  shape.min_free_kbytes = 128;
  return shape;
}

std::uint64_t free_on(Rig& rig, unsigned node) {
  std::uint64_t pages = 0;
  for (const auto& zone : rig.kernel.zones()) pages += zone.node == node ? zone.nr_free_pages : 0;
  return pages;
}

// Pages in the order in which nodes gave them, until the request is refused: h(ome) and e(lsewhere).
using Runs = std::vector<std::pair<char, unsigned>>;
Runs exhaust(Rig& rig, gfp_t gfp) {
  Runs runs;
  for (Pfn pfn; (pfn = rig.kernel.alloc_pages(gfp | gfp_nowarn, 0)) != no_pfn;) {
    const char node = pfn >= home_start ? 'h' : 'e';
    if (runs.empty() || runs.back().first != node) runs.emplace_back(node, 0);
    ++runs.back().second;
  }
  return runs;
}

TEST(Cpuset, WhoGetsWhat) {
  struct Row {
    gfp_t gfp;
    std::uint32_t task;
    Runs served;
  };
  const Row rows[] = {
      {GFP_KERNEL | gfp_noretry, 0, {{'h', 44}, {'e', 48}, {'h', 4}}},
      {GFP_NOIO | gfp_noretry, 0, {{'h', 44}, {'e', 48}, {'h', 4}}},
      {GFP_USER | gfp_noretry, 0, {{'h', 48}}},
      {GFP_NOWAIT, 0, {{'h', 44}, {'e', 48}, {'h', 4}}},
      {GFP_NOWAIT | gfp_hardwall, 0, {{'h', 44}, {'e', 48}, {'h', 4}}},
      {GFP_ATOMIC | gfp_hardwall, 0, {{'h', 44}, {'e', 58}, {'h', 14}}},
      {GFP_USER, machine::pf_memalloc, {{'h', 48}, {'e', 64}, {'h', 16}}},
      {GFP_USER | gfp_nomemalloc, machine::pf_memalloc, {{'h', 48}}},
      {GFP_USER, machine::tif_memdie, {{'h', 44}, {'e', 48}, {'h', 4}, {'e', 16}, {'h', 16}}},
      {GFP_USER | gfp_nomemalloc, machine::tif_memdie, {{'h', 44}, {'e', 48}, {'h', 4}}},
      {gfp_hardwall | gfp_thisnode, 0, {{'e', 48}}},
      {GFP_USER | GFP_THISNODE, 0, {{'e', 44}}},
  };
  for (const Row& row : rows) {
    Rig rig(two_nodes());
    rig.alone([&] {
      EXPECT_TRUE(rig.kernel.set_mems_allowed(home));
      machine::current().flags |= row.task;
      EXPECT_EQ(exhaust(rig, row.gfp), row.served) << std::hex << row.gfp << " " << row.task;
    });
  }
}

TEST(Cpuset, InterruptsAreNotBound) {
  Rig rig(two_nodes());
  rig.alone([&] {
    EXPECT_TRUE(rig.kernel.set_mems_allowed(home));
    machine::local_bh_disable();
    EXPECT_LT(rig.kernel.alloc_pages(GFP_ATOMIC, 0), home_start);
    machine::local_bh_enable();
    EXPECT_GE(rig.kernel.alloc_pages(GFP_ATOMIC, 0), home_start);
  });
}

TEST(Cpuset, SetsWithoutAnExistingNodeAreRefused) {
  Rig rig(two_nodes());
  rig.alone([&] {
    EXPECT_TRUE(rig.kernel.set_mems_allowed(home | 0x40));
    EXPECT_FALSE(rig.kernel.set_mems_allowed(0));
    EXPECT_FALSE(rig.kernel.set_mems_allowed(0xfc));
    EXPECT_GE(rig.kernel.alloc_pages(GFP_KERNEL, 0), home_start);
    EXPECT_TRUE(rig.kernel.set_mems_allowed(3));
    EXPECT_EQ(machine::current().mems_allowed, machine::all_nodes) << "and nothing is asked any more";
    EXPECT_TRUE(rig.kernel.set_mems_allowed(home));
  });
  rig.alone([&] { EXPECT_LT(rig.kernel.alloc_pages(GFP_KERNEL, 0), home_start) << "a new task"; });
}

TEST(Cpuset, ReclaimTakesPagesAtHome) {
  struct Row {
    int nid;
    gfp_t gfp;
    bool frees;
  };
  const Row rows[] = {{-1, GFP_USER, true},
                      {-1, GFP_KERNEL, true},
                      {0, GFP_KERNEL | gfp_thisnode, false},
                      {1, GFP_KERNEL | gfp_thisnode, true}};
  for (const Row& row : rows) {
    Rig rig(two_nodes());
    rig.alone([&] {
      rig.kernel.client_add(ClientKind::clean, 200, GFP_ATOMIC | gfp_nowarn);
      EXPECT_TRUE(rig.kernel.set_mems_allowed(home));
      const std::uint64_t elsewhere = free_on(rig, 0);
      rig.said.nodes_woken = 0;
      const Pfn pfn = rig.kernel.alloc_pages_node(row.nid, row.gfp | gfp_noretry, 0);
      EXPECT_EQ(pfn != no_pfn, row.frees);
      EXPECT_EQ(free_on(rig, 0), elsewhere);
      EXPECT_EQ(rig.said.nodes_woken, row.nid == 0 ? 0u : unsigned{home});
    });
    EXPECT_EQ(rig.said.reclaimed, row.frees ? 32u : 0u);
  }
}

// 9.4: nothing can come of it, so nobody is killed for it, and not even __GFP_NOFAIL waits.
TEST(Cpuset, WithoutAnyOfTheZonesARequestIsRefusedAtOnce) {
  machine::Shape shape = machine::shape_named("toy").value();
  shape.nodes = 2;  // all DMA memory is on node 0
  Rig rig(shape);
  rig.alone([&] {
    EXPECT_TRUE(rig.kernel.set_mems_allowed(home));
    EXPECT_EQ(rig.kernel.alloc_pages(GFP_USER | gfp_dma, 0), no_pfn);
    EXPECT_EQ(rig.kernel.alloc_pages(GFP_USER | gfp_dma | gfp_nofail, 0), no_pfn);
    EXPECT_NE(rig.kernel.alloc_pages(GFP_KERNEL | gfp_dma, 0), no_pfn);
    EXPECT_NE(rig.kernel.alloc_pages(GFP_ATOMIC | gfp_dma, 0), no_pfn);
    machine::current().flags |= machine::pf_memalloc;
    EXPECT_NE(rig.kernel.alloc_pages(GFP_USER | gfp_dma, 0), no_pfn);
  });
  EXPECT_TRUE(rig.said.reclaims.empty());
  EXPECT_EQ(rig.said.nodes_woken, 0u);
}

}  // namespace
}  // namespace memtorture::kernel
