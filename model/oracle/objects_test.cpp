// kmalloc and buckets: every rule and crime of the facet, each by the shortest history that earns it.
#include "model/oracle/object_driver_test.h"

namespace memtorture::oracle::test {
namespace {

// --- kmalloc

TEST(Objects, ComeAndGo) {
  Objects d;
  d.object(0, 100, slab);
  d.object(1, 100, slab + 128);
  d.freed(0);
  d.object(2, 128, slab);
  d.freed(1);
  d.freed(2);
  EXPECT_EQ(d.oracle.end(), Ruling::fine);
}

TEST(Objects, OfNothingHaveNoAddress) {
  Objects d;
  d.object(0, 0, zero_size_ptr);
  d.freed(0);
  d.freed(0);  // as often as one likes
  d.breaks(d.kmalloc(1, 0, slab), "object.null");
}

TEST(Objects, TooLargeOnesDoNotExist) {
  Objects d;
  EXPECT_EQ(d.kmalloc(0, (std::uint64_t{4} << 20) + 1, 0), Ruling::fine);
  d.breaks(d.kmalloc(0, (std::uint64_t{4} << 20) + 1, slab), "object.null");
}

TEST(Objects, AnArrayThatOverflowsDoesNotExist) {
  Objects d;
  const program::Kcalloc op{Out{0}, {0x8000'0000}, {std::uint64_t{1} << 33}, {GFP_KERNEL}};
  EXPECT_EQ(d.call(op), Ruling::fine);
  EXPECT_EQ(d.got(0), Ruling::fine);
  EXPECT_EQ(d.call(op), Ruling::fine);
  d.breaks(d.got(slab), "object.null");
}

TEST(Objects, DoNotOverlap) {
  Objects d;
  d.object(0, 100, slab);  // has 128 bytes
  d.breaks(d.kmalloc(1, 32, slab + 96), "object.overlap");
}

TEST(Objects, LieInTheLayersPages) {
  for (const std::uint64_t address :
       {base + 2000 * page, slab + 8 * page - 64, std::uint64_t{64}, base + 5000 * page}) {
    Objects d;
    d.breaks(d.kmalloc(0, 128, address), "object.place");
  }
}

TEST(Objects, AreAligned) {
  Objects d;
  d.breaks(d.kmalloc(0, 64, slab + 32), "object.align");
}

TEST(Objects, OfACacheAreAlignedAsAsked) {
  Objects d;
  d.cache(1, 100, slab, 256);
  EXPECT_EQ(d.alloc_of(2, 1, slab + 1024), Ruling::fine) << d.why();
  d.breaks(d.alloc_of(3, 1, slab + 2048 + 128), "object.align");
}

TEST(Objects, ForDmaLieInDma) {
  Objects d;
  EXPECT_EQ(d.call(program::Kmalloc{Out{0}, {64}, {GFP_KERNEL | subject::gfp_dma}}), Ruling::fine);
  d.take(0, 0, GFP_KERNEL | subject::gfp_dma);
  EXPECT_EQ(d.got(dma_slab), Ruling::fine) << d.why();
  d.breaks(d.kmalloc(1, 64, slab, GFP_KERNEL | subject::gfp_dma), "object.zone");
}

TEST(Objects, LieOnTheirNode) {
  machine::Shape shape = toy_with_objects();
  shape.nodes = 2;
  shape.cpus = 2;
  Driver two(shape);
  EXPECT_EQ(two.call(program::KmallocNode{Out{0}, {64}, {GFP_ATOMIC | subject::gfp_thisnode}, {1}}), Ruling::fine);
  Event e = two.event(EventKind::layer_requests);
  e.gfp = GFP_ATOMIC;
  e.value = 0;
  EXPECT_EQ(two.oracle.on(e), Ruling::fine);
  e = two.event(EventKind::layer_granted);
  e.pfn = 1024;
  EXPECT_EQ(two.oracle.on(e), Ruling::fine) << two.oracle.finding().detail;
  e = two.event(EventKind::result);
  e.value = slab;
  e.value2 = as_it_should_be;
  e.pfn = 1024;
  EXPECT_EQ(two.oracle.on(e), Ruling::broken);
  EXPECT_EQ(two.rule(), "object.node");
}

TEST(Objects, AreZeroedWhenAsked) {
  Objects d;
  EXPECT_EQ(d.call(program::Kzalloc{Out{0}, {100}, {GFP_KERNEL}}), Ruling::fine);
  d.breaks(d.got(slab, 17), "object.zero");
}

TEST(Objects, AreRefusedOnlyForWantOfPages) {
  Objects d;
  EXPECT_EQ(d.call(program::Kmalloc{Out{0}, {64}, {GFP_ATOMIC}}), Ruling::fine);
  EXPECT_EQ(d.told(EventKind::faulted, 0, machine::Site("slab.alloc").index()), Ruling::fine);
  EXPECT_EQ(d.got(0), Ruling::fine) << d.why();
  d.breaks(d.kmalloc(0, 64, 0, GFP_ATOMIC), "object.fail");
}

TEST(Objects, AnInjectedFailureRefuses) {
  Objects d;
  EXPECT_EQ(d.call(program::Kmalloc{Out{0}, {64}, {GFP_ATOMIC}}), Ruling::fine);
  EXPECT_EQ(d.told(EventKind::faulted, 0, machine::Site("slab.alloc").index()), Ruling::fine);
  d.breaks(d.got(slab), "fault.honoured");
}

TEST(Objects, ThatMustNotFailAreNotInjected) {
  Objects d;
  EXPECT_EQ(d.call(program::Kmalloc{Out{0}, {64}, {GFP_KERNEL | subject::gfp_nofail}}), Ruling::fine);
  d.breaks(d.told(EventKind::faulted, 0, machine::Site("slab.alloc").index()), "fault.nofail");
}

TEST(Objects, TellTheirSize) {
  Objects d;
  d.object(0, 130, slab);  // the class of 192
  EXPECT_EQ(d.call(program::Ksize{In{0}}), Ruling::fine);
  EXPECT_EQ(d.returned(192), Ruling::fine) << d.why();
  EXPECT_EQ(d.call(program::Ksize{In{0}}), Ruling::fine);
  d.breaks(d.returned(256), "object.size");
}

TEST(Objects, KeepTheirContents) {
  Objects d;
  d.object(0, 100, slab);
  EXPECT_EQ(d.contents(slab, -1), Ruling::fine);
  d.breaks(d.contents(slab, 5), "object.content");
}

TEST(Objects, MoveOnlyWhenTheyAreTooSmall) {
  Objects d;
  d.object(0, 100, slab);
  EXPECT_EQ(d.call(program::Krealloc{Out{1}, In{0}, {128}, {GFP_KERNEL}}), Ruling::fine);
  EXPECT_EQ(d.got(slab), Ruling::fine) << d.why();
  EXPECT_EQ(d.call(program::Krealloc{Out{2}, In{1}, {200}, {GFP_KERNEL}}), Ruling::fine);
  EXPECT_EQ(d.got(slab + 1024), Ruling::fine) << d.why();
  d.object(3, 100, slab);  // the old place is free
  EXPECT_EQ(d.call(program::Krealloc{Out{2}, In{2}, {20}, {GFP_KERNEL}}), Ruling::fine);
  d.breaks(d.got(slab + 2048), "object.realloc");
}

TEST(Objects, GrowingInPlaceIsNotBelieved) {
  Objects d;
  d.object(0, 100, slab);
  EXPECT_EQ(d.call(program::Krealloc{Out{0}, In{0}, {129}, {GFP_KERNEL}}), Ruling::fine);
  d.breaks(d.got(slab), "object.realloc");
}

TEST(Objects, StayWhenThereIsNoLargerOne) {
  Objects d;
  d.object(0, 100, slab);
  EXPECT_EQ(d.call(program::Krealloc{Out{1}, In{0}, {200}, {GFP_ATOMIC}}), Ruling::fine);
  EXPECT_EQ(d.told(EventKind::faulted, 0, machine::Site("slab.alloc").index()), Ruling::fine);
  EXPECT_EQ(d.got(0), Ruling::fine) << d.why();
  d.breaks(d.kmalloc(2, 100, slab), "object.overlap");
}

TEST(Objects, TheirPagesStay) {
  Objects d;
  d.object(0, 100, slab + 5 * page);
  EXPECT_EQ(d.call(program::Kfree{In{60}}), Ruling::fine);
  d.breaks(d.gives_back(1024, 3), "object.page");
}

TEST(Objects, WhatIsLiveAtTheEndIsLost) {
  Objects d;
  d.object(0, 100, slab);
  EXPECT_EQ(d.oracle.end(), Ruling::crime);
  EXPECT_EQ(d.crime(), "leak");
}

TEST(Objects, ForgettingOneIsALeak) {
  Objects d;
  d.object(0, 100, slab);
  d.is_crime(d.call(program::Forget{In{0}}), "leak");
}

// --- crimes

TEST(ObjectCrimes, FreedTwice) {
  Objects d;
  d.object(0, 100, slab);
  d.freed(0);
  d.is_fatal(d.kfree(0), "object-double-free");
}

TEST(ObjectCrimes, FreedUnderAnotherNameBefore) {
  Objects d;
  d.object(0, 100, slab);
  d.freed(0);
  d.object(1, 100, slab);
  d.is_fatal(d.kfree(0), "object-double-free");
}

TEST(ObjectCrimes, FreedInTheMiddle) {
  Objects d;
  d.object(0, 100, slab);
  d.is_fatal(d.kfree(0, 8), "object-invalid-free");
}

TEST(ObjectCrimes, FreedThoughItIsAPage) {
  Objects d;
  d.alloc(0, 1032);
  d.is_crime(d.kfree(0), "object-invalid-free");
  EXPECT_EQ(d.report(ReportKind::bad_object, 1032), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
  d.is_crime(d.kfree(0), "object-invalid-free");
  d.breaks(d.returned(), "page.report.missing");
}

TEST(ObjectCrimes, ItsPagesFreed) {
  Objects d;
  d.object(0, 100, slab);
  d.is_crime(d.call(program::FreePages{In{0}, {0}}), "foreign-free");
}

// Without checks nobody sees it, and it harms nobody: a free place holds nothing of the layer's.
TEST(ObjectCrimes, UsedAfterItWasFreed) {
  for (const program::Op& op : {program::Op(program::Fill{In{0}, {1}}), program::Op(program::Ksize{In{0}}),
                                program::Op(program::Poke{In{0}, {3}, {1}}), program::Op(program::Peek{In{0}, {3}})}) {
    Objects d;
    d.object(0, 100, slab);
    d.freed(0);
    d.is_crime(d.call(op), "object-use-after-free");
    EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
  }
}

TEST(ObjectCrimes, AWriteToWhatTheLayerMayKeepEndsTheRun) {
  Objects d;
  d.object(0, 100, slab);
  d.is_fatal(d.call(program::Poke{In{0}, {5000}, {1}}), "object-write-outside");
}

TEST(ObjectCrimes, ReadBesideIt) {
  Objects d;
  d.object(0, 128, slab);
  d.is_crime(d.call(program::Peek{In{0}, {5000}}), "object-read-outside");
  EXPECT_EQ(d.returned(), Ruling::fine);
}

TEST(ObjectCrimes, WrittenBesideIt) {
  Objects d;
  d.object(0, 128, slab);
  d.object(1, 128, slab + 128);
  EXPECT_EQ(d.call(program::Poke{In{0}, {127}, {1}}), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine);
  d.is_crime(d.call(program::Poke{In{0}, {128}, {1}}), "object-write-outside");
  EXPECT_EQ(d.returned(), Ruling::fine);
  EXPECT_EQ(d.contents(slab + 128, 0), Ruling::fine);  // its owner is not to blame, nor is the subject
  EXPECT_EQ(d.call(program::Poke{In{0}, {-1}, {1}}), Ruling::fatal);
}

TEST(ObjectCrimes, WrongFlags) {
  Objects d;
  d.is_crime(d.call(program::Kmalloc{Out{0}, {64}, {GFP_KERNEL | subject::gfp_highmem}}), "slab-gfp");
  d.breaks(d.got(slab), "page.report.missing");
}

TEST(ObjectCrimes, SleepingWhereItMayNot) {
  Objects d;
  d.preempt_count = machine::preempt_offset;
  d.is_crime(d.call(program::Kmalloc{Out{0}, {64}, {GFP_KERNEL}}), "sleep-in-atomic");
  EXPECT_EQ(d.report(ReportKind::sleeping), Ruling::fine);
  EXPECT_EQ(d.got(slab), Ruling::fine) << d.why();
}

// --- buckets

machine::Shape with_buckets() {
  machine::Shape shape = toy();
  shape.objects = machine::ObjectLayer::k12;
  return shape;
}

TEST(Buckets, HaveTheirOwnSizes) {
  const std::pair<std::uint64_t, std::uint64_t> rows[] = {{0, 24},      {24, 24},         {25, 56},   {244, 244},
                                                          {4072, 4072}, {131048, 131048}, {131049, 0}};
  for (const auto& [bytes, usable] : rows) EXPECT_EQ(bucket_usable(with_buckets(), bytes), usable) << bytes;
}

TEST(Buckets, TheWrongSizeIsTold) {
  Objects d(with_buckets());
  d.object(0, 100, slab + 24);
  d.is_crime(d.call(program::KfreeS{In{0}, {99}}), "wrong-size-free");
  EXPECT_EQ(d.report(ReportKind::k12_wrong_size), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
  EXPECT_EQ(d.call(program::KfreeS{In{0}, {100}}), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
}

TEST(Buckets, ASecondFreeIsTold) {
  Objects d(with_buckets());
  d.object(0, 100, slab + 24);
  d.freed(0);
  d.is_crime(d.kfree(0), "object-double-free");
  EXPECT_EQ(d.report(ReportKind::k12_bad_free), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
  d.is_crime(d.kfree(0), "object-double-free");
  d.breaks(d.returned(), "page.report.missing");
}

}  // namespace
}  // namespace memtorture::oracle::test
