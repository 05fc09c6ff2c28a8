// What is told of the order of locks, and the lock for many readers.
#if MT_ENGINE_FIBER
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <vector>

#include "allocator/machine/machine.h"
#include "allocator/machine/rw_semaphore.h"

namespace memtorture::machine {
namespace {

constexpr LockClass a_class("test.a"), b_class("test.b"), m_class("test.m");

struct Seen {
  LockClass taken;
  LockSet under;
  unsigned use;
  bool operator==(const Seen&) const = default;
};

struct Watcher final : Witness {
  std::vector<Seen> seen;
  std::vector<ReportKind> reports;
  void reported(const Context&, const Report& report) override { reports.push_back(report.kind); }
  void slept(const Context&) override {}
  void locked(const Context&, LockClass taken, LockSet under, std::uint8_t use) override {
    seen.push_back({taken, under, use});
  }
};

// At the first visit of a site by a context: that context moves.
struct Hand final : Chooser {
  ContextId who = no_context, to = no_context;
  Site at = "op";
  bool interested(const Moment& moment) override { return moment.who == who && moment.site == at; }
  std::uint32_t choose(const Moment&, std::span<const Option> options) override {
    who = no_context;
    for (std::uint32_t i = 0; i != options.size(); ++i) {
      if (options[i].move == Move::switch_to && options[i].whom == to) return i;
    }
    return 0;
  }
  bool roll(const Moment&, std::uint32_t) override { return false; }
  void restart() override {}
};

class LockWatching : public testing::Test {
 protected:
  using Body = std::function<void()>;
  void add(Body body, ContextKind kind = ContextKind::task, std::uint8_t cpu = 0) {
    bodies_.push_back(std::make_unique<Body>(std::move(body)));
    strands_.push_back({.id = static_cast<ContextId>(strands_.size()),
                        .kind = kind,
                        .cpu = cpu,
                        .flags = 0,
                        .body = [](void* arg) { (*static_cast<Body*>(arg))(); },
                        .arg = bodies_.back().get()});
  }
  RunResult run() {
    Shape shape = *shape_named("flat");
    shape.cpus = 2;
    machine_.boot(shape, watcher_);
    return machine_.run(strands_, hand_, {.steps_budget = 10'000});
  }

  Machine machine_;
  Watcher watcher_;
  Hand hand_;
  SpinLock a_{a_class}, b_{b_class};

 private:
  std::vector<std::unique_ptr<Body>> bodies_;
  std::vector<Strand> strands_;
};

constexpr unsigned free_use = lock_irqs_on | lock_bh_on;

TEST_F(LockWatching, EachEdgeAndEachUseIsToldOnce) {
  add([&] {
    for (int i = 0; i != 3; ++i) {
      a_.lock("zone.lock");
      b_.lock("zone.lock");
      b_.unlock("zone.unlock");
      a_.unlock("zone.unlock");
    }
    EXPECT_EQ(current().held, 0u);
  });
  run();
  EXPECT_EQ(watcher_.seen, (std::vector<Seen>{{a_class, 0, free_use}, {b_class, a_class.bit(), free_use}}));
  watcher_.seen.clear();
  run();  // the next run knows nothing of the last
  EXPECT_EQ(watcher_.seen.size(), 2u);
}

TEST_F(LockWatching, MasksAndHandlersAreUses) {
  add([&] {
    const IrqFlag before = a_.lock_irqsave("zone.lock");
    EXPECT_TRUE(irqs_disabled());
    a_.unlock_irqrestore(before, "zone.unlock");
    EXPECT_FALSE(irqs_disabled());
    a_.lock_bh("zone.lock");
    EXPECT_EQ(current().preempt_count, softirq_offset + preempt_offset);
    a_.unlock_bh("zone.unlock");
  });
  add(
      [&] {
        a_.lock("zone.lock");
        a_.unlock("zone.unlock");
      },
      ContextKind::hardirq);
  add(
      [&] {
        b_.lock("zone.lock");
        b_.unlock("zone.unlock");
      },
      ContextKind::softirq);
  run();
  EXPECT_EQ(watcher_.seen, (std::vector<Seen>{{a_class, 0, lock_irqs_on},
                                              {a_class, 0, lock_in_hardirq},
                                              {b_class, 0, lock_in_softirq | lock_irqs_on}}));
}

TEST_F(LockWatching, WhatIsKeptWhenInterruptsComeOn) {
  add([&] {
    const IrqFlag before = local_irq_save();
    a_.lock("zone.lock");
    local_irq_restore(before);
    a_.unlock("zone.unlock");
    local_bh_disable();
    b_.lock("zone.lock");
    local_bh_enable();
    b_.unlock("zone.unlock");
  });
  run();
  EXPECT_EQ(watcher_.seen,
            (std::vector<Seen>{{a_class, 0, free_use}, {b_class, 0, lock_irqs_on}, {b_class, 0, lock_bh_on}}));
}

TEST_F(LockWatching, AnAttemptWaitsForNobodyButOthersWaitUnderIt) {
  Mutex m(m_class);
  add([&] {
    a_.lock("zone.lock");
    EXPECT_TRUE(b_.try_lock());
    b_.unlock("zone.unlock");
    a_.unlock("zone.unlock");
    EXPECT_TRUE(m.try_lock());
    a_.lock("zone.lock");
    a_.unlock("zone.unlock");
    m.unlock();
  });
  run();
  EXPECT_EQ(watcher_.seen,
            (std::vector<Seen>{
                {a_class, 0, free_use}, {b_class, 0, free_use}, {m_class, 0, free_use}, {a_class, m_class.bit(), 0}}));
}

TEST_F(LockWatching, WhoWaitsInADeadlockHasToldWhatFor) {
  add([&] {
    a_.lock("zone.lock");
    b_.lock("page.free");
  });
  add(
      [&] {
        b_.lock("zone.lock");
        a_.lock("zone.lock");
      },
      ContextKind::task, 1);
  hand_.who = 0;
  hand_.at = "page.free";
  hand_.to = 1;
  EXPECT_EQ(run().reason, StopReason::deadlock);
  EXPECT_EQ(watcher_.seen.size(), 4u);
}

TEST_F(LockWatching, Off) {
  machine_.watch_locks(false);
  add([&] {
    a_.lock("zone.lock");
    a_.unlock("zone.unlock");
  });
  run();
  EXPECT_TRUE(watcher_.seen.empty());
}

TEST_F(LockWatching, AStrandThatEndsOffBalanceIsPutRight) {
  add([&] {
    exit_strand();
    preempt_disable();
    local_irq_save();
    exit_strand();
    EXPECT_TRUE(preemptible());
    a_.lock("zone.lock");
    exit_strand();
    EXPECT_TRUE(a_.is_locked());
  });
  add([&] { exit_strand(); }, ContextKind::hardirq);
  run();
  EXPECT_EQ(watcher_.reports, (std::vector{ReportKind::exit_atomic, ReportKind::exit_locked, ReportKind::exit_atomic}));
  a_.reset();
}

TEST_F(LockWatching, SoftirqsOnWithInterruptsOffIsReported) {
  add([&] {
    local_bh_disable();
    const IrqFlag before = local_irq_save();
    local_bh_enable();
    local_irq_restore(before);
  });
  run();
  EXPECT_EQ(watcher_.reports, std::vector{ReportKind::bh_enable});
}

TEST_F(LockWatching, WritersWaitForReadersAndReadersGoAway) {
  RwSemaphore lock(m_class);
  std::string said;
  add([&] {
    EXPECT_TRUE(lock.try_read());
    EXPECT_TRUE(lock.try_read());  // many
    said += "r";
    point("page.free");  // the writer comes, and waits
    said += "e";
    EXPECT_FALSE(lock.try_read());
    lock.end_read();
    lock.end_read();
  });
  add([&] {
    EXPECT_TRUE(lock.write());
    said += "w";
    EXPECT_FALSE(lock.try_read());
    lock.end_write();
    EXPECT_TRUE(lock.try_read());
    lock.end_read();
  });
  hand_.who = 0;
  hand_.at = "page.free";
  hand_.to = 1;
  EXPECT_EQ(run().reason, StopReason::finished);
  EXPECT_EQ(said, "rew");
}

TEST_F(LockWatching, WhoMayNotSleepDoesNotWaitForReaders) {
  RwSemaphore lock(m_class);
  add([&] {
    EXPECT_TRUE(lock.try_read());
    preempt_disable();
    EXPECT_FALSE(lock.write());
    preempt_enable();
    lock.end_read();
    EXPECT_TRUE(lock.write());
    lock.end_write();
  });
  run();
  EXPECT_EQ(watcher_.reports, std::vector{ReportKind::sleeping});
}

}  // namespace
}  // namespace memtorture::machine
#endif
