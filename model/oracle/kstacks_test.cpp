// Kernel stacks of tasks and frames on them: every rule of theirs, each by the shortest history that earns it.
#include "model/oracle/kstack_driver_test.h"

namespace memtorture::oracle::test::kstacks {
namespace {

// --- boot -----------------------------------------------------------------------------------------------------------

TEST(Stacks, AreBlocksOfTheirOwn) {
  const auto boots = [](std::string_view id, auto&& change) {
    Stacks d(with_stacks(), {ContextKind::task}, false);
    change(d);
    d.breaks(d.oracle.begin_stacks(d.view), id);
  };
  boots("stack.block", [](Stacks& d) { d.view.stacks.pop_back(); });
  boots("stack.block", [](Stacks& d) { d.view.stacks[1].at = d.view.stacks[0].at; });
  boots("stack.block", [](Stacks& d) { d.view.stacks[1].at += page; });
  boots("stack.block", [](Stacks& d) { d.view.stacks[1].at = at(2048); });
  boots("stack.block", [](Stacks& d) { d.view.stacks[1].at = page; });
  boots("stack.block", [](Stacks& d) { d.make(StackUse::hardirq, 0); });
}

// --- tasks ----------------------------------------------------------------------------------------------------------

TEST(Stacks, ComeAndGoWithTasks) {
  Stacks d;
  d.fork(0, 1028);
  EXPECT_TRUE(d.oracle.is_live_task(at(1028)));
  d.ends(0, 1028);
  EXPECT_FALSE(d.oracle.is_live_task(at(1028)));
  EXPECT_EQ(d.leaves(), Ruling::fine) << d.why();
}

TEST(Stacks, OfNewTasksAreBlocksOfTheirOwn) {
  const auto forks = [](std::string_view id, std::uint64_t task, std::uint64_t dirty = clear, unsigned order = 1) {
    Stacks d;
    (void)d.call(program::ForkTask{Out{0}});
    EXPECT_EQ(d.asks(1028, order), Ruling::fine) << d.why();
    d.breaks(d.got(task, dirty), id);
  };
  forks("stack.block", at(1026));  // that of the program
  forks("stack.block", at(1030));  // nobody's
  forks("stack.block", at(1029));
  forks("stack.block", page);
  forks("stack.block", at(1028), clear, 0);
  forks("stack.clear", at(1028), 4000);
}

TEST(Stacks, WithoutARequestComeFromThoseThatAreKept) {
  Stacks d;
  (void)d.call(program::ForkTask{Out{0}});
  d.breaks(d.got(at(1028)), "stack.block");

  Stacks keeps(with_stacks(false, true));
  keeps.fork(0, 1028);
  (void)keeps.call(program::ExitTask{Of{0}});
  EXPECT_EQ(keeps.returned(), Ruling::fine);
  (void)keeps.call(program::ForkTask{Out{1}});
  EXPECT_EQ(keeps.got(at(1028)), Ruling::fine) << keeps.why();
}

TEST(Stacks, AreRefusedForAReason) {
  Stacks d;
  (void)d.call(program::ForkTask{Out{0}});
  d.breaks(d.got(0), "stack.fail");

  Stacks charged;
  (void)charged.call(program::ForkTask{Out{0}});
  EXPECT_EQ(charged.asks(1028), Ruling::fine);
  EXPECT_EQ(charged.told(EventKind::faulted, 0, machine::Site("kstack.charge").index()), Ruling::fine);
  charged.breaks(charged.got(0), "stack.fail");  // left behind

  Stacks gone;
  (void)gone.call(program::ForkTask{Out{0}});
  EXPECT_EQ(gone.asks(1028), Ruling::fine);
  (void)gone.told(EventKind::faulted, 0, machine::Site("kstack.charge").index());
  EXPECT_EQ(gone.gives_back(1028), Ruling::fine) << gone.why();
  EXPECT_EQ(gone.got(0), Ruling::fine) << gone.why();

  Stacks ignored;
  (void)ignored.call(program::ForkTask{Out{0}});
  EXPECT_EQ(ignored.asks(1028), Ruling::fine);
  (void)ignored.told(EventKind::faulted, 0, machine::Site("kstack.charge").index());
  ignored.breaks(ignored.got(at(1028)), "fault.honoured");
}

TEST(Stacks, OfThoseWhoLiveAreNotGivenBack) {
  Stacks d;
  (void)d.call(program::ForkTask{Out{0}});
  EXPECT_EQ(d.asks(1028), Ruling::fine);
  (void)d.told(EventKind::faulted, 0, machine::Site("kstack.charge").index());
  d.breaks(d.gives_back(1026), "stack.early");  // its own

  Stacks other;
  other.fork(0, 1028);
  (void)other.call(program::MightSleep{});
  other.breaks(other.gives_back(1028), "stack.early");
}

TEST(Stacks, OfTheDeadAreGivenBackByWhoDealsInTasks) {
  Stacks d(with_stacks(), {ContextKind::task, ContextKind::task});
  EXPECT_EQ(d.leaves(), Ruling::fine);
  d.who = 1;
  (void)d.call(program::ForkTask{Out{0}});
  EXPECT_EQ(d.gives_back(1026), Ruling::fine) << d.why();
  EXPECT_EQ(d.asks(1026), Ruling::fine);
  EXPECT_EQ(d.got(at(1026)), Ruling::fine) << d.why();

  Stacks early(with_stacks(), {ContextKind::task, ContextKind::task});
  EXPECT_EQ(early.leaves(), Ruling::fine);
  early.who = 1;
  (void)early.call(program::StackNotUsed{});
  early.breaks(early.gives_back(1026), "stack.early");
}

TEST(Stacks, OfTheDeadDoNotStay) {
  const program::Op next[] = {program::ForkTask{Out{1}}, program::ExitTask{Of{0}}};
  for (const program::Op& op : next) {
    Stacks d(with_stacks(), {ContextKind::task, ContextKind::task});
    d.who = 1;
    d.fork(0, 1030);
    d.who = 0;
    EXPECT_EQ(d.leaves(), Ruling::fine);
    d.who = 1;
    (void)d.call(op);
    const bool forks = std::holds_alternative<program::ForkTask>(op);
    EXPECT_EQ(forks ? d.asks(1032) : d.gives_back(1030), Ruling::fine) << d.why();
    d.breaks(d.got(forks ? at(1032) : 0), "stack.lost");
  }
}

TEST(Stacks, AreAskedForWithAllThatForkMay) {
  Stacks d;
  (void)d.call(program::ForkTask{Out{0}});
  Event e = d.event(EventKind::layer_requests);
  e.gfp = subject::GFP_NOIO | subject::gfp_zero;
  e.order = 1;
  e.value = ~std::uint64_t{0};
  d.breaks(d.oracle.on(e), "stack.fail");
}

TEST(Stacks, AreLostUnlessTheyComeBack) {
  Stacks d;
  d.fork(0, 1028);
  (void)d.call(program::ExitTask{Of{0}});
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();  // where it is shows later
  EXPECT_EQ(d.leaves(), Ruling::fine);
  d.breaks(d.oracle.end(), "stack.lost");
}

TEST(Stacks, OfATaskThatEndsTwice) {
  Stacks d;
  d.fork(0, 1028);
  d.ends(0, 1028);
  d.is_crime(d.call(program::ExitTask{Of{0}}), "double-exit");
  EXPECT_EQ(d.report(ReportKind::bad_stack), Ruling::fine);
  EXPECT_EQ(d.returned(), Ruling::fine) << d.why();

  Stacks silent;
  silent.fork(0, 1028);
  silent.ends(0, 1028);
  (void)silent.call(program::ExitTask{Of{0}});
  silent.breaks(silent.returned(), "page.report.missing");

  Stacks anothers;
  anothers.fork(0, 1028);
  anothers.ends(0, 1028);
  anothers.fork(1, 1028);
  anothers.is_fatal(anothers.call(program::ExitTask{Of{0}}), "double-exit");
}

TEST(Stacks, AreNotMadeInAtomicContext) {
  Stacks d;
  d.preempt_count = 1;
  d.is_crime(d.call(program::ForkTask{Out{0}}), "sleep-in-atomic");
  EXPECT_EQ(d.report(ReportKind::sleeping), Ruling::fine);
  EXPECT_EQ(d.got(0), Ruling::fine) << d.why();

  Stacks silent;
  silent.preempt_count = 1;
  (void)silent.call(program::ForkTask{Out{0}});
  silent.breaks(silent.got(0), "page.report.missing");
}

// --- frames ---------------------------------------------------------------------------------------------------------

TEST(Frames, LieOneBelowTheOther) {
  Stacks d;
  const std::uint64_t top = d.top(StackUse::program);
  EXPECT_EQ(d.push(100, top - 112), Ruling::fine) << d.why();
  EXPECT_EQ(d.push(0, top - 144), Ruling::fine) << d.why();
  (void)d.call(program::AllocaBytes{{17}});
  EXPECT_EQ(d.got(top - 176, 0x77), Ruling::fine) << d.why();
  EXPECT_EQ(d.pop(token, 0x77), Ruling::fine) << d.why();
  (void)d.call(program::Recurse{{3}, {40}});
  EXPECT_EQ(d.got(top - 112 - 3 * 48, 0), Ruling::fine) << d.why();
  d.breaks(d.push(100, top - 112), "stack.charge");
}

TEST(Frames, HoldWhatWasWritten) {
  Stacks d;
  (void)d.push(100, d.top(StackUse::program) - 112);
  d.breaks(d.pop(token + 1), "stack.frame");

  Stacks low;
  (void)low.push(100, low.top(StackUse::program) - 112);
  low.breaks(low.pop(token, 0), "stack.frame");

  Stacks deep;
  (void)deep.call(program::Recurse{{3}, {40}});
  deep.breaks(deep.got(deep.top(StackUse::program) - 3 * 48, 1), "stack.frame");
}

TEST(Frames, OfHandlersAreOnWhatTheyInterrupted) {
  Stacks d(with_stacks(), {ContextKind::task, ContextKind::hardirq});
  const std::uint64_t top = d.top(StackUse::program);
  (void)d.push(100, top - 112);
  d.who = 1;
  EXPECT_EQ(d.enters(top - 112, 0), Ruling::fine) << d.why();
  EXPECT_EQ(d.push(32, top - 144), Ruling::fine) << d.why();

  Stacks wrong(with_stacks(), {ContextKind::task, ContextKind::hardirq});
  (void)wrong.push(100, top - 112);
  wrong.who = 1;
  wrong.breaks(wrong.enters(top, 0), "stack.charge");

  Stacks idle(with_stacks(), {ContextKind::task, ContextKind::hardirq});
  idle.who = 1;
  EXPECT_EQ(idle.enters(idle.top(StackUse::idle)), Ruling::fine) << idle.why();
}

TEST(Frames, OfHandlersInTheMiddleOfARecursion) {
  constexpr std::uint64_t frame = 48;
  for (const std::uint64_t depth : {0, 1, 2, 3, 4}) {
    Stacks d(with_stacks(), {ContextKind::task, ContextKind::hardirq});
    const std::uint64_t top = d.top(StackUse::program);
    (void)d.call(program::Recurse{{3}, {40}});
    d.who = 1;
    const Ruling ruling = d.enters(top - depth * frame, 0);
    if (depth == 4)
      d.breaks(ruling, "stack.charge");
    else
      EXPECT_EQ(ruling, Ruling::fine) << d.why();
  }
  Stacks between(with_stacks(), {ContextKind::task, ContextKind::hardirq});
  (void)between.call(program::Recurse{{3}, {40}});
  between.who = 1;
  between.breaks(between.enters(between.top(StackUse::program) - 16, 0), "stack.charge");
}

TEST(Frames, OfHandlersWithStacksOfTheirOwn) {
  Stacks d(with_stacks(true), {ContextKind::task, ContextKind::softirq, ContextKind::hardirq, ContextKind::nmi});
  const std::uint64_t top = d.top(StackUse::program);
  (void)d.push(100, top - 112);
  d.who = 1;
  EXPECT_EQ(d.enters(d.top(StackUse::softirq), 0), Ruling::fine) << d.why();
  EXPECT_EQ(d.push(32, d.top(StackUse::softirq) - 32), Ruling::fine) << d.why();
  d.who = 2;
  EXPECT_EQ(d.enters(d.top(StackUse::hardirq), 1), Ruling::fine) << d.why();
  d.who = 3;
  EXPECT_EQ(d.enters(d.top(StackUse::hardirq), 2), Ruling::fine) << d.why();

  Stacks wrong(with_stacks(true), {ContextKind::task, ContextKind::softirq});
  wrong.who = 1;
  wrong.breaks(wrong.enters(top, 0), "stack.charge");
}

TEST(Frames, TellHowDeepTheyWere) {
  Stacks d;
  constexpr std::uint64_t all = stack_bytes - 72;
  EXPECT_EQ(d.not_used(all), Ruling::fine) << d.why();
  (void)d.push(100, d.top(StackUse::program) - 112);
  (void)d.pop();
  EXPECT_EQ(d.not_used(all - 112), Ruling::fine) << d.why();
  d.breaks(d.not_used(all), "stack.used");
}

}  // namespace
}  // namespace memtorture::oracle::test::kstacks
