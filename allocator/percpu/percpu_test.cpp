// Per-CPU memory on its own: layouts, maps, population, failures, the work item, static variables. What programs see of
// it is judged by the specification; here are the numbers of the reference.
#include <gtest/gtest.h>

#include <vector>

#include "allocator/kernel/objects_rig.h"
#include "allocator/kernel/strands_rig.h"

namespace memtorture::percpu {
namespace {

using kernel::Kernel;
using machine::ReportKind;
using subject::GFP_ATOMIC;
using subject::GFP_KERNEL;

machine::Shape shape_with(unsigned cpus, std::string_view name = "flat") {
  machine::Shape shape = machine::shape_named(name).value();
  shape.cpus = static_cast<std::uint8_t>(cpus);
  shape.objects = machine::ObjectLayer::slab;
  shape.percpu = machine::Toggle::on;
  return shape;
}

class PercpuRig : public kernel::ObjectsRig {
 public:
  explicit PercpuRig(const machine::Shape& shape, std::vector<fault::Rule> rules = {})
      : ObjectsRig(shape, std::move(rules)) {
    EXPECT_TRUE(kernel.boot_percpu());
  }
  explicit PercpuRig(unsigned cpus = 2) : PercpuRig(shape_with(cpus)) {}

  struct Seen {
    subject::PercpuChunkInfo info;
    std::vector<subject::PercpuAreaInfo> areas;
  };
  std::vector<Seen> chunks() {
    std::vector<Seen> all;
    kernel.for_each_percpu_chunk(
        [](void* arg, const subject::PercpuChunkInfo& info) {
          static_cast<std::vector<Seen>*>(arg)->push_back({info, {}});
        },
        &all);
    for (Seen& seen : all) {
      kernel.for_each_percpu_area(
          seen.info.descriptor,
          [](void* arg, const subject::PercpuAreaInfo& area) {
            static_cast<std::vector<subject::PercpuAreaInfo>*>(arg)->push_back(area);
          },
          &seen.areas);
    }
    return all;
  }
  std::size_t count() { return chunks().size() - 1; }  // without the reserved one
  PercpuAllocator& percpu() { return kernel.percpu(); }
};

TEST(PercpuLayout, UnitsScaleWithTheMachine) {
  EXPECT_EQ(layout_of(shape_with(2), 40).unit_bytes, 8192U);
  EXPECT_EQ(layout_of(shape_with(2, "toy"), 40).unit_bytes, 32768U);
  EXPECT_EQ(layout_of(shape_with(2, "x86-32"), 40).unit_bytes, 65536U);
  EXPECT_EQ(layout_of(shape_with(64, "x86-64"), 40).order, 10);
  EXPECT_EQ(layout_of(shape_with(3), 40).order, 3) << "places for four units of two pages";
  machine::Shape small = shape_with(4);
  small.orders = 2;
  EXPECT_EQ(layout_of(small, 40).unit_bytes, 0U) << "no block holds four pages";
}

TEST(Percpu, TheFirstChunkHasThreeAreas) {
  PercpuRig rig(2);
  const auto chunks = rig.chunks();
  ASSERT_EQ(chunks.size(), 2U);
  const auto layout = rig.kernel.percpu_layout();
  EXPECT_EQ(layout.unit_bytes, 8192U);
  EXPECT_EQ(layout.static_bytes, sizeof(KernelSection));
  EXPECT_EQ(layout.reserved_bytes, 1024U);
  EXPECT_EQ(chunks[0].info.role, subject::PercpuRole::first);
  EXPECT_EQ(chunks[1].info.role, subject::PercpuRole::reserved);
  EXPECT_EQ(chunks[0].info.first, chunks[1].info.first);
  EXPECT_EQ(chunks[0].areas[0].bytes, layout.static_bytes + 1024);
  EXPECT_EQ(chunks[1].areas[1].bytes, 1024U);
  for (unsigned cpu = 0; cpu != 2; ++cpu)
    for (unsigned page = 0; page != 2; ++page) EXPECT_TRUE(rig.kernel.populated(chunks[0].info.descriptor, cpu, page));
}

TEST(Percpu, CopiesAreApartZeroedAndAligned) {
  PercpuRig rig(4);
  rig.alone([&] {
    const auto p = rig.kernel.alloc_percpu(24, 8), q = rig.kernel.alloc_percpu(1, 1);
    ASSERT_NE(p, 0U);
    ASSERT_NE(q, 0U);
    const std::uint64_t unit = rig.kernel.percpu_layout().unit_bytes;
    for (unsigned cpu = 0; cpu != 4; ++cpu) {
      EXPECT_EQ(rig.kernel.per_cpu_ptr(p, cpu), rig.kernel.per_cpu_ptr(p, 0) + cpu * unit);
      EXPECT_EQ(rig.kernel.per_cpu_ptr(p, cpu) % 8, 0U);
      for (unsigned i = 0; i != 24; ++i) EXPECT_EQ(*rig.percpu().at(rig.kernel.per_cpu_ptr(p, cpu) + i), std::byte{0});
    }
    EXPECT_GE(q, p + 24);
    rig.kernel.free_percpu(p);
    rig.kernel.free_percpu(q);
    rig.kernel.free_percpu(0);
  });
  EXPECT_EQ(rig.said.reports.size(), 0U);
  EXPECT_EQ(rig.chunks()[0].areas.size(), 2U) << "merged";
}

TEST(Percpu, WhatIsNoSizeIsReported) {
  PercpuRig rig(1);
  rig.alone([&] {
    EXPECT_EQ(rig.kernel.alloc_percpu(0, 1), 0U);
    EXPECT_EQ(rig.kernel.alloc_percpu(8193, 1), 0U);
    EXPECT_EQ(rig.kernel.alloc_percpu(8, 8192), 0U);
    EXPECT_EQ(rig.kernel.alloc_percpu(8, 0), 0U);
    EXPECT_EQ(rig.kernel.alloc_percpu(8, 12), 0U);
  });
  EXPECT_EQ(rig.said.count(ReportKind::percpu_illegal), 5U);
}

TEST(Percpu, ChunksComeAndGoDownToOne) {
  PercpuRig rig(2);
  const std::uint64_t before = rig.kernel.nr_free_pages();
  rig.alone([&] {
    std::vector<subject::PercpuPtr> all;
    for (unsigned i = 0; i != 4; ++i) all.push_back(rig.kernel.alloc_percpu(8192, 1));
    EXPECT_EQ(rig.count(), 5U);
    for (const auto p : all) rig.kernel.free_percpu(p);
    rig.percpu().balance();
  });
  EXPECT_EQ(rig.count(), 2U) << "the first one, and one to spare";
  rig.alone([&] { rig.kernel.drain_all_pages(); });
  EXPECT_LE(before - rig.kernel.nr_free_pages(), 4U + 2U) << "a chunk, and slabs that stayed";
}

TEST(Percpu, TheFullestChunkIsTriedFirst) {
  PercpuRig rig(1);
  rig.alone([&] {
    const auto a = rig.kernel.alloc_percpu(8000, 8), b = rig.kernel.alloc_percpu(7000, 8);
    const auto small = rig.kernel.alloc_percpu(64, 8);
    EXPECT_EQ(small, a + 8000) << "of three that have room the one with the least";
    for (const auto p : {a, b, small}) rig.kernel.free_percpu(p);
    EXPECT_EQ(rig.kernel.alloc_percpu(8192, 1) % 4096, 0U);
  });
}

TEST(Percpu, AtomicRequestsTakeWhatIsPopulated) {
  PercpuRig rig(1);
  rig.alone([&] {
    const auto chunk = rig.kernel.alloc_percpu(4096, 1);  // one page of the first chunk, or one of a later one
    ASSERT_NE(chunk, 0U);
    unsigned got = 0;
    while (rig.kernel.alloc_percpu_gfp(512, 8, GFP_ATOMIC) != 0) ++got;
    EXPECT_LT(got, 24U);
    EXPECT_EQ(rig.said.sleeps, 0U);
    EXPECT_TRUE(rig.percpu().work_pending()) << "a failed one asks for more";
    rig.percpu().balance();
    EXPECT_NE(rig.kernel.alloc_percpu_gfp(512, 8, GFP_ATOMIC), 0U);
  });
  EXPECT_EQ(rig.said.reports.size(), 0U) << "an atomic failure is not told";
}

TEST(Percpu, EveryStepOfAChunkCanFail) {
  for (const machine::Site site : {machine::Site("percpu.chunk"), machine::Site("page.alloc"),
                                   machine::Site("slab.alloc"), machine::Site("percpu.populate")}) {
    PercpuRig rig(shape_with(2), {{.site = site, .times = 1}});
    rig.alone([&] {
      EXPECT_EQ(rig.kernel.alloc_percpu(8192, 1), 0U) << site.name();
      EXPECT_NE(rig.kernel.alloc_percpu(8192, 1), 0U) << site.name() << ": the mutex is free, and it goes on";
    });
    EXPECT_EQ(rig.said.count(ReportKind::percpu_failed), 1U) << site.name();
  }
}

TEST(Percpu, PopulationIsForAllCpusOrNone) {
  PercpuRig rig(shape_with(4), {{.site = "percpu.populate", .interval = 3, .times = 1}});
  rig.alone([&] { EXPECT_EQ(rig.kernel.alloc_percpu(8192, 1), 0U); });
  for (const auto& chunk : rig.chunks()) {
    if (chunk.info.role != subject::PercpuRole::later) continue;
    EXPECT_EQ(chunk.areas.size(), 1U) << "the area went back";
    for (unsigned cpu = 0; cpu != 4; ++cpu) EXPECT_FALSE(rig.kernel.populated(chunk.info.descriptor, cpu, 0)) << cpu;
  }
}

TEST(Percpu, MapsGrow) {
  PercpuRig rig(1);
  std::vector<subject::PercpuPtr> all;
  rig.alone([&] {
    for (unsigned i = 0; i != 300; ++i) all.push_back(rig.kernel.alloc_percpu(4, 4));
    for (unsigned i = 0; i != 300; i += 2) rig.kernel.free_percpu(all[i]);
  });
  const auto chunks = rig.chunks();
  EXPECT_GE(chunks[0].info.map_alloc, 300U);
  EXPECT_LE(chunks[0].info.map_used, chunks[0].info.map_alloc);
  PercpuRig failing(shape_with(1), {{.site = "percpu.map", .times = 1}});
  failing.alone([&] {
    unsigned refused = 0;
    for (unsigned i = 0; i != 300; ++i) refused += failing.kernel.alloc_percpu(4, 4) == 0 ? 1 : 0;
    EXPECT_EQ(refused, 1U);
  });
}

// What a chunk says of its longest free area may be too much, never too little: else it would not be asked any more.
TEST(Percpu, WhatCameBackIsFoundAgain) {
  PercpuRig rig(1);
  rig.alone([&] {
    const auto a = rig.kernel.alloc_percpu(4000, 8), b = rig.kernel.alloc_percpu(3000, 8);
    EXPECT_NE(rig.kernel.alloc_percpu(6000, 8), 0U) << "too long for the first chunk, which has noted that";
    rig.kernel.free_percpu(a);
    EXPECT_EQ(rig.kernel.alloc_percpu(3900, 8), a);
    rig.kernel.free_percpu(a);
    rig.kernel.free_percpu(b);
    EXPECT_EQ(rig.kernel.alloc_percpu(7000, 8), a) << "merged";
  });
  EXPECT_EQ(rig.count(), 2U);
}

TEST(Percpu, AtomicRequestsLeaveFullMapsToTheWorkItem) {
  PercpuRig rig(1);
  rig.alone([&] {
    unsigned got = 0;
    while (rig.kernel.alloc_percpu_gfp(4, 4, GFP_ATOMIC) != 0) ++got;
    EXPECT_LE(got, map_default);
    EXPECT_EQ(rig.chunks()[0].info.map_alloc, map_default);
    rig.percpu().balance();
    EXPECT_EQ(rig.chunks()[0].info.map_alloc, 2 * map_default);
    EXPECT_NE(rig.kernel.alloc_percpu_gfp(4, 4, GFP_ATOMIC), 0U);
  });
  EXPECT_EQ(rig.said.sleeps, 0U);
}

TEST(Percpu, TheReserveIsKept) {
  PercpuRig rig(shape_with(1, "toy"));  // units of eight pages
  rig.alone([&] {
    const auto all = rig.kernel.alloc_percpu(32768, 1);
    EXPECT_NE(all, 0U);
    std::vector<subject::PercpuPtr> pages;
    while (rig.percpu().empty_pages() >= empty_pages_low)
      pages.push_back(rig.kernel.alloc_percpu_gfp(4096, 1, GFP_ATOMIC));
    rig.kernel.free_percpu(all);
    const auto some = rig.kernel.alloc_percpu(20000, 8);
    EXPECT_NE(some, 0U);
    rig.percpu().balance();
    EXPECT_GE(rig.percpu().empty_pages(), empty_pages_low);
  });
}

TEST(Percpu, FailuresAreToldTenTimes) {
  PercpuRig rig(shape_with(1), {{.site = "percpu.chunk"}});
  rig.alone([&] {
    for (unsigned i = 0; i != 15; ++i) EXPECT_EQ(rig.kernel.alloc_percpu(8192, 1), 0U);
    EXPECT_EQ(rig.kernel.alloc_percpu_gfp(8192, 1, GFP_KERNEL | subject::gfp_nowarn), 0U);
  });
  EXPECT_EQ(rig.said.count(ReportKind::percpu_failed), 10U);
  EXPECT_EQ(rig.said.count(ReportKind::percpu_limit), 1U);
}

TEST(Percpu, ModulesHaveTheReservedArea) {
  PercpuRig rig(2);
  rig.alone([&] {
    const auto a = rig.kernel.alloc_reserved_percpu(1000, 8);
    EXPECT_EQ(a, rig.kernel.percpu_layout().static_cookie + sizeof(KernelSection));
    EXPECT_EQ(rig.kernel.alloc_reserved_percpu(100, 8), 0U) << "exhausted, and no other place will do";
    rig.kernel.free_percpu(a);
    EXPECT_EQ(rig.kernel.alloc_reserved_percpu(1024, 8), a);
  });
  EXPECT_EQ(rig.said.count(ReportKind::percpu_failed), 1U);
}

TEST(Percpu, WhatIsNoAreaIsNotFreed) {
  PercpuRig rig(1);
  rig.alone([&] {
    const auto p = rig.kernel.alloc_percpu(64, 8);
    for (const auto bad : {p + 8, p - 8, rig.kernel.percpu_layout().static_cookie, subject::PercpuPtr{12345}})
      rig.kernel.free_percpu(bad);
    EXPECT_EQ(rig.said.count(ReportKind::percpu_bad_free), 4U);
    rig.kernel.free_percpu(p);
    rig.kernel.free_percpu(p);
    EXPECT_EQ(rig.said.count(ReportKind::percpu_bad_free), 5U);
  });
}

// --- static variables
// --------------------------------------------------------------------------------------------------

struct Section {
  DEFINE_PER_CPU(std::uint64_t, packets) = 5;
  DEFINE_PER_CPU(int, depth) = -1;
};
DECLARE_PER_CPU(Section, packets);
DECLARE_PER_CPU(Section, depth);

TEST(PercpuStatic, EveryCpuBeginsWithTheInitialiser) {
  kernel::ObjectsRig rig(shape_with(3));
  rig.alone([&] {
    PercpuAllocator& percpu = rig.kernel.percpu();
    ASSERT_TRUE(percpu.boot(Section{}));
    for (unsigned cpu = 0; cpu != 3; ++cpu) {
      EXPECT_EQ(per_cpu(percpu, packets, cpu), 5U);
      EXPECT_EQ(per_cpu(percpu, depth, cpu), -1);
    }
    ++get_cpu_var(percpu, packets);
    EXPECT_TRUE(machine::in_atomic());
    put_cpu_var(percpu, packets);
    EXPECT_FALSE(machine::in_atomic());
    EXPECT_EQ(per_cpu(percpu, packets, 0), 6U);
    EXPECT_EQ(per_cpu(percpu, packets, 1), 5U);
    EXPECT_EQ(rig.said.reports.size(), 0U);
    EXPECT_EQ(__get_cpu_var(percpu, depth), -1);
    EXPECT_EQ(rig.said.count(ReportKind::processor_id), 1U) << "preemption was on";
    machine::Pinned pinned;
    percpu.variable(per_cpu_var__depth)[pinned] = 4;
    EXPECT_EQ(per_cpu(percpu, depth, 0), 4);
  });
}

// The old form: right with get_cpu, and only then.
TEST(PercpuStatic, TheArrayOfOldKernels) {
  kernel::ObjectsRig rig(shape_with(2));
  rig.alone([&] {
    std::array<int, 2> a{};
    const unsigned cpu = get_cpu();
    ++a[cpu];
    put_cpu();
    EXPECT_EQ(a[0] + a[1], 1);
  });
}

}  // namespace
}  // namespace memtorture::percpu
