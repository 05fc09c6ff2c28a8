// Stacks as blocks: where they come from, what they hold when they are new, where they go.
#include <gtest/gtest.h>

#include <cstring>

#include "allocator/kernel/stacks_rig.h"
#include "allocator/kernel/test_rig.h"

namespace memtorture::kernel {
namespace {

using machine::ReportKind;
using machine::Shape;
using machine::StopReason;
using machine::Toggle;
using subject::StackUse;
using subject::TaskHandle;

using Stacks = StacksRig<Recorder>;
constexpr std::uint64_t KiB = 1024;

bool is_clear(Stacks& rig, TaskHandle task) {
  const std::byte* const low = rig.at(task);
  return std::all_of(low + subject::thread_info_bytes + subject::stack_end_bytes, low + rig.bytes(),
                     [](std::byte b) { return b == std::byte{0}; });
}

TEST(Kstack, BootMakesOneForEachTaskAndCpu) {
  for (const std::uint64_t bytes : {4 * KiB, 8 * KiB, 16 * KiB}) {
    Shape shape = with_stacks(bytes, Toggle::on);
    shape.cpus = 2;
    Stacks rig(shape);
    const std::uint64_t before = rig.kernel.nr_free_pages();
    rig.task([] {}).task([] {}, 1).add(machine::ContextKind::hardirq, 0, [] {});
    ASSERT_TRUE(rig.boot());
    EXPECT_EQ(rig.stacks(StackUse::program).size(), 2U);
    EXPECT_EQ(rig.stacks(StackUse::idle).size(), 2U);
    EXPECT_EQ(rig.stacks(StackUse::hardirq).size(), 2U);
    EXPECT_EQ(rig.stacks(StackUse::softirq).size(), 2U);
    EXPECT_EQ(before - rig.kernel.nr_free_pages(), 8 * bytes / shape.page_bytes());
    for (const std::uint64_t base : rig.stacks(StackUse::program)) {
      EXPECT_EQ(base % bytes, 0U);
      EXPECT_TRUE(is_clear(rig, base));
      EXPECT_EQ(rig.word(base + 64), 0x57AC6E9DU);
      EXPECT_EQ(rig.word(base), base);
    }
  }
}

TEST(Kstack, BootWithoutMemoryLeavesNothing) {
  Shape shape = machine::shape_named("buddy16").value();
  shape.stack_bytes = 16 * KiB;
  shape.irq_stacks = Toggle::on;
  Stacks rig(shape);  // 16 pages: four stacks, and five are needed
  rig.task([] {}).task([] {});
  const auto before = rig.kernel.nr_free_pages();
  EXPECT_FALSE(rig.boot());
  EXPECT_EQ(rig.kernel.nr_free_pages(), before);
  EXPECT_TRUE(rig.stacks(StackUse::program).empty());
  EXPECT_TRUE(rig.stacks(StackUse::idle).empty());
}

TEST(Kstack, PagesOf8K) {
  Shape shape = machine::shape_named("alpha").value();
  shape.stack_bytes = 16 * KiB;
  Stacks rig(shape);
  rig.task([&] {
    const TaskHandle task = rig.kernel.fork();
    EXPECT_EQ(task % (16 * KiB), 0U);
    EXPECT_EQ(rig.said.requests.back().order, 1U);
    rig.kernel.exit_task(task);
  });
  ASSERT_TRUE(rig.boot());
  EXPECT_EQ(rig.run().reason, StopReason::finished);
}

TEST(Kstack, ForkAsksOnceAndExitGivesBackOnce) {
  Stacks rig(with_stacks(8 * KiB));
  rig.task([&] {
    const std::size_t requests = rig.said.requests.size();
    const TaskHandle task = rig.kernel.fork();
    ASSERT_NE(task, subject::no_task);
    ASSERT_EQ(rig.said.requests.size(), requests + 1);
    EXPECT_EQ(rig.said.requests.back().gfp, subject::GFP_KERNEL | subject::gfp_zero);
    EXPECT_EQ(rig.said.requests.back().order, 1U);
    EXPECT_TRUE(is_clear(rig, task));
    EXPECT_EQ(rig.kernel.stack_info(task).use, StackUse::forked);
    rig.kernel.exit_task(task);
    ASSERT_EQ(rig.said.releases.size(), 1U);
    EXPECT_EQ(rig.said.releases[0].first, rig.kernel.machine().ram().pfn_of(task));
    rig.kernel.exit_task(task);
    EXPECT_EQ(rig.said.releases.size(), 1U);
    EXPECT_EQ(rig.said.count(ReportKind::bad_stack), 1U);
  });
  ASSERT_TRUE(rig.boot());
  EXPECT_EQ(rig.run().reason, StopReason::finished);
}

TEST(Kstack, WhatIsNoTaskDoesNotEnd) {
  Stacks rig(with_stacks(8 * KiB));
  rig.task([&] {
    for (const std::uint64_t what : {std::uint64_t{0}, std::uint64_t{8192}, machine::Ram::linear_base + 4096,
                                     rig.stacks(StackUse::program)[0], rig.stacks(StackUse::idle)[0]})
      rig.kernel.exit_task(what);
    EXPECT_EQ(rig.said.count(ReportKind::bad_stack), 5U);
    EXPECT_TRUE(rig.said.releases.empty());
  });
  ASSERT_TRUE(rig.boot());
  EXPECT_EQ(rig.run().reason, StopReason::finished);
}

TEST(Kstack, KeptStacksAreTwoACpuAndCleared) {
  Stacks rig(with_stacks(8 * KiB, Toggle::off, Toggle::on));
  rig.task([&] {
    TaskHandle tasks[3];
    for (TaskHandle& task : tasks) task = rig.kernel.fork();
    for (const TaskHandle task : tasks) {
      std::memset(rig.at(task) + 72, 0x77, rig.bytes() - 72);
      rig.kernel.exit_task(task);
    }
    EXPECT_EQ(rig.said.releases.size(), 1U);
    EXPECT_EQ(rig.stacks(StackUse::cached).size(), 2U);
    const std::size_t requests = rig.said.requests.size();
    for (const unsigned i : {1U, 0U}) {  // the last one first
      const TaskHandle again = rig.kernel.fork();
      EXPECT_EQ(again, tasks[i]);
      EXPECT_TRUE(is_clear(rig, again));
      EXPECT_EQ(rig.word(again + 64), 0x57AC6E9DU);
    }
    EXPECT_EQ(rig.said.requests.size(), requests);
  });
  ASSERT_TRUE(rig.boot());
  EXPECT_EQ(rig.run().reason, StopReason::finished);
}

TEST(Kstack, ForkThatCannotBeChargedLeavesNothing) {
  fault::Rule rule;
  rule.site = "kstack.charge";
  rule.probability = 100;
  rule.times = 1;
  rule.ignore_wait = false;
  Stacks rig(with_stacks(8 * KiB), {rule});
  rig.task([&] {
    const std::uint64_t before = rig.kernel.nr_free_pages();
    EXPECT_EQ(rig.kernel.fork(), subject::no_task);
    EXPECT_EQ(rig.kernel.nr_free_pages(), before);
    ASSERT_EQ(rig.said.releases.size(), 1U);
    EXPECT_EQ(rig.said.releases[0].first, rig.said.requests.back().granted);
    EXPECT_NE(rig.kernel.fork(), subject::no_task);
  });
  ASSERT_TRUE(rig.boot());
  EXPECT_EQ(rig.run().reason, StopReason::finished);
  EXPECT_EQ(rig.said.faults.size(), 1U);
}

#ifdef MT_ENGINE_FIBER  // one after the other, and it looks at another CPU's list

TEST(Kstack, TheDeadAreBuriedByTheNextOnTheirCpu) {
  Shape shape = with_stacks(8 * KiB);
  shape.cpus = 2;
  Stacks rig(shape);
  rig.task([] {});
  rig.task([&] { (void)rig.kernel.fork(); }, 1);
  rig.task([&] {
    EXPECT_EQ(rig.stacks(StackUse::dead).size(), 2U);  // one a CPU
    (void)rig.kernel.fork();
    EXPECT_EQ(rig.stacks(StackUse::dead).size(), 1U);
    EXPECT_EQ(rig.said.releases.size(), 1U);
  });
  ASSERT_TRUE(rig.boot());
  const std::uint64_t first = rig.stacks(StackUse::program)[0];
  EXPECT_EQ(rig.run().reason, StopReason::finished);
  EXPECT_EQ(rig.said.releases[0].first, rig.kernel.machine().ram().pfn_of(first));
  rig.alone([&] { rig.kernel.shut_down(); });
  EXPECT_EQ(rig.said.releases.size(), 3U);
  EXPECT_TRUE(rig.stacks(StackUse::dead).empty());
}

#endif

TEST(Kstack, ForkInAtomicContextIsReportedOnce) {
  for (const Toggle cache : {Toggle::off, Toggle::on}) {
    Stacks rig(with_stacks(8 * KiB, Toggle::off, cache));
    rig.task([&] {
      rig.kernel.exit_task(rig.kernel.fork());
      machine::preempt_disable();
      const TaskHandle task = rig.kernel.fork();
      machine::preempt_enable();
      EXPECT_NE(task, subject::no_task);
      EXPECT_EQ(rig.said.count(ReportKind::sleeping), 1U);
    });
    ASSERT_TRUE(rig.boot());
    EXPECT_EQ(rig.run().reason, StopReason::finished);
    EXPECT_EQ(rig.said.reports.size(), 1U);
  }
}

TEST(Kstack, NmiNeitherForksNorEnds) {
  Stacks rig(with_stacks(8 * KiB));
  TaskHandle task = 0;
  rig.task([&] { task = rig.kernel.fork(); });
  rig.add(machine::ContextKind::nmi, 0, [&] {
    EXPECT_EQ(rig.kernel.fork(), subject::no_task);
    rig.kernel.exit_task(task);  // on threads it may be here before the task
  });
  ASSERT_TRUE(rig.boot());
  EXPECT_EQ(rig.run().reason, StopReason::finished);
  EXPECT_EQ(rig.kernel.stack_info(task).use, StackUse::forked);
  EXPECT_EQ(rig.said.count(ReportKind::nmi_entry), 2U);
}

}  // namespace
}  // namespace memtorture::kernel
