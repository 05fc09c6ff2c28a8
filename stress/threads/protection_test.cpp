// Missing irqsave, a lock that does not keep handlers away, locks in both orders: what programs and subjects get wrong
// about protection is found on threads, too, each beside its twin that is right.
//
// Why this is certain whatever the interleaving: the rules ask which ways of taking a lock, or of adding to a copy,
// were seen at all, and every program runs to its end in every run: a handler that no point delivers runs when its CPU
// is idle. Each CPU tells what it sees for the first time, from whichever side, and the second of the two is the crime
// (lock_watch.h, percpu_access.cpp). So a run in which the handler comes on top of the holder and one in which it comes
// an hour later end the same way. Seeds only vary on which of these roads the verdict is reached.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "model/program/text.h"
#include "stress/threads/broken.h"
#include "stress/threads/rounds.h"

namespace memtorture::threads {
namespace {

using program::Verdict;

constexpr std::uint64_t seeds = 8;

program::Case parsed(const std::string& text) {
  const auto the_case = program::parse(text);
  if (!the_case) std::abort();
  return *the_case;
}

std::string times(unsigned n, std::string_view lines) {
  std::string text;
  while (n-- != 0) text += lines;
  return text;
}

void expect(run::Runner& runner, const program::Case& the_case, Verdict verdict, std::string_view rule) {
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    SeedChooser chooser(seed);
    const run::Outcome& outcome = runner.run(the_case, chooser, {});
    EXPECT_EQ(outcome.verdict, verdict) << "seed " << seed << '\n' << run::print_report(the_case, outcome);
    EXPECT_EQ(outcome.finding.rule, rule) << "seed " << seed << '\n' << run::print_report(the_case, outcome);
  }
}
void expect_crime(const program::Case& the_case, std::string_view crime) {
  run::Runner runner(run::make_kernel());
  expect(runner, the_case, Verdict::misuse, crime);
}
void expect_pass(const program::Case& the_case) {
  run::Runner runner(run::make_kernel());
  expect(runner, the_case, Verdict::pass, "");
}

// --- locks that handlers take ----------------------------------------------------------------------------------------

// A task that takes a lock again and again, and handlers of its CPU that take it once each.
program::Case task_and_handlers(std::string_view lock, std::string_view unlock, std::string_view kind) {
  std::string text = "memtorture 1\nmachine toy\nexpect pass\n\ntask t cpu0\n";
  text += times(10, fmt::format("  {} l0\n  {} l0\n", lock, unlock));
  for (unsigned i = 0; i != 4; ++i) text += fmt::format("\n{} h{} cpu0\n  spin_lock l0\n  spin_unlock l0\n", kind, i);
  return parsed(text);
}

TEST(Judgement, LockOfAHardirqTakenPlainly) {
  expect_crime(task_and_handlers("spin_lock", "spin_unlock", "irq"), "lock-interrupts");
  expect_pass(task_and_handlers("spin_lock_irqsave", "spin_unlock_irqrestore", "irq"));
}
TEST(Judgement, LockOfASoftirqTakenPlainly) {
  expect_crime(task_and_handlers("spin_lock", "spin_unlock", "softirq"), "lock-interrupts");
  expect_pass(task_and_handlers("spin_lock_bh", "spin_unlock_bh", "softirq"));
  expect_pass(task_and_handlers("spin_lock_irqsave", "spin_unlock_irqrestore", "softirq"));
}
TEST(Judgement, LockOfAHardirqWithSoftirqsOffOnly) {
  expect_crime(task_and_handlers("spin_lock_bh", "spin_unlock_bh", "irq"), "lock-interrupts");
}

// --- counters that handlers add to -----------------------------------------------------------------------------------

program::Case adding_task_and_handlers(std::string_view protect, std::string_view release, std::string_view kind) {
  std::string text =
      "memtorture 1\nmachine toy objects=slab percpu=on\nexpect pass\n\ntask t cpu0\n  s = per_cpu_var 1\n";
  text += times(10, fmt::format("  {}\n  __this_cpu_add s 1\n  {}\n", protect, release));
  for (unsigned i = 0; i != 4; ++i)
    text += fmt::format("\n{0} h{1} cpu0\n  s{1} = per_cpu_var 1\n  this_cpu_add s{1} 10\n", kind, i);
  return parsed(text);
}

// percpu-irq is certain as above. If a handler did come between a load and its store, the run is told for that instead.
void expect_lost_or_could_be(const program::Case& the_case) {
  run::Runner runner(run::make_kernel());
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    SeedChooser chooser(seed);
    const run::Outcome& outcome = runner.run(the_case, chooser, {});
    EXPECT_EQ(outcome.verdict, Verdict::misuse);
    EXPECT_TRUE(outcome.finding.rule == "percpu-irq" || outcome.finding.rule == "lost-update")
        << "seed " << seed << '\n'
        << run::print_report(the_case, outcome);
  }
}

TEST(Judgement, CounterOfAHardirqWithPreemptionOffOnly) {
  expect_lost_or_could_be(adding_task_and_handlers("preempt_disable", "preempt_enable", "irq"));
  expect_lost_or_could_be(adding_task_and_handlers("local_bh_disable", "local_bh_enable", "irq"));
  expect_pass(adding_task_and_handlers("local_irq_save", "local_irq_restore", "irq"));
}
TEST(Judgement, CounterOfASoftirqWithPreemptionOffOnly) {
  expect_lost_or_could_be(adding_task_and_handlers("preempt_disable", "preempt_enable", "softirq"));
  expect_pass(adding_task_and_handlers("local_bh_disable", "local_bh_enable", "softirq"));
}

// --- order of locks --------------------------------------------------------------------------------------------------

enum class Start : std::uint8_t { together, one_after_the_other };

// Two CPUs, two locks. (A wake-up is not lost on threads: who waits after it goes on.)
program::Case two_nests(std::string_view kind, unsigned outer_of_second, Start start) {
  std::string text = "memtorture 1\nmachine toy cpus=2\nexpect pass\n";
  for (unsigned cpu = 0; cpu != 2; ++cpu) {
    const bool in_turn = start == Start::one_after_the_other;
    const unsigned outer = cpu == 0 ? 0 : outer_of_second, inner = 1 - outer;
    text += fmt::format("\ntask t{0} cpu{0}\n{1}", cpu, in_turn && cpu == 1 ? "  wait_event l3\n" : "");
    text += times(
        in_turn ? 1 : 5,
        fmt::format("  {0}_lock l{1}\n  {0}_lock l{2}\n  {0}_unlock l{2}\n  {0}_unlock l{1}\n", kind, outer, inner));
    if (in_turn && cpu == 0) text += "  wake_up l3\n";
  }
  return parsed(text);
}

// Together they may block each other for good. Both said what they were about to wait for before they did, so the
// verdict is the same.
TEST(Judgement, LocksInBothOrders) {
  for (const std::string_view kind : {"spin", "mutex"}) {
    for (const Start start : {Start::one_after_the_other, Start::together}) {
      expect_crime(two_nests(kind, 1, start), "lock-order");
      expect_pass(two_nests(kind, 0, start));
    }
  }
}

// --- a lock of the subject's own -------------------------------------------------------------------------------------

// The subject's rule is stricter than the programs': a spinlock of its own that is taken once where interrupts are on
// is a finding, with or without a handler. That there are some shows that the right form bears them.
TEST(Judgement, LockOfTheSubjectTakenPlainly) {
  std::string text = "memtorture 1\nmachine toy objects=slab\nexpect pass\n\ntask t cpu0\n";
  text += times(10, "  p = kmalloc 64 GFP_KERNEL\n  kfree p\n");
  for (unsigned i = 0; i != 4; ++i)
    text += fmt::format("\nirq h{0} cpu0\n  p{0} = kmalloc 64 GFP_ATOMIC\n  kfree p{0}\n", i);
  const program::Case the_case = parsed(text);
  run::Runner broken(make_broken(Defect::interruptible_lock));
  expect(broken, the_case, Verdict::finding, "lock.interrupts");
  run::Runner sound(make_broken(Defect::irqsave_lock));
  expect(sound, the_case, Verdict::pass, "");
}

}  // namespace
}  // namespace memtorture::threads
