// What the actions on kernel stacks write. How deep a program may go without taking anybody else's room is known
// beforehand: with interrupt stacks all of its own; without, a handler has an eighth of whatever stack it comes on, and
// tasks leave that much to the two that can be on top of them at a time, a softirq and a hardirq.
#include <algorithm>
#include <numeric>

#include "allocator/subject/kstacks.h"
#include "model/program/author.h"
#include "model/program/random_parts.h"

namespace memtorture::program {

using namespace subject;

std::uint64_t Author::stack_used() const { return std::accumulate(frames_.begin(), frames_.end(), std::uint64_t{0}); }

std::uint64_t Author::stack_share() const {
  const std::uint64_t all = case_.shape.stack_bytes - thread_info_bytes - stack_end_bytes;
  if (case_.shape.irq_stacks == machine::Toggle::on) return all;
  const auto handlers = static_cast<std::uint64_t>(std::ranges::count_if(case_.programs, [](const Program& p) {
    return p.kind == machine::ContextKind::softirq || p.kind == machine::ContextKind::hardirq;
  }));
  const std::uint64_t eighth = case_.shape.stack_bytes / 8 / frame_align * frame_align;
  return is_task() ? all - std::min<std::uint64_t>(handlers, 2) * eighth : eighth;
}

bool Author::perform_on_stacks() {
  const std::uint64_t used = stack_used(), share = stack_share() / frame_align * frame_align;
  const std::uint64_t left = share > used ? share - used : 0;
  const std::uint32_t dice = random_.below(100);
  if (dice < 22 && is_sleepable()) {
    const Slot slot = fresh();
    emit(ForkTask{{slot}});
    tasks_.push_back(slot);
    return true;
  }
  if (dice < 45 && !tasks_.empty()) {
    end_task(random_.below(static_cast<std::uint32_t>(tasks_.size())));
    return true;
  }
  if (dice < 62 && !frames_.empty()) {
    emit(PopFrame{});
    frames_.pop_back();
    return true;
  }
  if (dice < 70) {
    emit(StackNotUsed{});
    return true;
  }
  if (left < frame_bytes_min) return false;
  if (dice < 80 && !frames_.empty()) {
    const std::uint64_t bytes =
        random_.percent(60) ? some_frame(left) : random_.below(static_cast<std::uint32_t>(left));
    emit(AllocaBytes{{bytes}});
    frames_.back() += array_size(bytes);
  } else if (dice < 88) {
    recurse(left);
  } else {
    call_function(left);
  }
  return true;
}

// A couple of hundred bytes, as it should be; or all that is left, less a little.
std::uint64_t Author::some_frame(std::uint64_t left) {
  static constexpr std::uint64_t usual[] = {0, 1, 16, 31, 32, 33, 48, 100, 160, 200, 256, 400, 512, 1000, 2048};
  const std::uint64_t bytes = random_.percent(12) ? left - random_.below(3) * frame_align : one_of(usual, random_);
  return std::min(bytes, left);
}

void Author::call_function(std::uint64_t left) {
  const std::uint64_t bytes = some_frame(left);
  emit(PushFrame{{bytes}});
  frames_.push_back(frame_size(bytes));
}

void Author::recurse(std::uint64_t left) {
  const std::uint64_t bytes = some_frame(left);
  const std::uint64_t deepest = std::min<std::uint64_t>(left / frame_size(bytes), recursion_most);
  const auto most = static_cast<std::uint32_t>(deepest);
  emit(Recurse{{random_.percent(25) ? most : random_.below(std::min(most, 8U) + 1)}, {bytes}});
}

// By itself, or by another program: should that come before the task is there, the harness ends it.
void Author::end_task(std::size_t index) {
  const Slot slot = tasks_[index];
  tasks_.erase(tasks_.begin() + static_cast<std::ptrdiff_t>(index));
  const auto programs = static_cast<std::uint32_t>(case_.programs.size());
  const bool by_another = style_.hands_over_tasks && random_.percent(20);
  Program& by = case_.programs[by_another ? random_.below(programs) : program_];
  if (by.kind == machine::ContextKind::nmi) return emit(ExitTask{{slot}});
  by.ops.emplace_back(ExitTask{{slot}});
}

void Author::settle_stacks() {
  while (!tasks_.empty()) {
    if (random_.percent(15)) return;
    end_task(tasks_.size() - 1);
  }
  while (!frames_.empty() && random_.percent(80)) {
    emit(PopFrame{});
    frames_.pop_back();
  }
}

}  // namespace memtorture::program
