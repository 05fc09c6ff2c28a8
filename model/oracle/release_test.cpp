// Releases, references, memory: crimes and what they owe, and the legal history next to each.
#include <algorithm>

#include "model/oracle/driver_test.h"

namespace memtorture::oracle::test {
namespace {

using subject::GFP_KERNEL;

TEST(Release, AFreedBlockCanBeHadAgain) {
  Driver d;
  d.alloc(0, 1024, GFP_KERNEL, 3);
  d.free(0, 3);
  d.alloc(0, 1024, GFP_KERNEL, 3);
}

TEST(Release, DoubleFreeOwesOneBadPage) {
  for (const unsigned reports : {0u, 1u, 2u}) {
    Driver d;
    d.alloc(0, 1024);
    d.free(0);
    EXPECT_EQ(d.call(free_of(0)), Ruling::crime);
    EXPECT_EQ(d.crime(), "double-free");
    Ruling ruling = Ruling::fine;
    for (unsigned i = 0; i != reports; ++i) ruling = d.report(ReportKind::bad_page, 1024);
    if (ruling == Ruling::fine) ruling = d.returned();
    EXPECT_EQ(ruling, reports == 1 ? Ruling::fine : Ruling::broken) << reports;
    if (reports == 0) EXPECT_EQ(d.rule(), "page.report.missing");
    if (reports == 2) EXPECT_EQ(d.rule(), "page.report.spurious");
  }
}

// A reference that is being taken may be there or not: it cannot keep the block alive, and a count may tell either.
TEST(Release, AReferenceOnItsWayKeepsNothingAlive) {
  for (const bool taken : {false, true}) {
    Driver d(toy(), 2);
    d.alloc(0, 1024);
    EXPECT_EQ(d.call(program::GetPage{In{0}}), Ruling::fine);
    if (taken) EXPECT_EQ(d.returned(), Ruling::fine);
    d.who = 1;
    for (const std::uint64_t count : {1u, 2u}) {
      if (taken && count == 1) continue;
      EXPECT_EQ(d.call(program::PageCount{In{0}}), Ruling::fine);
      EXPECT_EQ(d.returned(count), Ruling::fine) << count;
    }
    EXPECT_EQ(d.call(free_of(0)), taken ? Ruling::fine : Ruling::fatal);
    EXPECT_EQ(d.crime(), taken ? "" : "block-race");
  }
}

// With a second reference for sure, a drop and a take may come in either order.
TEST(Release, ADropBesideATakeIsLegalWhileAnotherReferenceStays) {
  Driver d(toy(), 2);
  d.alloc(0, 1024);
  EXPECT_EQ(d.call(program::GetPage{In{0}}), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine);
  EXPECT_EQ(d.call(program::GetPage{In{0}}), Ruling::fine);
  d.who = 1;
  EXPECT_EQ(d.call(free_of(0)), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine);
  EXPECT_EQ(d.call(free_of(0)), Ruling::fatal);
  EXPECT_EQ(d.crime(), "block-race");
}

TEST(Release, NobodyWorksOnABlockThatIsBeingSplit) {
  for (const unsigned by : {0u, 1u, 2u}) {
    Driver d(toy(), 2);
    d.alloc(0, 1024, GFP_KERNEL, 2);
    EXPECT_EQ(d.call(program::SplitPage{In{0}, {2}}), Ruling::fine);
    d.who = 1;
    EXPECT_EQ(by == 0   ? d.call(free_of(0, 0, 1))
              : by == 1 ? d.call(program::GetPage{In{0, 3}})
                        : d.call(program::PutPage{In{0, 2}}),
              Ruling::fatal);
    EXPECT_EQ(d.crime(), "block-race");
  }
}

// What becomes of a crime on a block is known only while nobody else touches blocks.
TEST(Release, ACrimeInFlightEndsTheRunAtTheNextTouch) {
  Driver d(toy(), 2);
  d.alloc(0, 1024, GFP_KERNEL, 2);
  d.alloc(1, 1028);
  EXPECT_EQ(d.call(free_of(0, 0, 1)), Ruling::crime);
  EXPECT_EQ(d.crime(), "interior-free");
  d.who = 1;
  EXPECT_EQ(d.call(free_of(1)), Ruling::fatal);
}

TEST(Release, CrimesByName) {
  struct Row {
    std::string_view crime;
    Ruling ruling;
    std::function<Ruling(Driver&)> commit;
  };
  constexpr std::uint32_t comp = GFP_KERNEL | subject::gfp_comp;
  const Row rows[] = {
      {"interior-free", Ruling::crime,
       [](Driver& d) {
         d.alloc(0, 1024, GFP_KERNEL, 2);
         return d.call(free_of(0, 0, 1));
       }},
      {"interior-free", Ruling::crime,
       [](Driver& d) {
         d.alloc(0, 1024, comp, 2);
         return d.call(free_of(0, 2, 1));
       }},
      {"wrong-order-free", Ruling::fatal,
       [](Driver& d) {
         d.alloc(0, 1024, GFP_KERNEL, 2);
         return d.call(free_of(0, 1));
       }},
      {"wrong-order-free", Ruling::crime,
       [](Driver& d) {
         d.alloc(0, 1024, comp, 2);
         return d.call(free_of(0, 1));
       }},
      {"wrong-order-free", Ruling::fatal,
       [](Driver& d) {
         d.alloc(0, 1024, GFP_KERNEL, 2);
         return d.call(program::PutPage{In{0}});
       }},
      {"foreign-free", Ruling::fatal,
       [](Driver& d) {
         d.alloc(0, 1024);
         d.free(0);
         d.alloc(1, 1024);
         return d.call(free_of(0));
       }},
      {"put-too-many", Ruling::crime,
       [](Driver& d) {
         d.alloc(0, 1024);
         d.free(0);
         return d.call(program::PutPage{In{0}});
       }},
      {"get-after-free", Ruling::crime,
       [](Driver& d) {
         d.alloc(0, 1024);
         d.free(0);
         return d.call(program::GetPage{In{0}});
       }},
      {"split-compound", Ruling::crime,
       [](Driver& d) {
         d.alloc(0, 1024, comp, 2);
         return d.call(program::SplitPage{In{0}, {2}});
       }},
      {"wrong-order-split", Ruling::fatal,
       [](Driver& d) {
         d.alloc(0, 1024, GFP_KERNEL, 2);
         return d.call(program::SplitPage{In{0}, {1}});
       }},
      {"wild-free", Ruling::crime,
       [](Driver& d) {
         d.call(program::WildPage{Out{0}, {1500}});
         d.granted(1500);
         return d.call(free_of(0));
       }},
      {"wild-free", Ruling::fatal,
       [](Driver& d) {
         d.call(program::WildPage{Out{0}, {9999}});
         d.granted(9999);
         return d.call(free_of(0));
       }},
      {"foreign-free", Ruling::fatal,
       [](Driver& d) {
         d.alloc(1, 1024);
         d.call(program::WildPage{Out{0}, {1024}});
         d.granted(1024);
         return d.call(free_of(0));
       }},
      {"blemished-free", Ruling::crime,
       [](Driver& d) {
         d.alloc(0, 1024);
         d.call(program::BlemishPage{In{0}, {}});
         d.returned();
         return d.call(free_of(0));
       }},
      {"leak", Ruling::crime,
       [](Driver& d) {
         d.alloc(0, 1024);
         return d.call(program::Forget{In{0}});
       }},
      {"use-after-free-write", Ruling::fatal,
       [](Driver& d) {
         d.alloc(0, 1024);
         d.free(0);
         return d.call(program::Poke{In{0}, {0}, {1}});
       }},
      {"use-after-free-read", Ruling::fatal,
       [](Driver& d) {
         d.alloc(0, 1024);
         d.free(0);
         return d.call(program::CheckContents{In{0}});
       }},
      {"write-outside", Ruling::fatal,
       [](Driver& d) {
         d.alloc(0, 1024);
         return d.call(program::Poke{In{0}, {4096}, {1}});
       }},
      {"sleep-in-atomic", Ruling::crime,
       [](Driver& d) {
         d.preempt_count = 1;
         return d.call(program::AllocPage{Out{0}, {GFP_KERNEL}});
       }},
      {"sleep-in-atomic", Ruling::crime,
       [](Driver& d) {
         d.irqs = machine::IrqFlag::off;
         return d.call(program::DrainAllPages{});
       }},
      {"nmi-entry", Ruling::crime,
       [](Driver& d) {
         d.preempt_count = machine::nmi_offset;
         return d.call(program::AllocPage{Out{0}, {0}});
       }},
      {"processor-id-preemptible", Ruling::crime, [](Driver& d) { return d.call(program::SmpProcessorId{}); }},
      {"lock-misuse", Ruling::crime,
       [](Driver& d) {
         d.call(program::MutexLockOp{});
         d.returned();
         return d.call(program::MutexLockOp{});
       }},
  };
  for (const Row& row : rows) {
    Driver d;
    EXPECT_EQ(row.commit(d), row.ruling) << row.crime;
    EXPECT_EQ(d.crime(), row.crime);
  }
}

TEST(Release, ReservedFramesStay) {
  machine::Shape shape = toy();
  shape.reserved_pages = 16;
  Driver d(shape);
  d.call(program::WildPage{Out{0}, {3}});
  d.granted(3);
  EXPECT_EQ(d.call(free_of(0)), Ruling::crime);
  EXPECT_EQ(d.crime(), "reserved-free");
  EXPECT_EQ(d.report(ReportKind::bad_page, 3, BadPageReason::reserved), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine);
  d.call(program::AllocPage{Out{1}, {subject::GFP_DMA}});
  EXPECT_EQ(d.granted(3), Ruling::broken);
  EXPECT_EQ(d.rule(), "page.reserved");
}

TEST(Release, ABlemishedPageNeverComesBack) {
  Driver d;
  d.alloc(0, 1024);
  EXPECT_EQ(d.call(program::BlemishPage{In{0}, {}}), Ruling::fine);
  d.returned();
  EXPECT_EQ(d.call(free_of(0)), Ruling::crime);
  EXPECT_EQ(d.report(ReportKind::bad_page, 1024, BadPageReason::flags), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine);
  EXPECT_EQ(d.call(program::NrFreePages{}), Ruling::fine);
  EXPECT_EQ(d.returned(4095), Ruling::fine) << d.oracle.finding().detail;
  d.call(program::AllocPage{Out{1}, {GFP_KERNEL}});
  EXPECT_EQ(d.granted(1024), Ruling::broken);
  EXPECT_EQ(d.rule(), "page.bad");
}

// What a bad page report says must hold; where several things hold, any of them.
TEST(Release, ABadPageReportTellsWhy) {
  using enum BadPageReason;
  struct Row {
    const char* what;
    void (*commit)(Driver&);
    std::vector<BadPageReason> right;
  };
  constexpr std::uint32_t comp = GFP_KERNEL | subject::gfp_comp;
  const Row rows[] = {
      {"double free",
       [](Driver& d) {
         d.alloc(0, 1024);
         d.free(0);
         d.call(free_of(0));
       },
       {refcount}},
      {"get of a free page",
       [](Driver& d) {
         d.alloc(0, 1024);
         d.free(0);
         d.call(program::GetPage{In{0}});
       },
       {refcount}},
      {"tail of a compound page",
       [](Driver& d) {
         d.alloc(0, 1024, comp, 2);
         d.call(free_of(0, 0, 1));
       },
       {refcount, compound}},
      {"wrong order of a compound page",
       [](Driver& d) {
         d.alloc(0, 1024, comp, 2);
         d.call(free_of(0, 1));
       },
       {compound}},
      {"one blemish",
       [](Driver& d) {
         d.alloc(0, 1024);
         d.call(program::BlemishPage{In{0}, {subject::Blemish::mapping}});
         d.returned();
         d.call(free_of(0));
       },
       {mapping}},
      {"two blemishes",
       [](Driver& d) {
         d.alloc(0, 1024);
         for (const auto kind : {subject::Blemish::mapcount, subject::Blemish::lru}) {
           d.call(program::BlemishPage{In{0}, {kind}});
           d.returned();
         }
         d.call(free_of(0));
       },
       {mapcount, flags}},
      {"blemish of a free page, found when it is taken",
       [](Driver& d) {
         d.alloc(0, 1024);
         d.free(0);
         d.call(program::BlemishPage{In{0}, {subject::Blemish::slab}});
         d.returned();
         d.call(program::AllocPage{Out{1}, {GFP_KERNEL}});
       },
       {flags}},
  };
  for (const Row& row : rows) {
    for (unsigned why = 0; why != std::size(machine::bad_page_reasons); ++why) {
      Driver d;
      row.commit(d);
      const auto reason = static_cast<BadPageReason>(why);
      const bool right = std::ranges::find(row.right, reason) != row.right.end();
      EXPECT_EQ(d.report(ReportKind::bad_page, 1024, reason), right ? Ruling::fine : Ruling::broken) << row.what << why;
      if (!right) EXPECT_EQ(d.rule(), "page.report.reason") << row.what << why;
    }
  }
}

TEST(Release, ReferencesHoldTheBlock) {
  Driver d;
  d.alloc(0, 1024, GFP_KERNEL | subject::gfp_comp, 2);
  EXPECT_EQ(d.call(program::GetPage{In{0, 3}}), Ruling::fine);  // a tail acts on the head
  d.returned();
  EXPECT_EQ(d.call(program::PageCount{In{0, 1}}), Ruling::fine);
  EXPECT_EQ(d.returned(2), Ruling::fine);
  d.free(0, 2);
  d.call(program::AllocPage{Out{1}, {GFP_KERNEL}});
  EXPECT_EQ(d.granted(1024), Ruling::broken);
  EXPECT_EQ(d.rule(), "page.overlap");
}

TEST(Release, CountsAreTold) {
  Driver d;
  d.alloc(0, 1024);
  d.call(program::PageCount{In{0}});
  EXPECT_EQ(d.returned(0), Ruling::broken);
  EXPECT_EQ(d.rule(), "page.count");
}

TEST(Release, SplitPagesAreFreedOneByOne) {
  Driver d;
  d.alloc(0, 1024, GFP_KERNEL, 2);
  EXPECT_EQ(d.call(program::SplitPage{In{0}, {2}}), Ruling::fine);
  d.returned();
  for (const std::uint16_t i : std::vector<std::uint16_t>{2, 0, 3, 1}) {
    EXPECT_EQ(d.call(free_of(0, 0, i)), Ruling::fine);
    EXPECT_EQ(d.returned(), Ruling::fine);
  }
  d.alloc(1, 1024, GFP_KERNEL, 10);  // all coalesced again
}

TEST(Release, PoisonIsReportedAtTheNextAllocation) {
  for (const bool reported : {true, false}) {
    machine::Shape shape = toy();
    shape.poison = machine::Toggle::on;
    Driver d(shape);
    d.alloc(0, 1024);
    d.free(0);
    EXPECT_EQ(d.call(program::Poke{In{0}, {8}, {0x5a}}), Ruling::crime);
    EXPECT_EQ(d.crime(), "use-after-free-write");
    EXPECT_EQ(d.returned(), Ruling::fine);
    d.call(program::AllocPage{Out{1}, {GFP_KERNEL}});
    if (reported) EXPECT_EQ(d.report(ReportKind::poison, 1024), Ruling::fine);
    EXPECT_EQ(d.granted(1024), reported ? Ruling::fine : Ruling::broken);
    if (!reported) EXPECT_EQ(d.rule(), "page.report.missing");
  }
}

TEST(Release, ContentsAreTheOwners) {
  Driver d;
  d.alloc(0, 1024);
  EXPECT_EQ(d.told(EventKind::contents, ~std::uint64_t{0}, 0, 1024), Ruling::fine);
  EXPECT_EQ(d.told(EventKind::contents, 5, 0, 1024), Ruling::broken);
  EXPECT_EQ(d.rule(), "page.content");
}

TEST(Release, TwoTasksDropOneBlockAndEitherFreesIt) {
  Driver d(toy(), 2);
  d.alloc(0, 1024);
  d.call(program::GetPage{In{0}});
  d.returned();
  EXPECT_EQ(d.call(program::PutPage{In{0}}), Ruling::fine);
  d.who = 1;
  EXPECT_EQ(d.call(program::PutPage{In{0}}), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine);  // 1's put went first: it freed nothing
  d.who = 0;
  EXPECT_EQ(d.placed(EventKind::parked, 1024), Ruling::fine) << d.oracle.finding().detail;
  EXPECT_EQ(d.placed(EventKind::drained, 1024), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine);
}

TEST(End, WhatIsLiveHasLeaked) {
  Driver d;
  EXPECT_EQ(d.oracle.end(), Ruling::fine);
  d.alloc(0, 1024);
  EXPECT_EQ(d.oracle.end(), Ruling::crime);
  EXPECT_EQ(d.crime(), "leak");
}

}  // namespace
}  // namespace memtorture::oracle::test
