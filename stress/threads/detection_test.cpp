// Thread runs find what they are there for. Races are ThreadSanitizer's to find, in a process of their own (a report is
// the end of it); everything else the oracle finds after the join, from the merged logs.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>

#include "model/program/text.h"
#include "stress/threads/broken.h"
#include "stress/threads/rounds.h"

namespace memtorture::threads {
namespace {

using program::Verdict;

// Two tasks that do the same, each with blocks of its own.
program::Case two_cpus(std::string_view gfp, unsigned order) {
  std::string text = "memtorture 1\nmachine tiny-64 cpus=2\nexpect pass\n";
  for (unsigned cpu = 0; cpu != 2; ++cpu) {
    text += fmt::format("\ntask t{0} cpu{0}\n", cpu);
    for (unsigned i = 0; i != 20; ++i)
      text += fmt::format("  p{0}x{1} = alloc_pages {2} {3}\n  __free_pages p{0}x{1} {3}\n", cpu, i, gfp, order);
  }
  const auto parsed = program::parse(text);
  if (!parsed) std::abort();
  return *parsed;
}

// Blocks with a reference for each of three CPUs, which drop theirs when they are told and with no lock in between.
// (A wake-up is not lost on threads: who waits after it goes on.)
program::Case three_drops() {
  constexpr unsigned blocks = 20;
  std::string text = "memtorture 1\nmachine tiny-64 cpus=3\nexpect pass\n\ntask giver cpu0\n";
  std::string drops;
  for (unsigned i = 0; i != blocks; ++i) {
    text += fmt::format("  p{0} = alloc_page GFP_KERNEL\n  get_page p{0}\n  get_page p{0}\n", i);
    drops += fmt::format("  put_page p{}\n", i);
  }
  text += "  wake_up l3\n" + drops;
  for (unsigned cpu = 1; cpu != 3; ++cpu) text += fmt::format("\ntask t{0} cpu{0}\n  wait_event l3\n{1}", cpu, drops);
  const auto parsed = program::parse(text);
  if (!parsed) std::abort();
  return *parsed;
}

// The same with objects. letters: checks of the slab layer.
program::Case two_cpus_with_objects(std::string_view gfp, std::string_view letters = "") {
  std::string text = fmt::format("memtorture 1\nmachine toy cpus=2 objects=slab{}{}\nexpect pass\n",
                                 letters.empty() ? "" : " slab_debug=", letters);
  for (unsigned cpu = 0; cpu != 2; ++cpu) {
    text += fmt::format("\ntask t{0} cpu{0}\n", cpu);
    for (unsigned i = 0; i != 40; ++i) {
      text += fmt::format("  p{0}x{1} = kmalloc 64 {2}\n", cpu, i, gfp);
      if (i % 2 != 0) text += fmt::format("  kfree p{0}x{1}\n  kfree p{0}x{2}\n", cpu, i - 1, i);
    }
  }
  const auto parsed = program::parse(text);
  if (!parsed) std::abort();
  return *parsed;
}

// Each task destroys a cache of its own while it has an object of it, and again when it has none.
program::Case two_busy_caches() {
  std::string text = "memtorture 1\nmachine toy cpus=2 objects=slab\nexpect pass\n";
  for (unsigned cpu = 0; cpu != 2; ++cpu) {
    text += fmt::format(
        "\ntask t{0} cpu{0}\n  c{0} = kmem_cache_create 120 0 0 0x00\n  o{0} = kmem_cache_alloc c{0} GFP_KERNEL\n"
        "  kmem_cache_destroy c{0}\n  kmem_cache_free c{0} o{0}\n  kmem_cache_destroy c{0}\n",
        cpu);
  }
  const auto parsed = program::parse(text);
  if (!parsed) std::abort();
  return *parsed;
}

// Both add to a counter of the kernel, each to the copy of its own CPU, or both to that of CPU 1.
program::Case two_adders(std::string_view of_first, std::string_view of_second) {
  std::string text = "memtorture 1\nmachine toy cpus=2 objects=slab percpu=on\nexpect pass\n";
  for (unsigned cpu = 0; cpu != 2; ++cpu) {
    text += fmt::format("\ntask t{0} cpu{0}\n  s{0} = per_cpu_var 2\n  q{0} = per_cpu_ptr s{0} 1\n", cpu);
    for (unsigned i = 0; i != 40; ++i) {
      text += "  preempt_disable\n  " + fmt::format(fmt::runtime(cpu == 0 ? of_first : of_second), cpu) +
              "\n  preempt_enable\n";
    }
  }
  const auto parsed = program::parse(text);
  if (!parsed) std::abort();
  return *parsed;
}
// Makes and gives up one of something on two CPUs, and nothing else.
program::Case two_makers(std::string_view machine, std::string_view make, std::string_view give_up) {
  std::string text = fmt::format("memtorture 1\nmachine {} cpus=2\nexpect pass\n", machine);
  for (unsigned cpu = 0; cpu != 2; ++cpu) {
    text += fmt::format("\ntask t{0} cpu{0}\n", cpu);
    for (unsigned i = 0; i != 20; ++i) text += fmt::format("  p{0} = {1}\n  {2} p{0}\n", cpu, make, give_up);
  }
  const auto parsed = program::parse(text);
  if (!parsed) std::abort();
  return *parsed;
}
program::Case two_with_areas() { return two_makers("toy objects=slab percpu=on", "alloc_percpu 64 8", "free_percpu"); }
program::Case two_with_stacks() { return two_makers("tiny-64 stack=8K", "fork", "exit"); }

// On one CPU, so that there is no race but only what could happen.
program::Case unpinned_adders() {
  std::string text = "memtorture 1\nmachine toy cpus=1 objects=slab percpu=on\nexpect pass\n";
  for (unsigned task = 0; task != 2; ++task) {
    text += fmt::format("\ntask t{0} cpu0\n  s{0} = per_cpu_var 0\n", task);
    for (unsigned i = 0; i != 20; ++i) text += fmt::format("  __this_cpu_add s{} 1\n", task);
  }
  const auto parsed = program::parse(text);
  if (!parsed) std::abort();
  return *parsed;
}

run::Outcome run_broken(Defect defect, const program::Case& the_case) {
  run::Runner runner(make_broken(defect));
  SeedChooser chooser(1);
  return runner.run(the_case, chooser, {});
}

void expect_found(Defect defect, const program::Case& the_case, std::string_view rule) {
  const run::Outcome outcome = run_broken(defect, the_case);
  EXPECT_EQ(outcome.verdict, Verdict::finding);
  EXPECT_EQ(outcome.finding.rule, rule) << run::print_report(the_case, outcome);
}

TEST(Judgement, ZoneThatWasNotAllowed) {
  expect_found(Defect::forgets_dma, two_cpus("GFP_KERNEL|__GFP_DMA", 0), "zone.bound");
}
TEST(Judgement, RefusalWhileThereIsPlenty) {
  expect_found(Defect::refuses, two_cpus("GFP_ATOMIC", 1), "page.fail.spurious");
}

TEST(Judgement, ObjectsOfAZoneThatWasNotAllowed) {
  expect_found(Defect::forgets_object_dma, two_cpus_with_objects("GFP_KERNEL|__GFP_DMA"), "object.zone");
}
TEST(Judgement, CacheThatIsGoneWhileItIsBusy) {
  expect_found(Defect::destroys_busy, two_busy_caches(), "cache.destroy");
}
TEST(Judgement, ObjectsThatNeverCameBack) {
  for (const std::string_view letters : {"", "K"})
    expect_found(Defect::loses_objects, two_cpus_with_objects("GFP_KERNEL", letters), "slab.lost");
}

// Which list the final audit looks at first decides how it puts it.
TEST(Judgement, BlocksThatNeverCameBack) {
  const program::Case the_case = two_cpus("GFP_KERNEL", 1);
  const run::Outcome outcome = run_broken(Defect::loses_blocks, the_case);
  EXPECT_EQ(outcome.verdict, Verdict::finding);
  EXPECT_TRUE(outcome.finding.rule.starts_with("buddy.")) << run::print_report(the_case, outcome);
}

TEST(Judgement, NothingIsFoundWhereNothingIsWrong) {
  for (const unsigned order : {0u, 1u})
    EXPECT_EQ(run_broken(Defect::atomic_counter, two_cpus("GFP_KERNEL", order)).verdict, Verdict::pass);
  EXPECT_EQ(run_broken(Defect::atomic_references, three_drops()).verdict, Verdict::pass);
  for (const std::string_view letters : {"", "K"}) {
    const program::Case the_case = two_cpus_with_objects("GFP_KERNEL", letters);
    EXPECT_EQ(run_broken(Defect::atomic_object_counter, the_case).verdict, Verdict::pass);
  }
  EXPECT_EQ(run_broken(Defect::atomic_areas, two_with_areas()).verdict, Verdict::pass);
  EXPECT_EQ(run_broken(Defect::atomic_stacks, two_with_stacks()).verdict, Verdict::pass);
  // To destroy a busy cache is the program's crime, and the subject says so.
  EXPECT_EQ(run_broken(Defect::atomic_object_counter, two_busy_caches()).verdict, Verdict::misuse);
}

// Whether or not an update was lost this time.
TEST(Judgement, LostPins) {
  const run::Outcome outcome = run_broken(Defect::atomic_object_counter, unpinned_adders());
  EXPECT_EQ(outcome.verdict, Verdict::misuse);
  EXPECT_TRUE(outcome.finding.rule == "percpu-unpinned" || outcome.finding.rule == "lost-update")
      << outcome.finding.rule;
  const program::Case right = two_adders("__this_cpu_add s{} 1", "this_cpu_add s{} 1");
  EXPECT_EQ(run_broken(Defect::atomic_object_counter, right).verdict, Verdict::pass);
}

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)

class RacesDeathTest : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  // ThreadSanitizer replaces the exit code when it has reported.
  [[noreturn]] static void run_and_exit(Defect defect, const program::Case& the_case) {
    std::exit(run_broken(defect, the_case).verdict == Verdict::pass ? 0 : 1);
  }
  static bool failed(int status) { return WIFEXITED(status) && WEXITSTATUS(status) != 0; }
};

// Certain, not likely: whichever CPU counts second has taken no lock before, so nothing orders it after the first.
TEST_F(RacesDeathTest, StructureWithoutItsLock) {
  EXPECT_EXIT(run_and_exit(Defect::unlocked_counter, two_cpus("GFP_KERNEL", 1)), failed, "data race");
}

TEST_F(RacesDeathTest, ArrayWithoutItsLock) {
  for (const std::string_view letters : {"", "K"}) {
    EXPECT_EXIT(run_and_exit(Defect::unlocked_object_counter, two_cpus_with_objects("GFP_KERNEL", letters)), failed,
                "data race");
  }
}

// As certain as the first: to make an area, or a task, is the first thing that either CPU does.
TEST_F(RacesDeathTest, AreasWithoutTheirLock) {
  EXPECT_EXIT(run_and_exit(Defect::unlocked_areas, two_with_areas()), failed, "data race");
}
TEST_F(RacesDeathTest, StacksWithoutTheirLock) {
  EXPECT_EXIT(run_and_exit(Defect::unlocked_stacks, two_with_stacks()), failed, "data race");
}

// Certain, too: between the wake-up and its first drop a CPU takes no lock that another has released after its own.
TEST_F(RacesDeathTest, ReferencesWithoutAtomics) {
  EXPECT_EXIT(run_and_exit(Defect::unlocked_references, three_drops()), failed, "data race");
}

// Nothing orders two CPUs that add to one copy.
TEST_F(RacesDeathTest, CopyOfAnotherCpu) {
  EXPECT_EXIT(run_and_exit(Defect::atomic_object_counter, two_adders("ptr_add q{} 1", "__this_cpu_add s{} 1")), failed,
              "data race");
}

TEST_F(RacesDeathTest, TheSameDoneRight) {
  EXPECT_EXIT(run_and_exit(Defect::atomic_object_counter, two_adders("__this_cpu_add s{} 1", "this_cpu_add s{} 1")),
              testing::ExitedWithCode(0), "");
  EXPECT_EXIT(run_and_exit(Defect::atomic_counter, two_cpus("GFP_KERNEL", 1)), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(run_and_exit(Defect::atomic_references, three_drops()), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(run_and_exit(Defect::atomic_object_counter, two_cpus_with_objects("GFP_KERNEL", "K")),
              testing::ExitedWithCode(0), "");
  EXPECT_EXIT(run_and_exit(Defect::atomic_areas, two_with_areas()), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(run_and_exit(Defect::atomic_stacks, two_with_stacks()), testing::ExitedWithCode(0), "");
}

#endif
#endif

}  // namespace
}  // namespace memtorture::threads
