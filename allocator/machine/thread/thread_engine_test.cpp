// The thread engine. No test depends on timing: whatever must have happened is waited for inside the machine (points,
// wait queues), and a wake-up that the engine lost is a verdict (deadlock, livelock), not a hang.
//
// Built with ThreadSanitizer every test also says that the engine itself has no race; UnlockedCounter is the proof that
// a race of the code under test is not hidden by it.
#if MT_ENGINE_THREAD

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <functional>
#include <vector>

#include "allocator/machine/machine.h"

namespace memtorture::machine {
namespace {

class Dice : public Chooser {
 public:
  explicit Dice(std::uint64_t seed = 1) : seed_(seed), state_(seed) {}
  bool interested(const Moment&) override { return false; }
  std::uint32_t choose(const Moment&, std::span<const Option>) override { return 0; }
  bool roll(const Moment&, std::uint32_t percent) override {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 33) % 100 < percent;
  }
  void restart() override { state_ = seed_; }

 private:
  std::uint64_t seed_, state_;
};

class Counts : public Witness {
 public:
  void reported(const Context&, const Report& report) override {
    kinds_[static_cast<unsigned>(report.kind)].fetch_add(1, std::memory_order_relaxed);
  }
  void panicked(const Context&, PanicKind) override { panics_.fetch_add(1, std::memory_order_relaxed); }
  void slept(const Context&) override { sleeps_.fetch_add(1, std::memory_order_relaxed); }
  int of(ReportKind kind) const { return kinds_[static_cast<unsigned>(kind)]; }
  int all() const {
    int sum = 0;
    for (const auto& kind : kinds_) sum += kind;
    return sum;
  }
  int sleeps() const { return sleeps_; }
  int panics() const { return panics_; }

 private:
  std::array<std::atomic<int>, report_kinds> kinds_{};
  std::atomic<int> sleeps_{0}, panics_{0};
};

constexpr LockClass test_class("test.a");

class ThreadEngine : public testing::Test {
 protected:
  ThreadEngine() {
    Shape shape = *shape_named("x86-32");
    shape.cpus = 4;
    machine_.boot(shape, witness_);
  }

  void add(ContextKind kind, unsigned cpu, std::function<void()> body) {
    strands_.push_back(strand(static_cast<ContextId>(strands_.size()), kind, cpu, std::move(body)));
  }
  void task(unsigned cpu, std::function<void()> body) { add(ContextKind::task, cpu, std::move(body)); }

  Strand strand(ContextId id, ContextKind kind, unsigned cpu, std::function<void()> body) {
    bodies_.push_back(std::move(body));
    return {.id = id,
            .kind = kind,
            .cpu = static_cast<std::uint8_t>(cpu),
            .flags = 0,
            .body = [](void* f) { (*static_cast<std::function<void()>*>(f))(); },
            .arg = &bodies_.back()};
  }

  RunResult run(std::uint64_t seed = 1, Limits limits = {}) {
    Dice dice(seed);
    return machine_.run(strands_, dice, limits);
  }
  StopReason reason(std::uint64_t seed = 1) { return run(seed).reason; }

  Counts witness_;
  Machine machine_;
  std::deque<std::function<void()>> bodies_;
  std::vector<Strand> strands_;
};

void points_until(const std::atomic<bool>& flag) {
  while (!flag.load(std::memory_order_relaxed)) point("op");
}

// --- spinlocks -----------------------------------------------------------------------------------------------------

TEST_F(ThreadEngine, SpinlockExcludesOtherCpus) {
  SpinLock lock(test_class);
  int counter = 0;
  for (unsigned cpu = 0; cpu != 4; ++cpu) {
    task(cpu, [&] {
      for (int i = 0; i != 2000; ++i) {
        lock.lock("lock.acquire");
        ++counter;
        lock.unlock("lock.release");
      }
    });
  }
  for (std::uint64_t seed = 1; seed <= 5; ++seed) EXPECT_EQ(reason(seed), StopReason::finished);
  EXPECT_EQ(counter, 5 * 4 * 2000);
  EXPECT_EQ(witness_.all(), 0);
  EXPECT_FALSE(lock.is_locked());
}

TEST_F(ThreadEngine, SpinlockRecursionIsReportedAndGranted) {
  SpinLock lock(test_class);
  task(0, [&] {
    lock.lock("lock.acquire");
    lock.lock("lock.acquire");
    EXPECT_EQ(current().preempt_count, 2 * preempt_offset);
    lock.unlock("lock.release");
    EXPECT_TRUE(lock.is_locked());
    lock.unlock("lock.release");
    EXPECT_EQ(current().preempt_count, 0u);
  });
  EXPECT_EQ(reason(), StopReason::finished);
  EXPECT_EQ(witness_.of(ReportKind::lock_recursion), 1);
  EXPECT_EQ(witness_.all(), 1);
  EXPECT_FALSE(lock.is_locked());
}

TEST_F(ThreadEngine, HandlerThatTakesTheLockOfWhatItInterruptedIsRecursion) {
  SpinLock lock(test_class);
  std::atomic<bool> delivered{false};
  task(0, [&] {
    lock.lock("lock.acquire");
    points_until(delivered);
    lock.unlock("lock.release");
  });
  add(ContextKind::hardirq, 0, [&] {
    lock.lock("lock.acquire");
    lock.unlock("lock.release");
    delivered = true;
  });
  EXPECT_EQ(reason(), StopReason::finished);
  EXPECT_EQ(witness_.of(ReportKind::lock_recursion), 1);
  EXPECT_EQ(witness_.all(), 1);
}

TEST_F(ThreadEngine, UnlockBySomebodyElseIsReportedAndRefused) {
  SpinLock lock(test_class);
  std::atomic<bool> held{false}, tried{false};
  task(0, [&] {
    lock.lock("lock.acquire");
    held = true;
    points_until(tried);
    EXPECT_TRUE(lock.is_locked());
    lock.unlock("lock.release");
  });
  task(1, [&] {
    points_until(held);
    lock.unlock("lock.release");
    EXPECT_EQ(current().preempt_count, 0u);
    EXPECT_FALSE(lock.try_lock());
    tried = true;
  });
  EXPECT_EQ(reason(), StopReason::finished);
  EXPECT_EQ(witness_.of(ReportKind::lock_unowned), 1);
  EXPECT_EQ(witness_.all(), 1);
}

TEST_F(ThreadEngine, SpinlocksTakenCrosswiseAreADeadlock) {
  SpinLock a(test_class), b(test_class);
  std::atomic<bool> has_a{false}, has_b{false};
  task(0, [&] {
    a.lock("lock.acquire");
    has_a = true;
    points_until(has_b);
    b.lock("lock.acquire");
  });
  task(1, [&] {
    b.lock("lock.acquire");
    has_b = true;
    points_until(has_a);
    a.lock("lock.acquire");
  });
  EXPECT_EQ(reason(), StopReason::deadlock);
}

// --- tasks of one CPU ----------------------------------------------------------------------------------------------

TEST_F(ThreadEngine, TasksOfOneCpuNeverExecuteTogether) {
  int counter = 0;  // per-CPU data: protected by pinning alone
  for (int i = 0; i != 4; ++i) {
    task(2, [&] {
      for (int n = 0; n != 500; ++n) {
        Pinned pinned;
        const int before = counter;
        point("pcp.alloc");
        counter = before + 1;
      }
    });
  }
  EXPECT_EQ(reason(), StopReason::finished);
  EXPECT_EQ(counter, 4 * 500);
}

TEST_F(ThreadEngine, ScheduleGivesTheCpuToTheNextTask) {
  bool second_ran = false;
  task(0, [&] {
    while (!second_ran) schedule();
  });
  task(0, [&] { second_ran = true; });
  EXPECT_EQ(reason(), StopReason::finished);
}

TEST_F(ThreadEngine, GivingUpTheCpuInAtomicContextIsReportedAndRefused) {
  WaitQueue queue;
  task(0, [&] {
    Pinned pinned;
    schedule();
    sleep_jiffies(5);
    queue.wait();
    EXPECT_EQ(jiffies_now(), 0u);
  });
  EXPECT_EQ(reason(), StopReason::finished);
  EXPECT_EQ(witness_.of(ReportKind::scheduling), 3);
  EXPECT_EQ(witness_.sleeps(), 0);
}

// --- handlers ------------------------------------------------------------------------------------------------------

TEST_F(ThreadEngine, HandlersKeepToWhatTheirCpuAdmits) {
  std::atomic<int> irqs{0}, softirqs{0}, nmis{0};
  std::atomic<bool> nmi_came{false}, irq_came{false}, softirq_came{false};
  task(0, [&] {
    {
      Masked masked;
      points_until(nmi_came);  // an NMI comes all the same
      for (int i = 0; i != 500; ++i) point("op");
      EXPECT_EQ(irqs + softirqs, 0);
    }
    local_bh_disable();
    points_until(irq_came);
    for (int i = 0; i != 500; ++i) point("op");
    EXPECT_EQ(softirqs, 0);
    local_bh_enable();
    points_until(softirq_came);
  });
  add(ContextKind::hardirq, 0, [&] {
    EXPECT_TRUE(in_hardirq() && irqs_disabled());
    ++irqs;
    irq_came = true;
  });
  add(ContextKind::softirq, 0, [&] {
    EXPECT_TRUE(in_interrupt() && !in_hardirq() && !irqs_disabled());
    ++softirqs;
    softirq_came = true;
  });
  add(ContextKind::nmi, 0, [&] {
    EXPECT_TRUE(in_nmi());
    ++nmis;
    nmi_came = true;
  });
  EXPECT_EQ(reason(), StopReason::finished);
  EXPECT_EQ(irqs, 1);
  EXPECT_EQ(softirqs, 1);
  EXPECT_EQ(nmis, 1);
}

TEST_F(ThreadEngine, EveryHandlerRunsExactlyOnceWhereverItsCpuIs) {
  std::array<std::atomic<int>, 40> runs{};
  for (unsigned i = 0; i != runs.size(); ++i) {
    const auto kind = i % 3 == 0 ? ContextKind::nmi : i % 3 == 1 ? ContextKind::hardirq : ContextKind::softirq;
    add(kind, i % 4, [&runs, i] {
      EXPECT_EQ(current().cpu, i % 4);
      for (int n = 0; n != 5; ++n) point("op");  // others may nest
      ++runs[i];
    });
  }
  task(0, [] {  // CPU 0 has points, CPU 1 a task without any, CPUs 2 and 3 have no task
    for (int i = 0; i != 20; ++i) point("op");
  });
  task(1, [] {});
  for (int run = 1; run <= 5; ++run) {
    EXPECT_EQ(reason(static_cast<std::uint64_t>(run)), StopReason::finished);
    for (const auto& count : runs) EXPECT_EQ(count, run);
  }
}

TEST_F(ThreadEngine, AHandlerThatComesAgainRunsAsOftenAsItSays) {
  std::array<int, 8> runs{};  // each is touched on its own CPU
  for (unsigned i = 0; i != runs.size(); ++i) {
    add(i % 2 == 0 ? ContextKind::hardirq : ContextKind::softirq, i % 3, [&runs, i] {
      for (int n = 0; n != 3; ++n) point("op");
      current().comes_again = ++runs[i] % 5 != 0;
    });
  }
  task(0, [] {  // CPU 0 has points, CPU 1 a task without any, CPU 2 no task
    for (int i = 0; i != 60; ++i) point("op");
  });
  task(1, [] {});
  for (int run = 1; run <= 5; ++run) {
    EXPECT_EQ(reason(static_cast<std::uint64_t>(run)), StopReason::finished);
    for (const int count : runs) EXPECT_EQ(count, 5 * run);
  }
}

TEST_F(ThreadEngine, HandlersOfACpuWhoseTasksEndedDoNotWaitForOtherCpus) {
  std::atomic<bool> delivered{false};
  task(0, [&] { points_until(delivered); });
  task(1, [] {});
  add(ContextKind::hardirq, 1, [&] { delivered = true; });
  EXPECT_EQ(reason(), StopReason::finished);
}

TEST_F(ThreadEngine, HandlerWakesTheTaskThatItsCpuWaitsFor) {
  WaitQueue queue;
  std::atomic<bool> done{false};
  task(0, [&] {
    while (!done) queue.wait();
  });
  add(ContextKind::hardirq, 0, [&] {
    done = true;
    queue.wake_one();
  });
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    done = false;
    EXPECT_EQ(reason(seed), StopReason::finished);
  }
}

// --- wait queues and mutexes ---------------------------------------------------------------------------------------

TEST_F(ThreadEngine, NoWakeUpIsLostBetweenLookAndWait) {
  constexpr int rounds = 500;
  WaitQueue queue;
  std::atomic<int> turn{0};
  int handed_over = 0;  // plain: the queue orders it
  for (int side = 0; side != 2; ++side) {
    task(static_cast<unsigned>(side), [&, side] {
      for (int i = 0; i != rounds; ++i) {
        while (turn.load(std::memory_order_acquire) % 2 != side) queue.wait();
        ++handed_over;
        turn.fetch_add(1, std::memory_order_release);
        queue.wake_all();
      }
    });
  }
  EXPECT_EQ(reason(), StopReason::finished);
  EXPECT_EQ(handed_over, 2 * rounds);
}

TEST_F(ThreadEngine, WakeHandsOverWhatTheWakerDid) {
  WaitQueue queue;
  int message = 0, received = 0;
  task(0, [&] {
    queue.wait();  // the only wake of this queue: a return is the message
    received = message;
  });
  task(1, [&] {
    message = 42;
    queue.wake_one();
  });
  EXPECT_EQ(reason(), StopReason::finished);
  EXPECT_EQ(received, 42);
}

// Time-outs and wake-ups race all the time; nobody is left behind, and the queue knows who waits.
TEST_F(ThreadEngine, TimedWaitsMissNoWakeUp) {
  constexpr int rounds = 300;
  WaitQueue queue;
  std::atomic<int> turn{0};
  int handed_over = 0;  // plain: the queue orders it
  for (int side = 0; side != 2; ++side) {
    task(static_cast<unsigned>(side), [&, side] {
      const auto mine = [&] { return turn.load(std::memory_order_acquire) % 2 == side; };
      for (int i = 0; i != rounds; ++i) {
        while (!mine()) queue.wait_timeout(i % 2 == 0 ? 1 : 1'000'000, mine);
        ++handed_over;
        turn.fetch_add(1, std::memory_order_release);
        queue.wake_all();
      }
    });
  }
  EXPECT_EQ(reason(), StopReason::finished);
  EXPECT_EQ(handed_over, 2 * rounds);
  EXPECT_EQ(queue.waiters(), 0u);
}

TEST_F(ThreadEngine, AWaitWithoutWakerEndsByItsTimeOut) {
  WaitQueue queue;
  bool woken = true;
  task(0, [&] { woken = queue.wait_timeout(500, [] { return false; }); });
  EXPECT_EQ(reason(), StopReason::finished);
  EXPECT_FALSE(woken);
  EXPECT_EQ(queue.waiters(), 0u);
}

TEST_F(ThreadEngine, AnInterruptComesBeforeATimeOut) {
  constexpr Jiffies long_time = 1'000'000;
  WaitQueue queue;
  std::atomic<bool> done{false};
  Jiffies waited = 0;
  task(0, [&] {
    while (!done) queue.wait_timeout(long_time, [&] { return done.load(); });
    waited = jiffies_now();
  });
  add(ContextKind::hardirq, 0, [&] {
    done = true;
    queue.wake_one();
  });
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    done = false;
    EXPECT_EQ(reason(seed), StopReason::finished);
    EXPECT_LT(waited, long_time);
    EXPECT_EQ(queue.waiters(), 0u);
  }
}

TEST_F(ThreadEngine, MutexExcludesAndHandsOver) {
  Mutex mutex{LockClass("test.m")};
  int counter = 0;
  for (unsigned i = 0; i != 8; ++i) {
    task(i % 4, [&] {
      for (int n = 0; n != 200; ++n) {
        mutex.lock();
        const int before = counter;
        cond_resched();  // sleeps with the mutex held are legal
        counter = before + 1;
        mutex.unlock();
      }
    });
  }
  EXPECT_EQ(reason(), StopReason::finished);
  EXPECT_EQ(counter, 8 * 200);
  EXPECT_EQ(witness_.all(), 0);
}

TEST_F(ThreadEngine, MutexMisuseIsReported) {
  Mutex mutex{LockClass("test.m")};
  task(0, [&] {
    mutex.unlock();
    mutex.lock();
    mutex.lock();
    mutex.unlock();
  });
  EXPECT_EQ(reason(), StopReason::finished);
  EXPECT_EQ(witness_.of(ReportKind::lock_unowned), 1);
  EXPECT_EQ(witness_.of(ReportKind::lock_recursion), 1);
}

TEST_F(ThreadEngine, MutexesTakenCrosswiseAreADeadlock) {
  Mutex a{LockClass("test.m")}, b{LockClass("test.m")};
  WaitQueue a_taken, b_taken;
  task(0, [&] {
    a.lock();
    a_taken.wake_one();
    b_taken.wait();
    b.lock();
  });
  task(1, [&] {
    b.lock();
    b_taken.wake_one();
    a_taken.wait();
    a.lock();
  });
  EXPECT_EQ(reason(), StopReason::deadlock);
}

TEST_F(ThreadEngine, WaitingForNobodyIsADeadlock) {
  WaitQueue queue;
  task(0, [&] { queue.wait(); });
  task(0, [] {});
  task(1, [] { sleep_jiffies(10); });
  EXPECT_EQ(reason(), StopReason::deadlock);
  EXPECT_EQ(witness_.sleeps(), 2);
}

// --- virtual time --------------------------------------------------------------------------------------------------

TEST_F(ThreadEngine, SleepersWakeInTheOrderOfVirtualTime) {
  SpinLock lock(test_class);
  std::vector<Jiffies> woken;
  for (const Jiffies delay : {300, 100, 400, 200}) {
    task(delay == 100 ? 1 : static_cast<unsigned>(delay / 200),
         [&, delay] {  // 100 and 400 on other CPUs than their peers
           sleep_jiffies(delay);
           lock.lock("lock.acquire");
           EXPECT_GE(jiffies_now(), delay);
           woken.push_back(delay);
           lock.unlock("lock.release");
         });
  }
  EXPECT_EQ(reason(), StopReason::finished);
  EXPECT_EQ(woken, (std::vector<Jiffies>{100, 200, 300, 400}));
  EXPECT_EQ(witness_.sleeps(), 4);
}

TEST_F(ThreadEngine, TimePassesForSleepersWhileAnotherCpuIsBusy) {
  std::atomic<bool> woken{false};
  task(0, [&] {
    sleep_jiffies(3);
    woken = true;
  });
  task(1, [&] { points_until(woken); });
  EXPECT_EQ(reason(), StopReason::finished);
}

// Timers of several CPUs that are due at once, while somebody waits whom only the last sleeper will wake: the moment in
// which a timer is claimed but its sleeper does not run yet must not be taken for a deadlock.
TEST_F(ThreadEngine, TimersThatAreDueAtOnceAreNoDeadlock) {
  constexpr int sleepers = 3;
  WaitQueue queue;
  std::atomic<int> left{sleepers};
  task(0, [&] {
    while (left != 0) queue.wait();
  });
  for (unsigned cpu = 1; cpu <= sleepers; ++cpu) {
    task(cpu, [&] {
      sleep_jiffies(1);
      if (--left == 0) queue.wake_one();
    });
  }
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    left = sleepers;
    ASSERT_EQ(reason(seed), StopReason::finished);
  }
}

// --- stops ---------------------------------------------------------------------------------------------------------

TEST_F(ThreadEngine, StepBudgetEndsALivelock) {
  for (unsigned cpu = 0; cpu != 3; ++cpu) {
    task(cpu, [] {
      for (;;) cond_resched();
    });
  }
  const RunResult result = run(1, {.steps_budget = 1000});
  EXPECT_EQ(result.reason, StopReason::livelock);
  EXPECT_GT(result.steps, 1000u);
}

TEST_F(ThreadEngine, PanicStopsWhateverTheOthersDo) {
  SpinLock lock(test_class);
  WaitQueue queue;
  std::atomic<bool> held{false};
  bool returned = false;
  task(0, [&] {
    lock.lock("lock.acquire");
    held = true;
    points_until(std::atomic<bool>(false));
  });
  task(1, [&] {
    points_until(held);
    lock.lock("lock.acquire");
  });
  task(2, [&] { queue.wait(); });
  task(2, [] { sleep_jiffies(1'000'000); });
  task(3, [&] {
    points_until(held);
    panic(PanicKind::out_of_memory);
    returned = true;
  });
  add(ContextKind::hardirq, 2, [] {});
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    held = false;
    lock.reset();
    queue.reset();
    const RunResult result = run(seed);
    EXPECT_EQ(result.reason, StopReason::panic);
    EXPECT_EQ(result.panic, PanicKind::out_of_memory);
  }
  EXPECT_EQ(witness_.panics(), 10);
  EXPECT_FALSE(returned);
}

TEST_F(ThreadEngine, RequestedStopComesAtTheNextPoint) {
  bool after = false;
  task(0, [&] {
    machine_.request_stop();
    point("op");
    after = true;
  });
  task(1, [] {
    for (;;) point("op");
  });
  EXPECT_EQ(reason(), StopReason::stopped);
  EXPECT_FALSE(after);
}

// --- daemons -------------------------------------------------------------------------------------------------------

TEST_F(ThreadEngine, DaemonWorksWhenWokenAndEndsWithTheOthers) {
  int created = 0, ended = 0;
  std::atomic<int> work_left{0};
  const Strand daemon = strand(kswapd_first, ContextKind::task, 3, [&] {
    ++created;
    while (this_machine().daemon_wait()) work_left = 0;
    ++ended;
  });
  for (unsigned cpu = 0; cpu != 2; ++cpu) {
    task(cpu, [&] {
      for (int i = 0; i != 50; ++i) {
        ++work_left;
        this_machine().wake_daemon(daemon);
        while (work_left != 0) cond_resched();  // a lost wake-up ends in a livelock
      }
    });
  }
  EXPECT_EQ(reason(), StopReason::finished);
  EXPECT_EQ(created, 1);
  EXPECT_EQ(ended, 1);
}

TEST_F(ThreadEngine, ADaemonWithoutWorkIsNoDeadlockButABlockedTaskIs) {
  WaitQueue queue;
  const Strand daemon = strand(kswapd_first, ContextKind::task, 0, [] {
    while (this_machine().daemon_wait()) {
    }
  });
  task(0, [&] {
    this_machine().wake_daemon(daemon);
    queue.wait();
  });
  EXPECT_EQ(reason(), StopReason::deadlock);
}

TEST_F(ThreadEngine, DeferrableTimersFollowTimeAndEndWithTheRun) {
  std::atomic<int> passes{0}, ended{0};
  for (unsigned cpu = 0; cpu != 4; ++cpu) {
    machine_.add_daemon(strand(static_cast<ContextId>(events_first + cpu), ContextKind::task, cpu, [&] {
      for (Jiffies at = 5; this_machine().daemon_wait_until(at); at = jiffies_now() + 10) {
        EXPECT_GE(jiffies_now(), at);
        ++passes;
      }
      ++ended;
    }));
  }
  task(0, [] { sleep_jiffies(100); });
  EXPECT_EQ(reason(), StopReason::finished);
  EXPECT_GE(passes, 4);
  EXPECT_EQ(ended, 4);
  WaitQueue queue;
  task(1, [&] { queue.wait(); });
  EXPECT_EQ(reason(), StopReason::deadlock);
}

// --- the machine ---------------------------------------------------------------------------------------------------

TEST_F(ThreadEngine, ServesManyRunsAndCodeOutsideOfThem) {
  int sum = 0;
  SpinLock lock(test_class);
  for (unsigned cpu = 0; cpu != 4; ++cpu) {
    task(cpu, [&] {
      lock.lock("lock.acquire");
      ++sum;
      lock.unlock("lock.release");
    });
  }
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    ASSERT_EQ(reason(seed), StopReason::finished);
    machine_.run_alone([](void* p) { *static_cast<int*>(p) += smp_processor_id() == 0 ? 1 : 1000; }, &sum);
  }
  EXPECT_EQ(sum, 30 * 4 + 30);
  EXPECT_TRUE(machine_.departures().empty());
  EXPECT_TRUE(Machine::concurrent());
}

#if defined(__has_feature) && __has_feature(thread_sanitizer)

// The reason why this engine exists: an access that no simulated lock orders is seen, even where tasks of the two CPUs
// sleep, pass points and use a lock for other things meanwhile.
class ThreadEngineDeathTest : public ThreadEngine {
 protected:
  enum class Guard { lock, none };

  ThreadEngineDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  // ThreadSanitizer replaces the exit code when it has reported.
  [[noreturn]] void run_and_exit() { std::exit(reason() == StopReason::finished ? 0 : 1); }

  [[noreturn]] void count_on_two_cpus(Guard guard) {
    SpinLock lock(test_class);
    int counter = 0;
    for (unsigned cpu = 0; cpu != 2; ++cpu) {
      task(cpu, [&, guard] {
        for (int i = 0; i != 100; ++i) {
          if (guard == Guard::lock) lock.lock("lock.acquire");
          ++counter;
          if (guard == Guard::lock) lock.unlock("lock.release");
          if (i % 10 == 0) sleep_jiffies(1);
          cond_resched();
        }
      });
    }
    run_and_exit();
  }

  // The second CPU writes long after the first, in virtual time and in host time: but nothing hands the number over.
  [[noreturn]] void count_one_after_the_other() {
    int counter = 0;
    task(0, [&] {
      ++counter;
      sleep_jiffies(1);
    });
    task(1, [&] {
      sleep_jiffies(100);
      ++counter;
    });
    run_and_exit();
  }

  static bool failed(int status) { return WIFEXITED(status) && WEXITSTATUS(status) != 0; }
};

TEST_F(ThreadEngineDeathTest, UnlockedCounterIsARace) {
  EXPECT_EXIT(count_on_two_cpus(Guard::none), failed, "data race");
}

TEST_F(ThreadEngineDeathTest, SleepingIsNoSynchronisation) {
  EXPECT_EXIT(count_one_after_the_other(), failed, "data race");
}

TEST_F(ThreadEngineDeathTest, LockedCounterIsNot) {
  EXPECT_EXIT(count_on_two_cpus(Guard::lock), testing::ExitedWithCode(0), "");
}

#endif

}  // namespace
}  // namespace memtorture::machine

#endif
