// Misuse of kernel stacks: each kind as the shortest sequence that commits it.
#include "allocator/subject/kstacks.h"
#include "model/program/crimes.h"
#include "model/program/random_parts.h"

namespace memtorture::program {
namespace {

using namespace subject;

std::uint64_t room(const Author& a) {  // of a task whose stack nobody else uses
  const std::uint64_t all = a.the_case().shape.stack_bytes - thread_info_bytes - stack_end_bytes;
  return all > a.stack_used() ? all - a.stack_used() : 0;
}

// Inside its own block: the magic goes, then thread_info; or, with luck, the stack below.
std::uint64_t too_much(Author& a) {
  const std::uint64_t least = room(a) / frame_align * frame_align + frame_align;
  return a.random().percent(70) ? least + a.random().below(4) * frame_align : least + a.random().below(4096);
}

void large_frame(Author& a) { a.emit(PushFrame{{too_much(a)}}); }
void large_array(Author& a) {
  a.emit(PushFrame{{frame_bytes_min}});
  a.emit(AllocaBytes{{too_much(a)}});
}
void endless_recursion(Author& a) {
  const std::uint64_t bytes = 64 + a.random().below(4) * 64;
  a.emit(Recurse{{static_cast<std::uint32_t>(room(a) / bytes + 1)}, {bytes}});
}
void returned_from_it(Author& a) {
  a.random().percent(50) ? large_frame(a) : large_array(a);
  a.emit(PopFrame{});
}
void ends_twice(Author& a) {
  const Slot task = a.fresh();
  a.emit(ForkTask{{task}});
  a.emit(ExitTask{{task}});
  if (a.random().percent(30)) a.emit(StackNotUsed{});
  a.emit(ExitTask{{task}});
}
void forks_in_atomic(Author& a) {
  a.emit(PreemptDisable{});
  a.emit(ForkTask{{a.fresh()}});
  a.emit(PreemptEnable{});
}

using Crime = void (*)(Author&);
constexpr Crime overruns[] = {large_frame, large_array, endless_recursion, returned_from_it};
constexpr Crime in_tasks[] = {large_frame,      large_array, endless_recursion,
                              returned_from_it, ends_twice,  forks_in_atomic};

}  // namespace

void commit_stack_crime(Author& a) {
  if (a.program().kind == machine::ContextKind::task) {
    one_of(in_tasks, a.random())(a);
  } else if (a.random().percent(40)) {
    a.emit(ForkTask{{a.fresh()}});
  } else {
    one_of(overruns, a.random())(a);
  }
  if (a.random().percent(50)) a.emit(a.random().percent(60) ? Op(Schedule{}) : Op(Msleep{{1}}));
}

}  // namespace memtorture::program
