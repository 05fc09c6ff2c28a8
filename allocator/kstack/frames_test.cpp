// Frames: where they lie, what an overrun destroys, and who notices.
#include <gtest/gtest.h>

#include "allocator/kernel/stacks_rig.h"
#include "allocator/kernel/test_rig.h"

namespace memtorture::kernel {
namespace {

using machine::ContextKind;
using machine::PanicKind;
using machine::ReportKind;
using machine::StopReason;
using machine::Toggle;
using subject::StackUse;

using Stacks = StacksRig<Recorder>;
constexpr std::uint64_t KiB = 1024;
constexpr std::uint64_t token = 0xabcd'1234'5678'9ab1;

// Delivers the strand when this one comes to the site for the n-th time.
class InterruptAt final : public machine::Chooser {
 public:
  InterruptAt(machine::Site site, unsigned visit, machine::ContextId whom) : site_(site), visit_(visit), whom_(whom) {}
  bool interested(const machine::Moment& moment) override {
    return moment.who == 0 && moment.site == site_ && moment.visit == visit_;
  }
  std::uint32_t choose(const machine::Moment&, std::span<const machine::Option> options) override {
    for (std::uint32_t i = 0; i != options.size(); ++i) {
      if (options[i].move == machine::Move::deliver && options[i].whom == whom_) return i;
    }
    return 0;
  }
  bool roll(const machine::Moment&, std::uint32_t) override { return false; }
  void restart() override {}

 private:
  machine::Site site_;
  unsigned visit_;
  machine::ContextId whom_;
};

TEST(Frames, OfTheMinimumAndRoundedUp) {
  Stacks rig(with_stacks(8 * KiB));
  rig.task([&] {
    const std::uint64_t top = rig.kernel.stack_pointer();
    EXPECT_EQ(top, rig.stacks(StackUse::program)[0] + 8 * KiB);
    EXPECT_EQ(rig.kernel.push(0, token), top - 32);
    EXPECT_EQ(rig.kernel.push(33, token + 1), top - 80);
    EXPECT_EQ(rig.kernel.alloca_bytes(1, token + 2), top - 96);
    EXPECT_EQ(rig.kernel.alloca_bytes(0, token + 3), top - 96);
    EXPECT_EQ(rig.word(top - 8), token);       // return address
    EXPECT_EQ(rig.word(top - 16), 0U);         // no caller
    EXPECT_EQ(rig.word(top - 32), token);      // locals
    EXPECT_EQ(rig.word(top - 48), top - 16);   // the caller's frame
    EXPECT_EQ(rig.word(top - 96), token + 2);  // the array's end
    subject::Returned found = rig.kernel.pop();
    EXPECT_EQ(found.return_address, token + 1);
    EXPECT_EQ(found.lowest_word, token + 2);
    EXPECT_EQ(rig.kernel.stack_pointer(), top - 32);
    found = rig.kernel.pop();
    EXPECT_EQ(found.return_address, token);
    EXPECT_EQ(rig.kernel.stack_pointer(), top);
    EXPECT_EQ(rig.kernel.stack_not_used(), 8 * KiB - 72 - 96);
  });
  ASSERT_TRUE(rig.boot());
  EXPECT_EQ(rig.run().reason, StopReason::finished);
}

TEST(Frames, OfARecursion) {
  Stacks rig(with_stacks(8 * KiB));
  rig.task([&] {
    const std::uint64_t top = rig.kernel.stack_pointer();
    const subject::Recursed recursed = rig.kernel.recurse(10, 64, token);
    EXPECT_EQ(recursed.lowest, top - 640);
    EXPECT_EQ(recursed.frames_broken, 0U);
    EXPECT_EQ(rig.kernel.stack_pointer(), top);
    EXPECT_EQ(rig.kernel.recurse(0, 64, token).lowest, top);
  });
  ASSERT_TRUE(rig.boot());
  EXPECT_EQ(rig.run().reason, StopReason::finished);
}

TEST(Frames, WithoutAStackNothingHappens) {
  Stacks rig(with_stacks(8 * KiB));
  rig.task([] {});
  rig.alone([&] {
    EXPECT_EQ(rig.kernel.push(100, token), 0U);
    EXPECT_EQ(rig.kernel.alloca_bytes(100, token), 0U);
    EXPECT_EQ(rig.kernel.pop().return_address, 0U);
    EXPECT_EQ(rig.kernel.stack_not_used(), 0U);
    rig.kernel.enter();
    rig.kernel.leave();
    rig.kernel.shut_down();
  });
}

#ifdef MT_ENGINE_FIBER

struct Nested {
  std::uint64_t task = 0, handler = 0;  // stack pointers
};

Nested interrupted_in_a_recursion(Toggle irq_stacks, ContextKind kind) {
  Stacks rig(with_stacks(8 * KiB, irq_stacks));
  Nested seen;
  rig.task([&] {
    seen.task = rig.kernel.push(96, token);
    EXPECT_EQ(rig.kernel.recurse(5, 64, token).frames_broken, 0U);
    EXPECT_EQ(rig.kernel.pop().return_address, token);
  });
  rig.add(kind, 0, [&] {
    seen.handler = rig.kernel.stack_pointer();
    EXPECT_EQ(rig.kernel.recurse(7, 100, token + 1).frames_broken, 0U);
  });
  EXPECT_TRUE(rig.boot());
  InterruptAt chooser("kstack.push", 4, 1);  // of the push, and of the recursion
  EXPECT_EQ(rig.run(chooser).reason, StopReason::finished);
  return seen;
}

TEST(Frames, OfAHandlerLieBelowThoseOfTheTask) {
  for (const ContextKind kind : {ContextKind::softirq, ContextKind::hardirq, ContextKind::nmi}) {
    const Nested seen = interrupted_in_a_recursion(Toggle::off, kind);
    EXPECT_EQ(seen.handler, seen.task - 3 * 64);
  }
}

TEST(Frames, OfAHandlerOnItsOwnStack) {
  for (const ContextKind kind : {ContextKind::softirq, ContextKind::hardirq}) {
    const Nested seen = interrupted_in_a_recursion(Toggle::on, kind);
    EXPECT_EQ(seen.handler % (8 * KiB), 0U);
  }
  const Nested nmi = interrupted_in_a_recursion(Toggle::on, ContextKind::nmi);
  EXPECT_EQ(nmi.handler, nmi.task - 3 * 64);
}

TEST(Frames, AnInterruptTellsOfALowStack) {
  constexpr std::uint64_t room = 8 * KiB - 72;
  for (const std::uint64_t left : {KiB - 1, KiB}) {
    Stacks rig(with_stacks(8 * KiB, Toggle::on));
    rig.task([&] {
      (void)rig.kernel.push((room - left) / 16 * 16 + (left < KiB ? 16 : 0), token);
      machine::point("op");
    });
    rig.add(ContextKind::hardirq, 0, [] {});
    ASSERT_TRUE(rig.boot());
    InterruptAt chooser("op", 1, 1);
    EXPECT_EQ(rig.run(chooser).reason, StopReason::finished);
    EXPECT_EQ(rig.said.count(ReportKind::low_stack), left < KiB ? 1U : 0U);
  }
}

TEST(Frames, ASoftirqDoesNotTell) {
  Stacks rig(with_stacks(8 * KiB, Toggle::on));
  rig.task([&] {
    (void)rig.kernel.push(8000, token);
    machine::point("op");
  });
  rig.add(ContextKind::softirq, 0, [] {});
  ASSERT_TRUE(rig.boot());
  InterruptAt chooser("op", 1, 1);
  EXPECT_EQ(rig.run(chooser).reason, StopReason::finished);
  EXPECT_TRUE(rig.said.reports.empty());
}

#endif

// --- overruns -------------------------------------------------------------------------------------------------------

TEST(Overrun, DestroysTheMagicThenThreadInfoThenWhatLiesBelow) {
  Stacks rig(with_stacks(4 * KiB));
  rig.task([&] {
    const std::uint64_t base = rig.kernel.stack_pointer() - 4 * KiB;
    const std::uint64_t below = base - 4 * KiB;  // of the idle task
    std::memset(rig.at(below + 72), 0, 4 * KiB - 72);
    (void)rig.kernel.push(4016, token);  // to the last byte
    EXPECT_EQ(rig.word(base + 64), subject::stack_end_magic);
    rig.kernel.pop();
    (void)rig.kernel.push(4017, token);
    EXPECT_EQ(rig.word(base + 64), token);
    EXPECT_EQ(rig.word(base + 56), 0U);  // thread_info's last word
    rig.kernel.pop();
    (void)rig.kernel.push(4096, token);
    EXPECT_EQ(rig.word(base), token);
    EXPECT_EQ(rig.word(base - 8), 0U);
    rig.kernel.pop();
    (void)rig.kernel.push(4096 + 32, token);
    EXPECT_EQ(rig.word(base - 8), token);
    EXPECT_EQ(rig.word(base - 40), 0U);
    rig.kernel.pop();
    machine::schedule();
    ADD_FAILURE() << "the scheduler did not notice";
  });
  ASSERT_TRUE(rig.boot());
  const machine::RunResult result = rig.run();
  EXPECT_EQ(result.reason, StopReason::panic);
  EXPECT_EQ(result.panic, PanicKind::stack_end);
}

TEST(Overrun, AnArrayStepsOverTheMagic) {
  Stacks rig(with_stacks(4 * KiB));
  rig.task([&] {
    const std::uint64_t base = rig.kernel.stack_pointer() - 4 * KiB;
    (void)rig.kernel.push(32, token);
    (void)rig.kernel.alloca_bytes(4096 + 100, token);
    rig.kernel.pop();
    EXPECT_EQ(rig.word(base + 64), subject::stack_end_magic);
    machine::sleep_jiffies(1);
    ADD_FAILURE() << "the scheduler did not notice";
  });
  ASSERT_TRUE(rig.boot());
  EXPECT_EQ(rig.run().panic, PanicKind::stack_overrun);
}

TEST(Overrun, IsNoticedAtTheEnd) {
  for (const ContextKind kind : {ContextKind::task, ContextKind::softirq, ContextKind::hardirq, ContextKind::nmi}) {
    for (const Toggle irq_stacks : {Toggle::off, Toggle::on}) {
      Stacks rig(with_stacks(4 * KiB, irq_stacks));
      rig.add(kind, 0, [&] { (void)rig.kernel.recurse(70, 64, token); });
      ASSERT_TRUE(rig.boot());
      EXPECT_EQ(rig.run().panic, PanicKind::stack_end);
    }
  }
}

TEST(Overrun, IsNoticedInAtomicContext) {
  Stacks rig(with_stacks(4 * KiB));
  rig.task([&] {
    (void)rig.kernel.push(4096, token);
    machine::preempt_disable();
    machine::schedule();
  });
  ASSERT_TRUE(rig.boot());
  EXPECT_EQ(rig.run().panic, PanicKind::stack_end);
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(Overrun, OfTheStackAboveIsSeenAtTheExit) {
  Stacks rig(with_stacks(4 * KiB));
  rig.task([&] {
    const subject::TaskHandle task = rig.kernel.fork();
    rig.at(task)[64] = std::byte{0};
    rig.kernel.exit_task(task);
    ADD_FAILURE() << "nobody noticed";
  });
  ASSERT_TRUE(rig.boot());
  EXPECT_EQ(rig.run().panic, PanicKind::stack_end);
  EXPECT_TRUE(rig.said.releases.empty());
}

TEST(Overrun, BeyondMemoryGoesNowhere) {
  Stacks rig(with_stacks(4 * KiB));
  rig.task([&] {
    (void)rig.kernel.push(std::uint64_t{64} << 20, token);
    rig.kernel.pop();
  });
  ASSERT_TRUE(rig.boot());
  EXPECT_EQ(rig.run().reason, StopReason::panic);
}

}  // namespace
}  // namespace memtorture::kernel
