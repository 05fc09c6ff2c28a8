// What the page allocator knows of a slab's pages, and ksize of an address inside of an object.
//
// The layer holds frames 1024..1031 as one block.
#include "model/oracle/object_driver_test.h"

namespace memtorture::oracle::test {
namespace {

constexpr machine::Pfn slab_first = 1024;

machine::Shape checked() {
  machine::Shape shape = toy_with_objects();
  shape.slab_debug = machine::debug_sanity;
  return shape;
}

TEST(PagesOfSlabs, TheFirstPageIsABadOneAndTheRunEnds) {
  Objects d;
  d.object(1, 100, slab + 64);
  d.is_crime(d.call(program::FreePages{In{1}, {3}}), "foreign-free");
  EXPECT_EQ(d.report(ReportKind::bad_page, slab_first, BadPageReason::flags), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fatal);
}

TEST(PagesOfSlabs, ItWasNotNoticed) {
  Objects d;
  d.object(1, 100, slab + 64);
  d.is_crime(d.call(program::FreePageOf{In{1}}), "foreign-free");
  d.breaks(d.returned(), "page.report.missing");
}

TEST(PagesOfSlabs, AnInnerPageHasNoReference) {
  Objects d;
  d.object(1, 100, slab + page);
  d.is_crime(d.call(program::FreePage{In{1}}), "interior-free");
  EXPECT_EQ(d.report(ReportKind::bad_page, slab_first + 1, BadPageReason::refcount), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine);
  d.freed(1);
}

TEST(PagesOfSlabs, AreasOfBucketsSayNothing) {
  machine::Shape shape = toy();
  shape.objects = machine::ObjectLayer::k12;
  Objects d(shape);
  d.object(1, 100, slab + 24);
  d.is_fatal(d.call(program::FreePages{In{1}, {3}}), "foreign-free");
}

TEST(PagesOfSlabs, WhileAnObjectIsOnItsWayNothingIsKnown) {
  Objects d(toy_with_objects(), 2);
  d.object(1, 100, slab + 64);
  d.who = 1;
  EXPECT_EQ(d.call(program::Kmalloc{Out{2}, {100}, {GFP_KERNEL}}), Ruling::fine);
  d.who = 0;
  d.is_fatal(d.call(program::FreePages{In{1}, {3}}), "foreign-free");
}

TEST(KsizeInside, ChecksKnowWhereObjectsStart) {
  for (const std::uint64_t told : {0, 128}) {
    Objects d(checked());
    d.object(1, 100, slab + 64);
    d.is_crime(d.call(program::Ksize{In{1, 8}}), "object-invalid-free");
    EXPECT_EQ(d.report(ReportKind::object_invalid_free, slab_first), Ruling::fine);
    EXPECT_EQ(d.returned(told), told == 0 ? Ruling::fine : Ruling::broken);
    EXPECT_EQ(d.rule(), told == 0 ? "" : "object.size");
  }
}

TEST(KsizeInside, WithoutChecksTheObjectIsMeant) {
  for (const std::uint64_t told : {128, 64}) {
    Objects d;
    d.object(1, 100, slab + 128);
    EXPECT_EQ(d.call(program::Ksize{In{1, 8}}), Ruling::fine);
    EXPECT_EQ(d.returned(told), told == 128 ? Ruling::fine : Ruling::broken);
    EXPECT_EQ(d.rule(), told == 128 ? "" : "object.size");
  }
}

}  // namespace
}  // namespace memtorture::oracle::test
