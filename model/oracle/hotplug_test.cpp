// CPUs that go and come, by hand: what has to be told, and what must not be left or happen there.
#include "model/oracle/driver_test.h"

namespace memtorture::oracle::test {
namespace {

using program::CpuDown;
using program::CpuUp;

machine::Shape three_cpus() {
  machine::Shape shape = toy();
  shape.cpus = 3;
  shape.pcp_high = 12;
  shape.pcp_batch = 4;
  return shape;
}

class Cpus : public Driver {
 public:
  explicit Cpus(std::size_t programs = 2) : Driver(three_cpus(), programs) {}

  Ruling move(const Op& op, bool done) {
    EXPECT_EQ(call(op), Ruling::fine) << why();
    return returned(done ? 1 : 0);
  }
};

TEST(Hotplug, GoesAndComesOnce) {
  Cpus d;
  EXPECT_EQ(d.move(CpuDown{{2}}, true), Ruling::fine);
  EXPECT_EQ(d.move(CpuDown{{2}}, false), Ruling::fine);
  EXPECT_EQ(d.move(CpuUp{{1}}, false), Ruling::fine);
  EXPECT_EQ(d.move(CpuUp{{2}}, true), Ruling::fine);
  EXPECT_EQ(d.move(CpuDown{{0}}, false), Ruling::fine);
  EXPECT_EQ(d.move(CpuDown{{3}}, false), Ruling::fine);
  EXPECT_EQ(d.move(CpuUp{{3}}, false), Ruling::fine);
}

TEST(Hotplug, WrongAnswers) {
  const auto wrong = [](std::initializer_list<std::uint32_t> before, const Op& op, bool done) {
    Cpus d;
    for (const std::uint32_t cpu : before) EXPECT_EQ(d.move(CpuDown{{cpu}}, true), Ruling::fine);
    d.breaks(d.move(op, done), "cpu.result");
  };
  wrong({}, CpuDown{{1}}, false);
  wrong({}, CpuDown{{0}}, true);
  wrong({}, CpuDown{{3}}, true);
  wrong({}, CpuUp{{1}}, true);
  wrong({1}, CpuDown{{1}}, true);
  wrong({1}, CpuUp{{1}}, false);
}

TEST(Hotplug, WhoMayNotSleepIsReportedAndRefused) {
  for (const bool done : {false, true}) {
    Cpus d;
    d.preempt_count = machine::preempt_offset;
    d.is_crime(d.call(CpuDown{{1}}), "sleep-in-atomic");
    EXPECT_EQ(d.report(ReportKind::sleeping), Ruling::fine);
    EXPECT_EQ(d.returned(done ? 1 : 0), done ? Ruling::broken : Ruling::fine);
  }
  Cpus d;
  d.preempt_count = machine::preempt_offset;
  d.is_crime(d.call(CpuUp{{1}}), "sleep-in-atomic");
  d.breaks(d.returned(0), "page.report.missing");
}

// Which of two came first is not known; that both took the same CPU away is wrong all the same.
TEST(Hotplug, TwoAtATime) {
  const auto both = [](const Op& first, const Op& second, bool first_done, bool second_done) {
    Cpus d;
    EXPECT_EQ(d.call(first), Ruling::fine);
    d.who = 1;
    EXPECT_EQ(d.call(second), Ruling::fine);
    EXPECT_EQ(d.returned(second_done), Ruling::fine);
    d.who = 0;
    return d.returned(first_done);
  };
  EXPECT_EQ(both(CpuDown{{1}}, CpuDown{{1}}, true, false), Ruling::fine);
  EXPECT_EQ(both(CpuDown{{1}}, CpuDown{{1}}, false, true), Ruling::fine);
  EXPECT_EQ(both(CpuDown{{1}}, CpuUp{{1}}, true, true), Ruling::fine);
  EXPECT_EQ(both(CpuUp{{1}}, CpuDown{{1}}, true, true), Ruling::fine);
  EXPECT_EQ(both(CpuDown{{1}}, CpuDown{{1}}, true, true), Ruling::broken);
  EXPECT_EQ(both(CpuUp{{1}}, CpuUp{{1}}, true, false), Ruling::broken);
}

TEST(Hotplug, PagesGoBack) {
  const auto gone_with = [](bool drains) {
    Cpus d;
    d.cpu = 1;
    d.alloc(0, 1024);
    EXPECT_EQ(d.call(free_of(0)), Ruling::fine);
    EXPECT_EQ(d.placed(EventKind::parked, 1024, 1), Ruling::fine) << d.why();
    EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
    d.cpu = 0;
    EXPECT_EQ(d.call(CpuDown{{1}}), Ruling::fine);
    if (drains) EXPECT_EQ(d.placed(EventKind::drained, 1024, 1), Ruling::fine) << d.why();
    return std::pair{d.returned(1), std::string(d.rule())};
  };
  EXPECT_EQ(gone_with(true).first, Ruling::fine);
  EXPECT_EQ(gone_with(false), (std::pair{Ruling::broken, std::string("cpu.left")}));
}

TEST(Hotplug, NothingHappensThere) {
  {
    Cpus d;
    EXPECT_EQ(d.move(CpuDown{{1}}, true), Ruling::fine);
    d.cpu = 1;
    d.breaks(d.call(program::NrFreePages{}), "cpu.offline");
  }
  {
    Cpus d;
    EXPECT_EQ(d.call(CpuDown{{1}}), Ruling::fine);
    d.cpu = 1;
    d.breaks(d.returned(1), "cpu.offline");
  }
  {
    Cpus d;
    d.alloc(0, 1024);
    EXPECT_EQ(d.move(CpuDown{{1}}, true), Ruling::fine);
    EXPECT_EQ(d.call(free_of(0)), Ruling::fine);
    d.breaks(d.placed(EventKind::parked, 1024, 1), "cpu.offline");
  }
  {
    Cpus d;
    EXPECT_EQ(d.move(CpuDown{{1}}, true), Ruling::fine);
    EXPECT_EQ(d.call(program::AllocPage{Out{0}, {subject::GFP_KERNEL}}), Ruling::fine);
    d.breaks(d.placed(EventKind::refilled, 1024, 1), "cpu.offline");
  }
  Cpus d;  // not once it is on its way back
  EXPECT_EQ(d.move(CpuDown{{1}}, true), Ruling::fine);
  EXPECT_EQ(d.call(CpuUp{{1}}), Ruling::fine);
  d.who = 1;
  d.cpu = 1;
  EXPECT_EQ(d.call(program::NrFreePages{}), Ruling::fine);
}

}  // namespace
}  // namespace memtorture::oracle::test
