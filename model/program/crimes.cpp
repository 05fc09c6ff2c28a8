#include "model/program/crimes.h"

#include <span>
#include <utility>

#include "model/program/op_table.h"
#include "model/program/random_parts.h"

namespace memtorture::program {
namespace {

using namespace subject;

std::uint8_t some_order(Author& a, std::uint32_t least) {
  const std::uint32_t most = a.the_case().shape.orders - 1U;
  return static_cast<std::uint8_t>(
      least >= most ? most : least + a.random().below(std::min<std::uint32_t>(4, most - least + 1)));
}
Slot block(Author& a, std::uint8_t order, gfp_t more = 0) { return a.granted(order, GFP_ATOMIC | more); }
Slot freed_page(Author& a) {
  const Slot slot = block(a, 0);
  a.emit(FreePageOf{{slot}});
  return slot;
}
Slot wild(Author& a) {
  const Slot slot = a.fresh();
  const std::uint32_t frames = a.the_case().shape.frames();
  const std::uint32_t reserved = a.the_case().shape.reserved_pages;
  a.emit(WildPage{{slot}, {a.random().below(reserved > 0 && a.random().percent(50) ? reserved : frames)}});
  return slot;
}
Byte some_byte(Author& a) { return {static_cast<std::uint8_t>(a.random().next())}; }

void double_free(Author& a) {
  const std::uint8_t order = some_order(a, 0);
  const Slot slot = block(a, order);
  a.emit(FreePagesOf{{slot}, {order}});
  a.emit(a.random().percent(50) ? Op(FreePagesOf{{slot}, {order}}) : Op(FreePages{{slot}, {order}}));
}
void interior_free(Author& a) { a.emit(FreePagesOf{{block(a, some_order(a, 1)), 1}, {0}}); }
void wrong_order(Author& a) {
  const std::uint8_t order = some_order(a, 1);
  a.emit(FreePagesOf{{block(a, order)}, {static_cast<std::uint8_t>(a.random().percent(50) ? order - 1 : order + 1)}});
}
void wild_free(Author& a) { a.emit(FreePagesOf{{wild(a)}, {0}}); }
void get_freed(Author& a) { a.emit(GetPage{{freed_page(a)}}); }
void put_freed(Author& a) { a.emit(PutPage{{freed_page(a)}}); }
void put_wild(Author& a) { a.emit(PutPage{{wild(a)}}); }
void split_compound(Author& a) {
  const std::uint8_t order = some_order(a, 1);
  a.emit(SplitPage{{block(a, order, gfp_comp)}, {order}});
}
void split_freed(Author& a) { a.emit(SplitPage{{freed_page(a)}, {1}}); }
void blemish_then_free(Author& a) {
  const Slot slot = block(a, 0);
  a.emit(BlemishPage{{slot}, {static_cast<Blemish>(a.random().below(std::size(blemish_names)))}});
  a.emit(FreePageOf{{slot}});
}
void poke_outside(Author& a) {
  const auto page = static_cast<std::int64_t>(a.the_case().shape.page_bytes());
  a.emit(Poke{{block(a, 0)}, {a.random().percent(50) ? page : -1}, some_byte(a)});
}
void poke_freed(Author& a) {
  const std::uint8_t order = a.random().percent(50) ? 0 : some_order(a, 0);
  const Slot slot = block(a, order);
  a.emit(FreePagesOf{{slot}, {order}});
  const auto bytes = static_cast<std::uint32_t>(a.the_case().shape.page_bytes() << order);
  a.emit(Poke{{slot}, {a.random().below(bytes)}, some_byte(a)});
  block(a, order, a.random().percent(40) ? gfp_zero : 0);
}
void read_freed(Author& a) {
  const Slot slot = freed_page(a);
  if (a.random().percent(30)) return a.emit(CheckContents{{slot}});
  a.emit(Peek{{slot}, {a.random().below(static_cast<std::uint32_t>(a.the_case().shape.page_bytes()))}});
}
void split_wrongly(Author& a) {
  const std::uint8_t order = some_order(a, 2);
  a.emit(SplitPage{{block(a, order)}, {static_cast<std::uint8_t>(order - 1)}});
}
void forget(Author& a) { a.emit(Forget{{block(a, some_order(a, 0))}}); }
void high_address(Author& a) { a.emit(GetFreePages{{a.fresh()}, {GFP_ATOMIC | gfp_highmem}, {0}}); }
void compound_exact(Author& a) {
  const std::uint64_t bytes = (1 + a.random().below(5)) * a.the_case().shape.page_bytes() - a.random().below(2);
  a.emit(AllocPagesExact{{a.fresh()}, {bytes}, {GFP_ATOMIC | gfp_comp}});
}
void no_such_zone(Author& a) {
  static constexpr gfp_t zones[] = {gfp_dma | gfp_highmem, gfp_dma | gfp_dma32, gfp_dma32 | gfp_highmem,
                                    gfp_dma | gfp_dma32 | gfp_highmem};
  block(a, 0, one_of(zones, a.random()));
}
void nofail_atomic(Author& a) { block(a, 0, gfp_nofail); }
void two_mobilities(Author& a) { block(a, 0, gfp_movable | gfp_reclaimable); }

void sleep_preempt_off(Author& a) {
  a.emit(PreemptDisable{});
  a.granted(0, GFP_KERNEL);
  a.emit(PreemptEnable{});
}
void sleep_irqs_off(Author& a) {
  a.emit(LocalIrqSave{});
  a.granted(0, GFP_NOIO);
  a.emit(LocalIrqRestore{});
}
void sleep_locked(Author& a) {
  a.emit(SpinLockOp{{0}});
  static constexpr std::size_t sleepers[] = {op_index<MightSleep>(),    op_index<Schedule>(), op_index<Msleep>(),
                                             op_index<DrainAllPages>(), op_index<CpuDown>(),  op_index<CpuUp>()};
  a.emit(default_op(one_of(sleepers, a.random())));
  a.emit(SpinUnlockOp{{0}});
}
void unpinned_cpu(Author& a) { a.emit(SmpProcessorId{}); }
void lock_twice(Author& a) {
  a.emit(SpinLockOp{{1}});
  a.emit(SpinLockOp{{1}});
  a.emit(SpinUnlockOp{{1}});
}
void locks_in_both_orders(Author& a) {
  const Lock outer{static_cast<std::uint8_t>(a.random().below(locks_max))};
  const Lock inner{static_cast<std::uint8_t>((outer.value + 1 + a.random().below(locks_max - 1)) % locks_max)};
  for (const auto& [first, second] : {std::pair{outer, inner}, std::pair{inner, outer}}) {
    a.emit(SpinLockIrqsave{first});
    a.emit(SpinLockOp{second});
    a.emit(SpinUnlockOp{second});
    a.emit(SpinUnlockIrqrestore{first});
  }
}
void mutexes_in_both_orders(Author& a) {
  for (const auto& [first, second] : {std::pair{Lock{0}, Lock{1}}, std::pair{Lock{1}, Lock{0}}}) {
    a.emit(MutexLockOp{first});
    a.emit(MutexLockOp{second});
    a.emit(MutexUnlockOp{second});
    a.emit(MutexUnlockOp{first});
  }
}
// Of a lock that handlers may take; whether one of them does is the case's luck.
void lock_without_mask(Author& a) {
  const Lock lock{static_cast<std::uint8_t>(2 + a.random().below(2))};
  a.emit(SpinLockOp{lock});
  a.emit(SpinUnlockOp{lock});
}
void reclaim_recursion(Author& a) {
  const Lock lock{filesystem_mutex};
  if (a.random().percent(70)) a.emit(RegisterShrinker{lock});
  a.emit(MutexLockOp{lock});
  if (a.random().percent(40)) a.emit(RegisterShrinker{lock});
  a.granted(0, GFP_KERNEL);
  a.emit(MutexUnlockOp{lock});
}
void softirqs_on_while_masked(Author& a) {
  a.emit(LocalBhDisable{});
  a.emit(LocalIrqSave{});
  a.emit(LocalBhEnable{});
  a.emit(LocalIrqRestore{});
}
void release_unheld(Author& a) {
  const Lock lock{static_cast<std::uint8_t>(a.random().below(locks_max))};
  if (a.random().percent(50)) return a.emit(SpinUnlockUnheld{lock});
  a.emit(MutexUnlockUnheld{lock});
}
void exit_off_balance(Author& a) {
  static constexpr std::size_t openers[] = {op_index<PreemptDisable>(), op_index<LocalIrqSave>(),
                                            op_index<LocalBhDisable>(), op_index<SpinLockOp>(),
                                            op_index<RcuReadLock>()};
  a.emit(default_op(one_of(openers, a.random())));
  a.emit(DoExit{});
}
void sleep_in_handler(Author& a) { a.granted(0, GFP_KERNEL); }
void enter_from_nmi(Author& a) {
  switch (a.random().below(5)) {
    case 0: return a.emit(PutPage{{wild(a)}});
    case 1: return a.emit(FreePagesOf{{wild(a)}, {0}});
    case 2: return a.emit(DrainLocalPages{});
    case 3: return a.emit(SetMinFreeKbytes{{64}});
    default: block(a, 0);
  }
}

using Crime = void (*)(Author&);
constexpr Crime anywhere[] = {double_free,  interior_free, wrong_order,    wild_free,    get_freed,
                              put_freed,    put_wild,      split_compound, split_freed,  blemish_then_free,
                              poke_outside, poke_freed,    forget,         high_address, compound_exact,
                              no_such_zone, nofail_atomic, two_mobilities, read_freed,   split_wrongly};
constexpr Crime in_tasks[] = {sleep_preempt_off,      sleep_irqs_off,    sleep_locked,
                              unpinned_cpu,           lock_twice,        locks_in_both_orders,
                              mutexes_in_both_orders, lock_without_mask, reclaim_recursion,
                              release_unheld,         exit_off_balance,  softirqs_on_while_masked};

}  // namespace

void commit_crime(Author& a) {
  if (a.the_case().shape.stack_bytes != 0 && a.random().percent(40)) return commit_stack_crime(a);
  if (a.the_case().shape.percpu == machine::Toggle::on && a.random().percent(40)) return commit_percpu_crime(a);
  if (a.the_case().shape.objects != machine::ObjectLayer::none && a.random().percent(70)) return commit_object_crime(a);
  const machine::ContextKind kind = a.program().kind;
  if (kind == machine::ContextKind::nmi) return enter_from_nmi(a);
  if (kind == machine::ContextKind::task && a.random().percent(30)) return one_of(in_tasks, a.random())(a);
  if (kind != machine::ContextKind::task && a.random().percent(40)) return sleep_in_handler(a);
  one_of(anywhere, a.random())(a);
}

}  // namespace memtorture::program
