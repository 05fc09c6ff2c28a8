// Accesses to blocks of pages that the subject is shown (slab_debug=K).
//
// The layer holds frames 1024..1031 as one block; programs get what follows.
#include "model/oracle/object_driver_test.h"

namespace memtorture::oracle::test {
namespace {

constexpr machine::Pfn slab_first = 1024, mine = 1032;

machine::Shape watched() {
  machine::Shape shape = toy_with_objects();
  shape.slab_debug = machine::debug_shadow;
  return shape;
}

class Watched : public Objects {
 public:
  explicit Watched(machine::Shape shape = watched(), std::size_t programs = 1) : Objects(shape, programs) {
    if (shape.slab_debug != 0) oracle.begin_watching();
  }
  void freed_block(std::uint16_t slot, unsigned order = 0) {
    alloc(slot, mine, GFP_KERNEL, order);
    free(slot, order);
  }
  Ruling poke(std::uint16_t slot, std::int64_t at, std::uint8_t byte = 0x41) {
    return call(program::Poke{In{slot}, {at}, {byte}});
  }
  Ruling peek(std::uint16_t slot, std::int64_t at) { return call(program::Peek{In{slot}, {at}}); }
  // One report of that kind settles it; none, or another one, is a finding.
  void owes(ReportKind kind) {
    EXPECT_EQ(report(kind, mine), Ruling::fine) << why();
    EXPECT_EQ(returned(), Ruling::fine) << why();
  }
};

TEST(WatchedPages, OnesOwnBlockOwesNothing) {
  Watched d;
  d.alloc(1, mine, GFP_KERNEL, 1);
  EXPECT_EQ(d.poke(1, 8191), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine);
  EXPECT_EQ(d.peek(1, 0), Ruling::fine);
  EXPECT_EQ(d.report(ReportKind::use_after_free, mine), Ruling::broken);
  EXPECT_EQ(d.rule(), "page.report.spurious");
}

TEST(WatchedPages, AFreedBlockIsWritten) {
  Watched d;
  d.freed_block(1);
  d.is_crime(d.poke(1, 100), "use-after-free-write");
  d.owes(ReportKind::use_after_free);
  d.alloc(2, mine);  // nobody poisons free pages here
}

TEST(WatchedPages, AFreedBlockIsRead) {
  Watched d;
  d.freed_block(1);
  d.is_crime(d.peek(1, 100), "use-after-free-read");
  d.owes(ReportKind::use_after_free);
}

TEST(WatchedPages, TheReportIsMissing) {
  Watched d;
  d.freed_block(1);
  d.is_crime(d.peek(1, 100), "use-after-free-read");
  d.breaks(d.returned(), "page.report.missing");
}

TEST(WatchedPages, OneReportForAWholeBlock) {
  Watched d;
  d.freed_block(1, 2);
  d.is_crime(d.call(program::Fill{In{1}, {0x5a}}), "use-after-free-write");
  EXPECT_EQ(d.report(ReportKind::use_after_free, mine), Ruling::fine);
  d.breaks(d.report(ReportKind::use_after_free, mine + 1), "page.report.spurious");
}

TEST(WatchedPages, PoisonIsOwedAsWell) {
  machine::Shape shape = watched();
  shape.poison = machine::Toggle::on;
  for (const bool told : {true, false}) {
    Watched d(shape);
    d.freed_block(1);
    d.is_crime(d.poke(1, 100), "use-after-free-write");
    d.owes(ReportKind::use_after_free);
    EXPECT_EQ(d.call(program::AllocPages{Out{2}, {GFP_KERNEL}, {0}}), Ruling::fine);
    if (told) EXPECT_EQ(d.report(ReportKind::poison, mine), Ruling::fine);
    EXPECT_EQ(d.granted(mine), told ? Ruling::fine : Ruling::broken);
    EXPECT_EQ(d.rule(), told ? "" : "page.report.missing");
  }
}

TEST(WatchedPages, SomebodyElsesBlock) {
  Watched d;
  d.freed_block(1);
  d.alloc(2, mine);
  EXPECT_EQ(d.peek(1, 0), Ruling::fine);  // in use: nobody can tell, and it harms nobody
  EXPECT_EQ(d.returned(), Ruling::fine);
  d.is_fatal(d.poke(1, 0), "use-after-free-write");
}

TEST(WatchedPages, BesideOnesOwnBlock) {
  Watched d;
  d.alloc(1, mine);
  d.is_crime(d.poke(1, 4096), "write-outside");
  d.owes(ReportKind::use_after_free);
}

TEST(WatchedPages, NobodyWatches) {
  Watched d(toy_with_objects());
  d.freed_block(1);
  EXPECT_EQ(d.peek(1, 0), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine);
  d.is_fatal(d.poke(1, 0), "use-after-free-write");
}

TEST(WatchedPages, SomebodyIsAllocating) {
  Watched d(watched(), 2);
  d.freed_block(1);
  d.who = 1;
  EXPECT_EQ(d.call(program::AllocPages{Out{2}, {GFP_KERNEL}, {0}}), Ruling::fine);
  d.who = 0;
  d.is_crime(d.peek(1, 0), "use-after-free-read");  // perhaps it is his by now: the report may come
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
  d.is_fatal(d.poke(1, 0), "use-after-free-read");
}

TEST(WatchedPages, AnObjectIsReadByWayOfAPage) {
  Watched d;
  d.object(1, 100, slab);
  EXPECT_EQ(d.call(program::WildPage{Out{2}, {slab_first}}), Ruling::fine);
  EXPECT_EQ(d.granted(slab_first), Ruling::fine);
  EXPECT_EQ(d.peek(2, 99), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine);
  d.is_crime(d.peek(2, 100), "object-read-outside");
  d.owes(ReportKind::out_of_bounds);
}

}  // namespace
}  // namespace memtorture::oracle::test
