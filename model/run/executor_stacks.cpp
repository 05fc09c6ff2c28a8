// Operations on kernel stacks. What a program has of its frames is how many it can return from; where they are, and
// whether they hold what they should, is told as the subject says it.
//
// A return address stands for the call: it is different for each, and never 0.
#include <algorithm>

#include "model/run/executor.h"

namespace memtorture::run {

using namespace program;  // the operations
using oracle::EventKind;

static_assert(subject::strands_max >= programs_max);

void Executor::use_stacks(subject::Kstacks& stacks, subject::KstacksView* view) {
  stacks_ = &stacks;
  stacks_view_ = view;
  if (view != nullptr) tape_.conclude(oracle_.begin_stacks(*view));
}

// What it interrupted is asked of the machine, where it stands of the subject.
void Executor::enter() {
  const machine::Context* const found = machine::interrupted();
  stacks_->enter();
  frames_[machine::current().id] = 0;  // those of its last interrupt went with it
  Event event = Tape::here(EventKind::entered);
  event.value = found != nullptr ? found->id : machine::no_context;
  event.value2 = stacks_->stack_pointer();
  tape_.emit(event);
}

std::uint64_t Executor::return_address() const {
  const machine::Context& me = machine::current();
  return Random(std::uint64_t{me.id} << 32 | me.op).next() | 1;
}

// Offset of the first byte for frames that is not zero; all ones: none.
std::uint64_t Executor::bytes_not_clear(subject::TaskHandle task) {
  const std::uint64_t bytes = case_->shape.stack_bytes;
  if (!in_memory(task, bytes)) return ~std::uint64_t{0};
  constexpr std::uint64_t low_end = subject::thread_info_bytes + subject::stack_end_bytes;
  const auto frames = bytes_at(task, bytes).subspan(low_end);
  const auto dirty = std::ranges::find_if(frames, [](std::byte b) { return b != std::byte{0}; });
  return dirty == frames.end() ? ~std::uint64_t{0} : low_end + static_cast<std::uint64_t>(dirty - frames.begin());
}

void Executor::operator()(const ForkTask& op) {
  if (stacks_ == nullptr) return skip();
  begin();
  const subject::TaskHandle task = stacks_->fork();
  Event event = Tape::here(EventKind::result);
  event.value = task;
  event.value2 = ~std::uint64_t{0};
  if (task != subject::no_task) {
    event.pfn = machine_->ram().pfn_of(task);
    event.value2 = bytes_not_clear(task);
  }
  finish(event);
  if (task != subject::no_task) {
    tasks_made_[machine::current().id].push_back(task);
    refill(op.out, {.what = Held::task, .address = task});
  }
  audit_if_due();
}

void Executor::operator()(const ExitTask& op) {
  const Holding& held = slots_[op.task.slot];
  if (stacks_ == nullptr || held.what != Held::task) return skip();
  begin();
  stacks_->exit_task(held.address);
  end();
}

void Executor::operator()(const PushFrame& op) {
  if (stacks_ == nullptr) return skip();
  ++frames_[machine::current().id];
  begin();
  Event event = Tape::here(EventKind::result);
  event.value2 = return_address();
  event.value = stacks_->push(std::min(op.bytes.value, frame_bytes_most), event.value2);
  finish(event);
  audit_if_due();
}

void Executor::operator()(const PopFrame&) {
  if (stacks_ == nullptr || frames_[machine::current().id] == 0) return skip();
  --frames_[machine::current().id];
  begin();
  const subject::Returned found = stacks_->pop();
  Event event = Tape::here(EventKind::result);
  event.value = found.return_address;
  event.value2 = found.lowest_word;
  finish(event);
  audit_if_due();
}

void Executor::operator()(const AllocaBytes& op) {
  if (stacks_ == nullptr || frames_[machine::current().id] == 0) return skip();
  begin();
  Event event = Tape::here(EventKind::result);
  event.value2 = return_address();
  event.value = stacks_->alloca_bytes(std::min(op.bytes.value, frame_bytes_most), event.value2);
  finish(event);
  audit_if_due();
}

void Executor::operator()(const Recurse& op) {
  if (stacks_ == nullptr) return skip();
  begin();
  const subject::Recursed recursed = stacks_->recurse(std::min(op.depth.value, recursion_most),
                                                      std::min(op.bytes.value, frame_bytes_most), return_address());
  Event event = Tape::here(EventKind::result);
  event.value = recursed.lowest;
  event.value2 = recursed.frames_broken;
  finish(event);
  audit_if_due();
}

void Executor::operator()(const StackNotUsed&) {
  if (stacks_ == nullptr) return skip();
  begin();
  end(stacks_->stack_not_used());
}

// First the tasks that nobody ended, then what the layer kept.
void Executor::clean_up_stacks() {
  const auto harness_call = [&](std::uint8_t what, std::uint64_t task) {
    Event event = Tape::here(EventKind::call);
    event.detail = what;
    event.value = task;
    tape_.emit(event);
  };
  for (const auto& tasks : tasks_made_) {
    for (const subject::TaskHandle task : tasks) {
      if (!oracle_.is_live_task(task)) continue;
      harness_call(oracle::clean_up_task, task);
      stacks_->exit_task(task);
      tape_.emit(Tape::here(EventKind::result));
    }
  }
  harness_call(oracle::clean_up_stacks, 0);
  stacks_->shut_down();
  tape_.emit(Tape::here(EventKind::result));
}

}  // namespace memtorture::run
