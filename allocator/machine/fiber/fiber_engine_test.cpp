// The deterministic engine: order, departures, interrupts, blocking and the verdicts about it.
#if MT_ENGINE_FIBER
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "allocator/machine/machine.h"

namespace memtorture::machine {
namespace {

struct Recorder final : Witness {
  std::vector<ReportKind> reports;
  int sleeps = 0;
  int panics = 0;
  void reported(const Context&, const Report& report) override { reports.push_back(report.kind); }
  void slept(const Context&) override { ++sleeps; }
  void panicked(const Context&, PanicKind) override { ++panics; }
};

// Takes listed departures at the first visit of their site by their context.
struct Script final : Chooser {
  struct Line {
    ContextId who;
    Site site;
    Option take;
    bool taken = false;
  };
  std::vector<Line> lines;
  bool interested(const Moment& moment) override { return find(moment) != lines.end(); }
  std::uint32_t choose(const Moment& moment, std::span<const Option> options) override {
    const auto line = find(moment);
    const auto option = std::ranges::find(options, line->take);
    line->taken = true;
    return option == options.end() ? 0 : static_cast<std::uint32_t>(option - options.begin());
  }
  bool roll(const Moment&, std::uint32_t) override { return false; }
  void restart() override {}

 private:
  std::vector<Line>::iterator find(const Moment& moment) {
    return std::ranges::find_if(
        lines, [&](const Line& line) { return !line.taken && line.who == moment.who && line.site == moment.site; });
  }
};

class FiberEngine : public testing::Test {
 protected:
  using Body = std::function<void()>;
  ContextId add(unsigned cpu, Body body, ContextKind kind = ContextKind::task) {
    const auto id = static_cast<ContextId>(bodies_.size());
    bodies_.push_back(std::make_unique<Body>(std::move(body)));
    strands_.push_back({.id = id,
                        .kind = kind,
                        .cpu = static_cast<std::uint8_t>(cpu),
                        .flags = 0,
                        .body = [](void* arg) { (*static_cast<Body*>(arg))(); },
                        .arg = bodies_.back().get()});
    return id;
  }
  RunResult run(unsigned cpus = 2, std::uint64_t steps = 10'000) { return run(script_, cpus, steps); }
  RunResult run(Chooser& chooser, unsigned cpus, std::uint64_t steps) {
    Shape shape = *shape_named("flat");
    shape.cpus = static_cast<std::uint8_t>(cpus);
    machine_.boot(shape, recorder_);
    for (const Strand& daemon : daemons_) machine_.add_daemon(daemon);
    const auto fails = [](void* self, Site site) { return static_cast<FiberEngine*>(self)->fails_(site); };
    if (fails_) machine_.on_fault(fails, this, ruled_);
    return machine_.run(strands_, chooser, {.steps_budget = steps});
  }
  void say(const char* word) { said_ += word; }

  Machine machine_;
  Recorder recorder_;
  Script script_;
  std::string said_;
  std::vector<Strand> daemons_;
  std::function<bool(Site)> fails_;
  std::uint64_t ruled_ = 0;

 private:
  std::vector<std::unique_ptr<Body>> bodies_;
  std::vector<Strand> strands_;
};

constexpr LockClass test_class{"test.a"};

TEST_F(FiberEngine, RunsToCompletionInFileOrderByDefault) {
  add(0, [&] {
    say("a");
    point("page.free");
    say("b");
  });
  add(1, [&] {
    say("c");
    point("page.free");
    say("d");
  });
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "abcd");
  EXPECT_TRUE(machine_.departures().empty());
}

TEST_F(FiberEngine, AnotherCpuMovesWhereTheChooserSaysSo) {
  const ContextId a = add(0, [&] {
    say("a");
    point("page.free");
    say("b");
  });
  const ContextId b = add(1, [&] {
    say("c");
    point("page.get");
    say("d");
  });
  script_.lines = {{a, "page.free", {Move::switch_to, b}}, {b, "page.get", {Move::switch_to, a}}};
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "acbd");
  ASSERT_EQ(machine_.departures().size(), 2u);
  EXPECT_EQ(machine_.departures()[0].at.who, a);
  EXPECT_EQ(machine_.departures()[0].at.visit, 1);
}

TEST_F(FiberEngine, APinnedTaskIsNotPreempted) {
  ContextId b = 1;
  const ContextId a = add(0, [&] {
    preempt_disable();
    point("page.free");
    say("a");
    preempt_enable();
    point("page.get");
    say("b");
  });
  add(0, [&] { say("c"); });
  script_.lines = {{a, "page.free", {Move::switch_to, b}}, {a, "page.get", {Move::switch_to, b}}};
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "acb");
}

TEST_F(FiberEngine, AHandlerInterruptsOnlyWhereItsCpuAdmitsIt) {
  ContextId handler = 1;
  const ContextId a = add(0, [&] {
    const IrqFlag before = local_irq_save();
    point("page.free");
    say("a");
    local_irq_restore(before);
    point("page.get");
    say("b");
  });
  add(0, [&] { say(in_hardirq() && irqs_disabled() ? "I" : "?"); }, ContextKind::hardirq);
  script_.lines = {{a, "page.free", {Move::deliver, handler}}, {a, "page.get", {Move::deliver, handler}}};
  EXPECT_EQ(run(1).reason, StopReason::finished);
  EXPECT_EQ(said_, "aIb");
}

TEST_F(FiberEngine, SoftirqsDoNotNestAndAnNmiComesThroughMaskedInterrupts) {
  ContextId soft = 1, soft2 = 2, nmi = 3;
  const ContextId a = add(0, [&] {
    point("page.free");
    say("a");
  });
  add(
      0,
      [&] {
        say("(");
        point("page.get");
        const IrqFlag f = local_irq_save();
        point("page.put");
        local_irq_restore(f);
        say(")");
      },
      ContextKind::softirq);
  add(0, [&] { say("2"); }, ContextKind::softirq);
  add(0, [&] { say(in_nmi() ? "N" : "?"); }, ContextKind::nmi);
  script_.lines = {{a, "page.free", {Move::deliver, soft}},
                   {soft, "page.get", {Move::deliver, soft2}},
                   {soft, "page.put", {Move::deliver, nmi}}};
  EXPECT_EQ(run(1).reason, StopReason::finished);
  EXPECT_EQ(said_, "(N)a2");  // the second softirq was refused and came at the end
}

TEST_F(FiberEngine, HandlersThatWereNeverDeliveredRunWhenAllElseIsDone) {
  add(0, [&] { say("i"); }, ContextKind::hardirq);
  add(0, [&] { say("a"); });
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "ai");
}

TEST_F(FiberEngine, AContendedLockTakesTheContenderOffTheRun) {
  SpinLock lock(test_class);
  const ContextId a = add(0, [&] {
    lock.lock("zone.lock");
    say("a");
    point("page.free");
    say("b");
    lock.unlock("zone.unlock");
  });
  const ContextId b = add(1, [&] {
    say("c");
    lock.lock("zone.lock");
    say("d");
    lock.unlock("zone.unlock");
  });
  script_.lines = {{a, "page.free", {Move::switch_to, b}}};
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "acbd");
  EXPECT_FALSE(lock.is_locked());
}

TEST_F(FiberEngine, RecursionAndForeignUnlockAreReported) {
  SpinLock lock(test_class), other(test_class);
  add(0, [&] {
    lock.lock("zone.lock");
    lock.lock("zone.lock");
    lock.unlock("zone.unlock");
    lock.unlock("zone.unlock");
    other.unlock("zone.unlock");
  });
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(recorder_.reports, (std::vector{ReportKind::lock_recursion, ReportKind::lock_unowned}));
}

TEST_F(FiberEngine, AHandlerKnowsWhatItInterrupted) {
  const auto found = [] { return interrupted() != nullptr ? interrupted()->id : no_context; };
  const ContextId a = add(0, [&] {
    EXPECT_EQ(found(), no_context);
    point("page.free");
    EXPECT_EQ(found(), no_context);
  });
  ContextId below_softirq = 0, below_nmi = 0, below_late = 0;
  const ContextId soft = add(0, [&] { below_softirq = found(), point("page.get"); }, ContextKind::softirq);
  const ContextId nmi = add(0, [&] { below_nmi = found(); }, ContextKind::nmi);
  add(1, [&] { below_late = found(); }, ContextKind::hardirq);
  script_.lines = {{a, "page.free", {Move::deliver, soft}}, {soft, "page.get", {Move::deliver, nmi}}};
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(below_softirq, a);
  EXPECT_EQ(below_nmi, soft);
  EXPECT_EQ(below_late, no_context);
}

TEST_F(FiberEngine, WhoGivesUpItsCpuIsLookedAtFirst) {
  WaitQueue queue;
  bool looks = true;
  add(0, [&] {
    if (looks) machine_.on_switch([](void* said) { *static_cast<std::string*>(said) += 'x'; }, &said_);
    schedule();
    sleep_jiffies(1);
    say("w");
    (void)queue.wait_timeout(1, [] { return false; });
    might_sleep();  // gives up nothing
    preempt_disable();
    schedule();  // must not, and is looked at all the same
    preempt_enable();
  });
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "xxwxx");
  said_.clear();
  looks = false;
  EXPECT_EQ(run().reason, StopReason::finished);  // a boot forgets it
  EXPECT_EQ(said_, "w");
}

TEST_F(FiberEngine, AHandlerThatTakesTheInterruptedTasksLockIsARecursion) {
  SpinLock lock(test_class);
  const ContextId a = add(0, [&] {
    lock.lock("zone.lock");
    point("page.free");
    lock.unlock("zone.unlock");
  });
  const ContextId irq = add(
      0,
      [&] {
        lock.lock("zone.lock");
        lock.unlock("zone.unlock");
      },
      ContextKind::hardirq);
  script_.lines = {{a, "page.free", {Move::deliver, irq}}};
  EXPECT_EQ(run(1).reason, StopReason::finished);
  EXPECT_EQ(recorder_.reports, std::vector{ReportKind::lock_recursion});
}

TEST_F(FiberEngine, TimeJumpsToTheEarliestSleeper) {
  add(0, [&] {
    sleep_jiffies(20);
    say(jiffies_now() == 20 ? "a" : "?");
  });
  add(1, [&] {
    sleep_jiffies(5);
    say(jiffies_now() == 5 ? "b" : "?");
  });
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "ba");
  EXPECT_EQ(recorder_.sleeps, 2);
}

TEST_F(FiberEngine, SleepingInAtomicContextIsReportedAndNotDone) {
  add(0, [&] {
    preempt_disable();
    sleep_jiffies(5);
    might_sleep();
    say("a");
    preempt_enable();
  });
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(recorder_.reports, (std::vector{ReportKind::scheduling, ReportKind::sleeping}));
  EXPECT_EQ(recorder_.sleeps, 0);
}

TEST_F(FiberEngine, MutexesHandOverAndDeadlockIsAVerdict) {
  Mutex first{LockClass("test.m")}, second{LockClass("test.m")};
  const ContextId a = add(0, [&] {
    first.lock();
    point("page.free");
    second.lock();
    second.unlock();
    first.unlock();
  });
  const ContextId b = add(1, [&] {
    second.lock();
    point("page.get");
    first.lock();
    first.unlock();
    second.unlock();
  });
  EXPECT_EQ(run().reason, StopReason::finished);
  script_.lines = {{a, "page.free", {Move::switch_to, b}}};
  first.reset(), second.reset();
  EXPECT_EQ(run().reason, StopReason::deadlock);
}

TEST_F(FiberEngine, WakingFreesAllWaiters) {
  WaitQueue queue;
  add(0, [&] {
    queue.wait();
    say("a");
  });
  add(1, [&] {
    queue.wait();
    say("b");
  });
  add(0, [&] {
    say("c");
    queue.wake_all();
  });
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "cab");
}

TEST_F(FiberEngine, AWaitEndsByItsTimeOutOnlyWhenNobodyWakes) {
  WaitQueue queue;
  const auto said_in_a_run = [&] {
    said_.clear();
    EXPECT_EQ(run().reason, StopReason::finished);
    EXPECT_EQ(queue.waiters(), 0u);
    return said_;
  };
  add(0, [&] { say(queue.wait_timeout(50, [] { return false; }) ? "w" : "t"); });
  EXPECT_EQ(said_in_a_run(), "t");
  const auto interrupt = [&] {
    queue.wake_all();
    say("i");
  };
  add(1, interrupt, ContextKind::hardirq);
  EXPECT_EQ(said_in_a_run(), "iw") << "interrupts come before time-outs";
  add(1, [&] {
    sleep_jiffies(49);
    queue.wake_one();
    say("s");
  });
  EXPECT_EQ(said_in_a_run(), "swi") << "and sleepers before both";
}

TEST_F(FiberEngine, AWaiterLooksOnceMoreBeforeItSleeps) {
  WaitQueue queue;
  bool done = false;
  const ContextId a = add(0, [&] { say(queue.wait_timeout(50, [&] { return done; }) ? "a" : "t"); });
  const ContextId b = add(1, [&] {
    done = true;
    queue.wake_all();
    say("b");
  });
  script_.lines = {{a, "sched.sleep", {Move::switch_to, b}}};
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "ba");
}

// --- wake-ups that are lost ------------------------------------------------------------------------------------------

TEST_F(FiberEngine, WhoseWakeUpIsLostSleepsUntilNobodyElseCanMove) {
  WaitQueue queue;
  fails_ = [](Site site) { return site == Site("wake.lost"); };
  add(0, [&] {
    queue.wait();
    say("w");
  });
  add(1, [&] {
    queue.wake_all();
    say("a");
    sleep_jiffies(1000);
    say("b");
  });
  add(1, [&] { say("i"); }, ContextKind::hardirq);
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "abiw") << "after sleepers, and after interrupts that nobody delivered";
  EXPECT_EQ(queue.waiters(), 0u);
}

TEST_F(FiberEngine, ItsTimeOutDoesNotWakeWhoWasWoken) {
  WaitQueue queue;
  fails_ = [](Site) { return true; };
  add(0, [&] { say(queue.wait_timeout(5, [] { return false; }) && jiffies_now() == 100 ? "w" : "t"); });
  add(1, [&] {
    queue.wake_one();
    sleep_jiffies(100);
    say("s");
  });
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "sw");
}

TEST_F(FiberEngine, EachWaiterIsAVisitAndNobodyIsNone) {
  WaitQueue queue;
  unsigned visits = 0;
  fails_ = [&](Site site) { return site == Site("wake.lost") && ++visits == 1; };
  for (const char* who : {"a", "b", "c"}) {
    add(0, [&, who] {
      queue.wait();
      say(who);
    });
  }
  add(1, [&] {
    queue.wake_all();
    EXPECT_EQ(visits, 3u);
    queue.wake_all();  // the first one has left the queue, too
    queue.wake_one();
    EXPECT_EQ(visits, 3u);
  });
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "bca");
}

TEST_F(FiberEngine, LostWakeUpsEndOneByOneInTheirOrder) {
  WaitQueue queue;
  fails_ = [](Site) { return true; };
  for (const char* who : {"a", "b"}) {
    add(0, [&, who] {
      queue.wait();
      say(who);
      sleep_jiffies(1);
      say(who);
    });
  }
  add(1, [&] { queue.wake_all(); });
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "aabb");
}

// Nobody is given a mutex: it is free, and whoever was to be woken for it finds it taken again.
TEST_F(FiberEngine, AMutexIsOthersWhileWhoWaitedForItOversleeps) {
  Mutex mutex{LockClass("test.m")};
  fails_ = [](Site) { return true; };
  const auto inside = [&](const char* who, Jiffies jiffies) {
    mutex.lock();
    say(who);
    sleep_jiffies(jiffies);
    mutex.unlock();
  };
  add(0, [&] {
    inside("a", 5);
    inside("b", 5);
  });
  add(1, [&] { inside("w", 1); });
  add(1, [&] {
    sleep_jiffies(7);
    inside("c", 1);
  });
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "abwc");
}

TEST_F(FiberEngine, WhereNothingCanFailNobodyIsAsked) {
  struct Straight final : Chooser {
    bool may_depart() const override { return false; }
    bool interested(const Moment&) override { return false; }
    std::uint32_t choose(const Moment&, std::span<const Option>) override { return 0; }
    bool roll(const Moment&, std::uint32_t) override { return false; }
    void restart() override {}
  } straight;
  WaitQueue queue;
  std::string asked;
  fails_ = [&](Site site) {
    asked += site == Site("wake.lost") ? 'w' : 'i';
    return false;
  };
  bool undisturbed = false;
  add(0, [&] { queue.wait(); });
  add(0, [&] {
    queue.wake_all();
    undisturbed = current().undisturbed(1);
    point("page.free");
  });
  add(0, [] {}, ContextKind::hardirq);
  EXPECT_EQ(run(straight, 1, 1000).reason, StopReason::finished);
  EXPECT_EQ(asked, "");
  ruled_ = std::uint64_t{1} << Site("wake.lost").index();
  EXPECT_EQ(run(straight, 1, 1000).reason, StopReason::finished);
  EXPECT_EQ(asked, "w");
  EXPECT_TRUE(undisturbed);
  asked.clear();
  ruled_ = std::uint64_t{1} << Site("irq.storm").index();
  EXPECT_EQ(run(straight, 1, 1000).reason, StopReason::finished);
  EXPECT_EQ(asked, "ii") << "at the point, and at that before the sleep";
  EXPECT_FALSE(undisturbed) << "short ways have fewer points";
}

// --- handlers that come again, and storms ----------------------------------------------------------------------------

TEST_F(FiberEngine, AHandlerThatComesAgainRunsAsOftenAsItSays) {
  unsigned times = 0;
  add(0, [&] { say("a"); });
  add(
      0,
      [&] {
        say(in_hardirq() && current().flags == 0 ? "i" : "?");
        current().flags |= pf_memalloc;  // each interrupt begins with none
        current().comes_again = ++times % 3 != 0;
      },
      ContextKind::hardirq);
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "aiii");
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "aiiiaiii");
}

TEST_F(FiberEngine, InAStormAHandlerComesOnceAtEachPointThatAdmitsIt) {
  unsigned times = 0;
  fails_ = [](Site site) { return site == Site("irq.storm"); };
  add(0, [&] {
    say("a");
    point("page.free");
    say("b");
    const IrqFlag before = local_irq_save();
    point("page.get");
    say("c");
    local_irq_restore(before);
    say("d");
  });
  add(
      0,
      [&] {
        say("i");
        point("page.put");
        current().comes_again = ++times != 3;
      },
      ContextKind::hardirq);
  EXPECT_EQ(run(1).reason, StopReason::finished);
  EXPECT_EQ(said_, "aibcidi");
  EXPECT_TRUE(machine_.departures().empty()) << "whoever says that it fails writes it down";
}

TEST_F(FiberEngine, AStormBringsAllThatTheCpuAdmits) {
  fails_ = [](Site site) { return site == Site("irq.storm"); };
  const auto handler = [&](const char* begins, const char* ends) {
    return [this, begins, ends] {
      say(begins);
      point("page.get");
      say(ends);
    };
  };
  add(0, [&] {
    point("page.free");
    say("a");
  });
  add(0, handler("(", ")"), ContextKind::softirq);
  add(0, handler("[", "]"), ContextKind::hardirq);
  add(0, handler("<", ">"), ContextKind::nmi);
  add(0, handler("{", "}"), ContextKind::softirq);
  add(1, handler("?", "!"), ContextKind::hardirq);
  EXPECT_EQ(run(2).reason, StopReason::finished);
  EXPECT_EQ(said_, "([<>]){}a?!") << "kinds nest as CPUs nest them; another CPU's does not come";
}

TEST_F(FiberEngine, EndlessPointsAreALivelockAloneAndInCompany) {
  add(0, [&] {
    for (;;) point("page.free");
  });
  EXPECT_EQ(run().reason, StopReason::livelock);
  add(1, [&] { say("never"); });
  EXPECT_EQ(run().reason, StopReason::livelock);
  EXPECT_EQ(said_, "");
}

// With nobody to ask the engine lets points pass uncounted for a while; that must not show.
TEST_F(FiberEngine, StepsAreTheSameWhetherAnybodyIsAskedOrNot) {
  struct Indifferent final : Chooser {
    explicit Indifferent(bool asked) : asked_(asked) {}
    bool may_depart() const override { return asked_; }
    bool interested(const Moment&) override { return false; }
    std::uint32_t choose(const Moment&, std::span<const Option>) override { return 0; }
    bool roll(const Moment&, std::uint32_t) override { return false; }
    void restart() override {}
    bool asked_;
  };
  for (unsigned cpu = 0; cpu != 2; ++cpu) {
    add(cpu, [] {
      for (int i = 0; i != 30'000; ++i) point("page.free");
      sleep_jiffies(1);
      for (int i = 0; i != 100; ++i) point("page.free");
    });
  }
  for (const std::uint64_t budget : {100'000, 60'000, 45'000, 20'000}) {
    Indifferent asked(true), left_alone(false);
    const RunResult one = run(asked, 2, budget), other = run(left_alone, 2, budget);
    EXPECT_EQ(one.reason, other.reason) << budget;
    EXPECT_EQ(one.steps, other.steps) << budget;
    EXPECT_EQ(one.reason == StopReason::livelock, one.steps > budget) << budget;
  }
}

TEST_F(FiberEngine, APanicEndsTheRunAndTheNextRunIsClean) {
  bool panics = true;
  add(0, [&] {
    if (panics) panic(PanicKind::out_of_memory);
    say("a");
  });
  add(1, [&] { say("b"); });
  const RunResult result = run();
  EXPECT_EQ(result.reason, StopReason::panic);
  EXPECT_EQ(result.panic, PanicKind::out_of_memory);
  EXPECT_EQ(recorder_.panics, 1);
  panics = false;
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "ab");
}

TEST_F(FiberEngine, ATaskMigratesAndSeesItsNewCpu) {
  const ContextId a = add(0, [&] {
    point("page.free");
    say(raw_smp_processor_id() == 1 ? "1" : "0");
  });
  add(0, [&] { say("b"); });
  script_.lines = {{a, "page.free", {Move::migrate, 1}}};
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "1b");
}

TEST_F(FiberEngine, ADaemonWorksWhenWokenAndEndsWithTheRun) {
  struct Daemon {
    std::string* said;
    static void body(void* arg) {
      auto& self = *static_cast<Daemon*>(arg);
      while (this_machine().daemon_wait()) *self.said += "d";
      *self.said += ".";
    }
  } daemon{&said_};
  const Strand strand{.id = kswapd_first,
                      .kind = ContextKind::task,
                      .cpu = 0,
                      .flags = pf_memalloc,
                      .body = &Daemon::body,
                      .arg = &daemon};
  add(1, [&] {
    this_machine().wake_daemon(strand);
    say("a");
    sleep_jiffies(1);
    this_machine().wake_daemon(strand);
    say("b");
  });
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "adbd.");
  EXPECT_TRUE(machine_.daemons_idle());
}

// A worker with a deferrable timer: it comes when time has passed for somebody else, first in line, on its own CPU.
TEST_F(FiberEngine, ADeferrableTimerOnlyFollows) {
  struct Worker {
    std::string* said;
    static void body(void* arg) {
      auto& self = *static_cast<Worker*>(arg);
      for (Jiffies at = 5; this_machine().daemon_wait_until(at); at = jiffies_now() + 10) {
        *self.said += "w";
        EXPECT_EQ(current().cpu, 1);
        point("page.free");
      }
      *self.said += ".";
    }
  } worker{&said_};
  daemons_.push_back({.id = events_first + 1,
                      .kind = ContextKind::task,
                      .cpu = 1,
                      .flags = pf_thread_bound,
                      .body = &Worker::body,
                      .arg = &worker});
  const ContextId a = add(0, [&] {
    say("a");
    sleep_jiffies(4);
    say("b");  // too early
    sleep_jiffies(1);
    say("c");
    sleep_jiffies(1000);  // once, though a hundred times would fit
    say("d");
    sleep_jiffies(9);
    say("e");
  });
  script_.lines = {{events_first + 1, "page.free", {Move::migrate, 0}},  // is bound
                   {events_first + 1, "page.free", {Move::switch_to, a}}};
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said_, "abwcwde.");
}

TEST_F(FiberEngine, ADeferrableTimerIsNobodysHope) {
  daemons_.push_back({.id = events_first,
                      .kind = ContextKind::task,
                      .cpu = 0,
                      .flags = pf_thread_bound,
                      .body =
                          [](void*) {
                            while (this_machine().daemon_wait_until(jiffies_now() + 1)) {
                            }
                          },
                      .arg = nullptr});
  WaitQueue queue;
  add(0, [&] { queue.wait(); });
  EXPECT_EQ(run().reason, StopReason::deadlock);
}

TEST_F(FiberEngine, CountsAndFlagsOfAContextAreItsOwn) {
  const ContextId a = add(0, [&] {
    preempt_disable();
    local_bh_disable();
    point("page.free");
    say(current().preempt_count == 0x101 ? "a" : "?");
  });
  const ContextId b = add(1, [&] { say(preemptible() ? "b" : "?"); });
  script_.lines = {{a, "page.free", {Move::switch_to, b}}};
  run();
  EXPECT_EQ(said_, "ba");
}

TEST_F(FiberEngine, MisbalancedEnableIsReported) {
  add(0, [&] {
    preempt_enable();
    local_bh_enable();
    smp_processor_id();
    preempt_disable();
    smp_processor_id();
    preempt_enable();
  });
  run();
  EXPECT_EQ(recorder_.reports,
            (std::vector{ReportKind::preempt_underflow, ReportKind::preempt_underflow, ReportKind::processor_id}));
}

}  // namespace
}  // namespace memtorture::machine
#endif
