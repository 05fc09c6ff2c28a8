// Objects with checks: which crime owes which report, and the leak scan.
#include "model/oracle/object_driver_test.h"

namespace memtorture::oracle::test {
namespace {

machine::Shape checked(std::uint8_t letters) {
  machine::Shape shape = toy_with_objects();
  shape.slab_debug = letters;
  return shape;
}

TEST(Checked, ASecondFreeIsTold) {
  for (const auto letter : {machine::debug_sanity, machine::debug_redzone, machine::debug_shadow}) {
    Objects d(checked(letter));
    d.object(0, 100, slab + 64);
    d.freed(0);
    d.is_crime(d.kfree(0), "object-double-free");
    EXPECT_EQ(d.report(ReportKind::object_double_free), Ruling::fine);
    EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
    d.is_crime(d.kfree(0), "object-double-free");
    d.breaks(d.returned(), "page.report.missing");
  }
}

TEST(Checked, PoisonAndUsersSeeNoFree) {
  Objects d(checked(machine::debug_poison | machine::debug_user));
  d.object(0, 100, slab);
  d.freed(0);
  d.is_fatal(d.kfree(0), "object-double-free");
}

TEST(Checked, WhoHasThePlaceCannotBeToldApart) {
  Objects d(checked(machine::debug_sanity));
  d.object(0, 100, slab);
  d.freed(0);
  d.object(1, 100, slab);
  d.is_fatal(d.kfree(0), "object-double-free");
}

TEST(Checked, AFreeInTheMiddleIsToldOnce) {
  Objects d(checked(machine::debug_sanity));
  d.object(0, 100, slab);
  d.is_crime(d.kfree(0, 8), "object-invalid-free");
  EXPECT_EQ(d.report(ReportKind::object_invalid_free), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
  d.is_crime(d.kfree(0, 8), "object-invalid-free");
  EXPECT_EQ(d.report(ReportKind::object_invalid_free), Ruling::fine);
  EXPECT_EQ(d.report(ReportKind::object_double_free), Ruling::fine);
  d.breaks(d.returned(), "page.report.spurious");
}

TEST(Checked, TheWrongCacheIsTold) {
  Objects d;
  d.cache(0, 100, slab, 0, subject::SLAB_DEBUG_FREE);
  d.cache(1, 100, slab + 512);
  EXPECT_EQ(d.alloc_of(2, 0, slab + 1024), Ruling::fine);
  d.is_crime(d.call(program::CacheFree{Of{1}, In{2}}), "wrong-cache-free");
  EXPECT_EQ(d.report(ReportKind::object_wrong_cache), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
  d.freed(2);  // it stayed its owner's
}

TEST(Checked, AWriteBesideItIsToldWhenItIsFreed) {
  Objects d(checked(machine::debug_redzone));
  d.object(0, 128, slab + 8);
  d.is_crime(d.call(program::Poke{In{0}, {128}, {1}}), "object-write-outside");
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
  EXPECT_EQ(d.kfree(0), Ruling::fine);
  EXPECT_EQ(d.report(ReportKind::object_redzone), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
  d.object(1, 128, slab + 8);
  d.is_crime(d.call(program::Poke{In{1}, {-1}, {1}}), "object-write-outside");
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
  EXPECT_EQ(d.kfree(1), Ruling::fine);
  d.breaks(d.returned(), "page.report.missing");
}

TEST(Checked, AWriteAfterFreeIsToldWhenItIsHandedOut) {
  for (const bool told : {true, false}) {
    Objects d(checked(machine::debug_poison));
    d.object(0, 128, slab);
    d.freed(0);
    d.is_crime(d.call(program::Poke{In{0}, {3}, {1}}), "object-use-after-free");
    EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
    EXPECT_EQ(d.call(program::Kmalloc{Out{1}, {128}, {GFP_KERNEL}}), Ruling::fine);
    Event e = d.event(EventKind::reported);
    e.detail = static_cast<std::uint8_t>(ReportKind::object_poison);
    e.value2 = slab + 3;
    if (told) EXPECT_EQ(d.oracle.on(e), Ruling::fine);
    const Ruling ruling = d.got(slab);
    if (told) EXPECT_EQ(ruling, Ruling::fine) << d.why();
    if (!told) d.breaks(ruling, "page.report.missing");
  }
}

TEST(Checked, EveryByteBesideARequestIsClosed) {
  Objects d(checked(machine::debug_shadow));
  d.object(0, 100, slab);
  d.is_crime(d.call(program::Peek{In{0}, {100}}), "object-read-outside");
  EXPECT_EQ(d.report(ReportKind::out_of_bounds), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
  EXPECT_EQ(d.call(program::Ksize{In{0}}), Ruling::fine);
  EXPECT_EQ(d.returned(128), Ruling::fine);
  EXPECT_EQ(d.call(program::Peek{In{0}, {100}}), Ruling::fine);  // now it is open
  EXPECT_EQ(d.returned(), Ruling::fine);
  d.is_crime(d.call(program::Poke{In{0}, {128}, {1}}), "object-read-outside");
  d.breaks(d.returned(), "page.report.missing");
}

TEST(Checked, WhatIsFreeIsClosed) {
  Objects d(checked(machine::debug_shadow));
  d.object(0, 100, slab);
  d.freed(0);
  d.is_crime(d.call(program::Peek{In{0}, {3}}), "object-use-after-free");
  EXPECT_EQ(d.report(ReportKind::use_after_free), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
}

TEST(Checked, WhereThereIsNoMemoryNothingIs) {
  Objects d(checked(machine::debug_shadow));
  d.object(0, 100, slab);
  d.is_crime(d.call(program::Peek{In{0}, {std::int64_t{1} << 40}}), "object-read-outside");
  d.breaks(d.returned(), "page.report.missing");
}

class LeakScan : public Objects {
 public:
  LeakScan() : Objects(checked(machine::debug_user | machine::debug_poison)) {
    for (std::uint16_t i = 0; i != 4; ++i) object(i, 100, slab + 8 + i * 256u);
  }
  void begin() {
    Event e = event(EventKind::call);
    e.op = 100'000;  // the harness's
    e.detail = clean_up_leak_scan;
    EXPECT_EQ(oracle.on(e), Ruling::fine);
  }
  Ruling finds(unsigned object) {
    Event e = event(EventKind::reported);
    e.detail = static_cast<std::uint8_t>(ReportKind::object_leak);
    e.value2 = slab + 8 + object * 256u;
    return oracle.on(e);
  }
};

TEST(Checked, TheLeakScanFindsWhatIsLost) {
  LeakScan d;
  // 0 leads to 1; 2 is lost with 3, which only 2 leads to.
  for (const auto& [from, to] : {std::pair<std::uint16_t, std::uint16_t>{0, 1}, {2, 3}}) {
    EXPECT_EQ(d.call(program::Link{In{from}, Of{to}}), Ruling::fine);
    EXPECT_EQ(d.returned(), Ruling::fine);
  }
  for (const std::uint16_t lost : {std::uint16_t{1}, std::uint16_t{2}, std::uint16_t{3}}) {
    EXPECT_EQ(d.call(program::Forget{In{lost}}), Ruling::crime);
    EXPECT_EQ(d.returned(), Ruling::fine);
  }
  d.begin();
  EXPECT_EQ(d.finds(2), Ruling::fine) << d.why();
  EXPECT_EQ(d.finds(3), Ruling::fine) << d.why();  // what is lost leads nowhere
  EXPECT_EQ(d.returned(2), Ruling::fine) << d.why();
}

TEST(Checked, TheLeakScanMissesNothing) {
  LeakScan d;
  EXPECT_EQ(d.call(program::Forget{In{2}}), Ruling::crime);
  EXPECT_EQ(d.returned(), Ruling::fine);
  d.begin();
  d.breaks(d.returned(0), "object.leak");
}

TEST(Checked, TheLeakScanBlamesNobodyElse) {
  LeakScan d;
  d.begin();
  d.breaks(d.finds(1), "object.leak");
}

}  // namespace
}  // namespace memtorture::oracle::test
