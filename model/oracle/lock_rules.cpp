// What the order of locks says about programs and about the stack (domain.md 1.5, 1.7, 9.6; P-CTX-3, P-CTX-7, P-CTX-8).
//
// Trouble in which a lock of a program has a part is the program's: the stack calls no program while it holds a lock of
// its own, so it cannot have put it there (that is asked for itself). Any other is the stack's. What a program's
// trouble was is told once; after that a deadlock is its own, too.
//
// Not checked: kswapd's reclaim, which holds nothing that anybody waits for; wait queues, which have no owner.
#include <fmt/core.h>

#include "model/oracle/state.h"

namespace memtorture::oracle {

using machine::LockClass;

namespace {

// Of the spinlocks of the stack itself.
bool is_leaf(unsigned lock) {
  return LockClass::at(lock).kind() == machine::LockKind::spin && !LockClass::at(lock).name().starts_with("program.");
}

}  // namespace

Ruling Oracle::State::lock_ruling(const std::optional<LockOrder::Trouble>& trouble) {
  if (!trouble) return Ruling::fine;
  using enum LockOrder::Kind;
  switch (trouble->kind) {
    case interrupts:
      return trouble->of_a_program ? crime("lock-interrupts", machine::no_pfn, trouble->text)
                                   : broken("lock.interrupts", machine::no_pfn, trouble->text);
    case reclaim:
      return trouble->of_a_program ? crime("reclaim-recursion", machine::no_pfn, trouble->text)
                                   : broken("lock.order", machine::no_pfn, trouble->text);
    case order: break;
  }
  return trouble->of_a_program ? crime("lock-order", machine::no_pfn, trouble->text)
                               : broken("lock.order", machine::no_pfn, trouble->text);
}

Ruling Oracle::State::on_locked(const Event& event) {
  if (event.detail >= machine::lock_classes) return Ruling::fine;
  return lock_ruling(
      locks.take(event.detail, event.value, static_cast<std::uint8_t>(event.value2), {event.who, event.op}));
}

Ruling Oracle::State::waits_for_reclaim(const Event& event, Flight& f, std::uint32_t gfp) {
  Ruling ruling = Ruling::fine;
  for (LockSet left = reclaim_levels(gfp, f.task_flags); left != 0; left &= left - 1) {
    const Ruling of_level =
        lock_ruling(locks.take(static_cast<unsigned>(std::countr_zero(left)), event.held, 0, {event.who, event.op}));
    if (of_level != Ruling::fine) ruling = of_level;
  }
  if (!first_crime.rule.empty()) f.owe(ReportKind::lock_recursion, 0, many);  // a shrinker that meets its own task
  return ruling;
}

// A call of an operation, made with locks held: what it may ask of reclaim it may ask, whether or not it does now.
Ruling Oracle::State::request_under_locks(const Event& event, Flight& f) {
  const Act act = f.request.act;
  const bool kernel = act == Act::cache_create || act == Act::pool_create;
  const bool asks = allocates(act) || act == Act::obj_alloc || act == Act::obj_realloc || act == Act::pool_alloc ||
                    act == Act::pool_resize;
  if (!kernel && !asks) return Ruling::fine;
  return waits_for_reclaim(event, f, kernel ? subject::GFP_KERNEL : f.request.gfp);
}

// From now on its mutex is taken in reclaim that may call filesystems, under the list of shrinkers, whether or not that
// ever happens.
Ruling Oracle::State::call_shrinker(Flight& f) {
  Ruling ruling = sleepable_at(f) ? Ruling::fine : atomic_call(f, 1, 1);
  if (f.request.count == 0) return ruling;
  const unsigned mutex = LockClass("program.mutex0").index() + (f.request.byte & 3);
  const LockSet under = LockClass("fs_reclaim").bit() | LockClass("shrinker_rwsem").bit();
  const Ruling of_locks = lock_ruling(locks.take(mutex, under, 0, {who, op}));
  return of_locks != Ruling::fine ? of_locks : ruling;
}

Ruling Oracle::State::layer_under_locks(const Event& event, Flight& f) {
  for (LockSet left = event.held; left != 0; left &= left - 1) {
    const auto lock = static_cast<unsigned>(std::countr_zero(left));
    if (is_leaf(lock)) {
      return broken("lock.leaf", machine::no_pfn,
                    fmt::format("pages are asked for under {}", LockClass::at(lock).name()));
    }
  }
  return waits_for_reclaim(event, f, event.gfp);
}

Ruling Oracle::State::locks_left(const Event& event, const Flight& f) {
  std::string text;
  for (LockSet left = event.held ^ f.held; left != 0; left &= left - 1) {
    const auto lock = static_cast<unsigned>(std::countr_zero(left));
    text += fmt::format("{}{} is {}", text.empty() ? "" : ", ", LockClass::at(lock).name(),
                        (event.held >> lock & 1) != 0 ? "held" : "not held any more");
  }
  return broken("ctx.balance", machine::no_pfn, text + " at return");
}

}  // namespace memtorture::oracle
