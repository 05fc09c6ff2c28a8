// Misuse of per-CPU memory.
#include "model/program/crimes.h"
#include "model/program/random_parts.h"

namespace memtorture::program {
namespace {

using namespace subject;

Slot area(Author& a, std::uint64_t bytes = 8) {
  const Slot slot = a.fresh();
  a.emit(AllocPercpuGfp{{slot}, {bytes}, {8}, {GFP_ATOMIC}});
  return slot;
}
Slot variable(Author& a, std::uint32_t index) {
  const Slot slot = a.fresh();
  a.emit(PerCpuVar{{slot}, {index}});
  return slot;
}
Slot any_counter(Author& a) { return a.random().percent(50) ? area(a) : variable(a, a.random().below(3)); }
Count some_value(Author& a) { return {1 + a.random().below(100)}; }

void no_pin(Author& a) {
  const Slot p = any_counter(a);
  if (a.random().percent(50)) return a.emit(RawCpuAdd{{p}, some_value(a)});
  const Slot q = a.fresh();
  a.emit(ThisCpuPtr{{q}, {p}});
  if (a.random().percent(70)) a.emit(PtrAdd{{q}, some_value(a)});
}
void pointer_after_pin(Author& a) {
  const Slot p = any_counter(a), q = a.fresh();
  a.emit(GetCpuPtr{{q}, {p}});
  a.emit(PutCpuPtr{{p}});
  a.emit(PtrAdd{{q}, some_value(a)});
}
void number_after_pin(Author& a) {
  const Slot p = any_counter(a), c = a.fresh();
  a.emit(GetCpu{{c}});
  a.emit(PutCpu{});
  const bool pinned_again = a.random().percent(60);
  if (pinned_again) a.emit(PreemptDisable{});
  a.emit(PerCpuAdd{{p}, {c}, some_value(a)});
  if (pinned_again) a.emit(PreemptEnable{});
}
void interrupts_on(Author& a) {
  const Slot p = variable(a, a.random().below(2));
  a.emit(PreemptDisable{});
  a.emit(RawCpuAdd{{p}, some_value(a)});
  a.emit(PreemptEnable{});
}
void remote(Author& a) {
  const Slot p = any_counter(a), q = a.fresh();
  a.emit(PerCpuPtr{{q}, {p}, {a.random().below(a.the_case().shape.cpus)}});
  const bool pinned = a.random().percent(60);
  if (pinned) a.emit(PreemptDisable{});
  a.emit(PtrAdd{{q}, some_value(a)});
  if (pinned) a.emit(PreemptEnable{});
}
void impossible(Author& a) {
  const Slot p = a.fresh();
  switch (a.random().below(4)) {
    case 0: return a.emit(AllocPercpuGfp{{p}, {0}, {1}, {GFP_ATOMIC}});
    case 1: return a.emit(AllocPercpuGfp{{p}, {(std::uint64_t{64} << 10) + 1}, {1}, {GFP_ATOMIC}});
    case 2: return a.emit(AllocPercpuGfp{{p}, {8}, {a.the_case().shape.page_bytes() * 2}, {GFP_ATOMIC}});
    default: return a.emit(AllocPercpuGfp{{p}, {8}, {3 * a.random().below(5)}, {GFP_ATOMIC}});
  }
}
void free_wrongly(Author& a) {
  const Slot p = area(a, 64);
  switch (a.random().below(4)) {
    case 0: return a.emit(FreePercpu{{p, static_cast<std::uint16_t>(1 + a.random().below(63))}});
    case 1: return a.emit(FreePercpu{{variable(a, a.random().below(3))}});
    default:
      a.emit(FreePercpu{{p}});
      if (a.random().percent(40)) area(a, a.random().percent(50) ? 64 : 8);
      a.emit(FreePercpu{{p}});
  }
}
void use_freed(Author& a) {
  const Slot p = area(a);
  a.emit(FreePercpu{{p}});
  a.emit(ThisCpuAdd{{p}, some_value(a)});
}
void sleep_locked(Author& a) {
  a.emit(SpinLockOp{{0}});
  a.emit(AllocPercpu{{a.fresh()}, {16}, {8}});
  a.emit(SpinUnlockOp{{0}});
}
void sleep_in_handler(Author& a) { a.emit(AllocPercpu{{a.fresh()}, {16}, {8}}); }

using Crime = void (*)(Author&);
constexpr Crime anywhere[] = {interrupts_on, remote, impossible, free_wrongly, use_freed};
constexpr Crime in_tasks[] = {no_pin, pointer_after_pin, number_after_pin, remote, interrupts_on, sleep_locked};

}  // namespace

void commit_percpu_crime(Author& a) {
  switch (a.program().kind) {
    case machine::ContextKind::nmi: return a.random().percent(50) ? void(area(a)) : interrupts_on(a);
    case machine::ContextKind::task:
      return a.random().percent(60) ? one_of(in_tasks, a.random())(a) : one_of(anywhere, a.random())(a);
    default: return a.random().percent(25) ? sleep_in_handler(a) : one_of(anywhere, a.random())(a);
  }
}

}  // namespace memtorture::program
