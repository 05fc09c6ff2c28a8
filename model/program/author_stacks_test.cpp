// What the generator writes about kernel stacks: a second, simpler set of books.
//
// Innocent cases overrun no stack whatever the schedule does: the deepest that any task goes, and all handlers on top
// of each other, fit on one. Each task ends once.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "allocator/subject/kstacks.h"
#include "model/program/generate.h"
#include "model/program/op_table.h"
#include "model/program/text.h"

namespace memtorture::program {
namespace {

using machine::ContextKind;

std::uint64_t deepest(const Program& program) {
  std::uint64_t most = 0;
  std::vector<std::uint64_t> frames;
  const auto used = [&] {
    std::uint64_t sum = 0;
    for (const std::uint64_t bytes : frames) sum += bytes;
    return sum;
  };
  for (const Op& op : program.ops) {
    if (const auto* push = std::get_if<PushFrame>(&op)) frames.push_back(subject::frame_size(push->bytes.value));
    if (std::holds_alternative<PopFrame>(op) && !frames.empty()) frames.pop_back();
    if (const auto* array = std::get_if<AllocaBytes>(&op); array != nullptr && !frames.empty())
      frames.back() += subject::array_size(array->bytes.value);
    const auto* deep = std::get_if<Recurse>(&op);
    most = std::max(most, used() + (deep != nullptr ? deep->depth.value * subject::frame_size(deep->bytes.value) : 0));
  }
  return most;
}

TEST(StackAuthor, OverrunsNothing) {
  unsigned with_frames = 0, low = 0;
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    const Case c = generate(seed, {.crimes = 0, .contexts = 80});
    if (c.shape.stack_bytes == 0) continue;
    const std::uint64_t room = c.shape.stack_bytes - subject::thread_info_bytes - subject::stack_end_bytes;
    std::uint64_t tasks = 0, handlers = 0, handlers_deepest = 0;
    for (const Program& program : c.programs) {
      const std::uint64_t depth = deepest(program);
      (program.kind == ContextKind::task ? tasks : handlers_deepest) =
          std::max(program.kind == ContextKind::task ? tasks : handlers_deepest, depth);
      if (program.kind != ContextKind::task) handlers += depth;
    }
    const bool own = c.shape.irq_stacks == machine::Toggle::on;
    ASSERT_LE(own ? std::max(tasks, handlers_deepest) : tasks + handlers, room) << "seed " << seed << "\n" << print(c);
    with_frames += tasks != 0 ? 1 : 0;
    low += tasks > room - c.shape.stack_bytes / 8 ? 1 : 0;
  }
  EXPECT_GT(with_frames, 200U);
  EXPECT_GT(low, 20U) << "so deep that an interrupt tells";
}

TEST(StackAuthor, EndsEachTaskOnce) {
  unsigned forked = 0, by_others = 0;
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    const Case c = generate(seed, {.crimes = 0, .contexts = 80});
    std::map<Slot, const Program*> made;
    std::map<Slot, unsigned> ended;
    for (const Program& program : c.programs) {
      bool atomic = program.kind != ContextKind::task;
      for (const Op& op : program.ops) {
        if (const auto* fork = std::get_if<ForkTask>(&op)) {
          EXPECT_FALSE(atomic) << print(c);
          made[fork->out.slot] = &program;
        }
      }
    }
    for (const Program& program : c.programs) {
      for (const Op& op : program.ops) {
        const auto* exit = std::get_if<ExitTask>(&op);
        if (exit == nullptr) continue;
        ASSERT_EQ(++ended[exit->task.slot], 1U) << print(c);
        ASSERT_NE(program.kind, ContextKind::nmi);
        by_others += made[exit->task.slot] != &program ? 1 : 0;
      }
    }
    forked += made.empty() ? 0 : 1;
  }
  EXPECT_GT(forked, 100U);
  EXPECT_GT(by_others, 20U);
}

TEST(StackAuthor, CommitsItsCrimes) {
  unsigned overruns = 0, twice = 0;
  for (std::uint64_t seed = 0; seed < 3000; ++seed) {
    const Case c = generate(seed, {.crimes = 100});
    if (c.shape.stack_bytes == 0) continue;
    std::map<Slot, unsigned> ended;
    for (const Program& program : c.programs) {
      overruns += deepest(program) > c.shape.stack_bytes - 72 ? 1 : 0;
      for (const Op& op : program.ops) {
        if (const auto* exit = std::get_if<ExitTask>(&op)) twice += ++ended[exit->task.slot] == 2 ? 1 : 0;
      }
    }
  }
  EXPECT_GT(overruns, 50U);
  EXPECT_GT(twice, 15U);
}

}  // namespace
}  // namespace memtorture::program
