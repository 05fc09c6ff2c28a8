// Overruns of kernel stacks, and who has to notice them.
#include "model/oracle/kstack_driver_test.h"

namespace memtorture::oracle::test::kstacks {
namespace {

TEST(Overruns, AreSeenByTheScheduler) {
  const program::Op switches[] = {program::Schedule{}, program::Msleep{{1}}, program::WaitEvent{{0}}};
  for (const program::Op& op : switches) {
    Stacks d;
    d.is_crime(d.call(program::PushFrame{{stack_bytes}}), "stack-overflow");
    (void)d.got(d.top(StackUse::program) - stack_bytes, token);
    (void)d.call(op);
    EXPECT_EQ(d.panics(PanicKind::stack_end), Ruling::fine) << d.why();

    Stacks unseen;
    (void)unseen.call(program::PushFrame{{stack_bytes}});
    (void)unseen.got(unseen.top(StackUse::program) - stack_bytes, token);
    (void)unseen.call(op);
    unseen.breaks(unseen.returned(), "stack.overrun");
  }
}

TEST(Overruns, AreSeenAtTheEnd) {
  Stacks d;
  (void)d.call(program::PushFrame{{stack_bytes}});
  (void)d.got(d.top(StackUse::program) - stack_bytes, token);
  EXPECT_EQ(d.pop(), Ruling::fine) << d.why();
  d.breaks(d.leaves(), "stack.overrun");
}

TEST(Overruns, BeginBelowTheLastByte) {
  Stacks d;
  constexpr std::uint64_t all = (stack_bytes - 72) / 16 * 16;
  EXPECT_EQ(d.push(all, d.top(StackUse::program) - all), Ruling::fine) << d.crime();
  (void)d.call(program::Schedule{});
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();
  d.is_crime(d.call(program::AllocaBytes{{1}}), "stack-overflow");
}

TEST(Overruns, ThatStepOverTheMagicLeaveIt) {
  Stacks d;
  const std::uint64_t top = d.top(StackUse::program);
  (void)d.push(32, top - 32);
  d.is_crime(d.call(program::AllocaBytes{{stack_bytes - 32}}), "stack-overflow");  // its end is in thread_info
  (void)d.got(top - stack_bytes, token);
  (void)d.call(program::Schedule{});
  EXPECT_EQ(d.panics(PanicKind::stack_overrun), Ruling::fine) << d.why();

  Stacks other;
  (void)other.push(32, top - 32);
  (void)other.call(program::AllocaBytes{{stack_bytes - 32}});
  (void)other.got(top - stack_bytes, token);
  (void)other.call(program::Schedule{});
  other.breaks(other.panics(PanicKind::stack_end), "stack.overrun");
}

TEST(Overruns, WithoutAnyThereIsNoPanic) {
  Stacks d;
  (void)d.call(program::Schedule{});
  d.breaks(d.panics(PanicKind::stack_end), "stack.overrun");
}

TEST(Overruns, OverOthersMemoryAreDoneAlone) {
  Stacks d;
  d.is_crime(d.call(program::PushFrame{{stack_bytes + 100}}), "stack-overflow");
  (void)d.got(d.top(StackUse::program) - stack_bytes - 112, token);
  EXPECT_EQ(d.pop(), Ruling::fine) << d.why();
  d.is_fatal(d.call(program::AllocPage{Out{0}, {subject::GFP_KERNEL}}), "stack-overflow");

  Stacks company(with_stacks(), {ContextKind::task, ContextKind::task});
  company.who = 1;
  (void)company.call(program::AllocPage{Out{0}, {subject::GFP_KERNEL}});
  company.who = 0;
  company.is_fatal(company.call(program::PushFrame{{stack_bytes + 100}}), "stack-overflow");

  Stacks far;
  far.is_fatal(far.call(program::PushFrame{{3 * stack_bytes}}), "stack-overflow");
}

TEST(Overruns, AreNearWhenAnInterruptTells) {
  constexpr std::uint64_t low = stack_bytes - 72 - stack_bytes / 8;  // bytes in use, and no more
  for (const bool is_low : {false, true}) {
    for (const bool told : {false, true}) {
      Stacks d(with_stacks(true), {ContextKind::task, ContextKind::hardirq});
      const std::uint64_t used = low / 16 * 16 + (is_low ? 16 : 0);
      (void)d.push(used, d.top(StackUse::program) - used);
      d.who = 1;
      if (told) EXPECT_EQ(d.report(ReportKind::low_stack), Ruling::fine) << d.why();
      const Ruling ruling = d.enters(d.top(StackUse::hardirq), 0);
      if (is_low == told)
        EXPECT_EQ(ruling, Ruling::fine) << d.why();
      else
        d.breaks(ruling, "stack.low");
    }
  }
  Stacks task;
  task.breaks(task.report(ReportKind::low_stack), "stack.low");
}

}  // namespace
}  // namespace memtorture::oracle::test::kstacks
