// The fiber engine behind the declarations of machine.h, context.h and lock.h.
#include "allocator/machine/machine.h"

#include "allocator/machine/fiber/engine.h"

namespace memtorture::machine {

Machine::Machine() : engine_(std::make_unique<Engine>(*this)) {}
Machine::~Machine() = default;

void Machine::boot(const Shape& shape, Witness& witness) {
  shape_ = shape;
  witness_ = &witness;
  ram_.power_on(shape.page_shift, shape.frames());
  engine_->power_on();
}

RunResult Machine::run(std::span<const Strand> strands, Chooser& chooser, const Limits& limits) {
  chooser_ = &chooser;
  Context* const before = current_context;
  const RunResult result = engine_->run(strands, chooser, limits);
  current_context = before;
  chooser_ = nullptr;
  return result;
}

std::span<const Departure> Machine::departures() const { return engine_->departures(); }
void Machine::record(const Departure& departure) { engine_->record(departure); }
void Machine::wake_daemon(const Strand& daemon) { engine_->wake_daemon(daemon); }
bool Machine::daemon_wait() { return engine_->daemon_wait(); }
void Machine::run_alone(void (*f)(void*), void* arg) { engine_->run_alone(f, arg); }
bool Machine::daemons_idle() const { return engine_->daemons_idle(); }
void Machine::request_stop() { engine_->request_stop(); }
bool Machine::concurrent() { return false; }

void point_slow(Site site) { this_machine().engine().point(site); }
Jiffies jiffies_now() { return this_machine().engine().now(); }

void panic(PanicKind kind) {
  this_machine().witness().panicked(current(), kind);
  this_machine().engine().stop(StopReason::panic, kind);
}

namespace {

// The common entry of everything that gives up the CPU; false: it must not, and was reported.
bool may_give_up_cpu(Site site) {
  const Context& me = current();
  if (!sleepable(me.preempt_count, me.irqs)) {
    report({.kind = ReportKind::scheduling});
    return false;
  }
  point(site);
  return true;
}

void went_to_sleep() { this_machine().witness().slept(current()); }

}  // namespace

void schedule() {
  if (may_give_up_cpu("sched.resched")) this_machine().engine().give_way();
}

void sleep_jiffies(Jiffies jiffies) {
  if (!may_give_up_cpu("sched.sleep")) return;
  went_to_sleep();
  this_machine().engine().sleep(jiffies);
}

void SpinLock::lock(Site site) {
  point(site);
  Context& me = current();
  me.preempt_count += preempt_offset;
  Engine& engine = this_machine().engine();
  for (;;) {
    const ContextId owner = owner_.load(std::memory_order_relaxed);
    if (owner == no_context && depth_ == 0) break;
    if (owner == me.id || engine.owns_below(owner)) {
      ++depth_;
      return report({.kind = ReportKind::lock_recursion});
    }
    engine.spin(*this);
  }
  owner_.store(me.id, std::memory_order_relaxed);
}

bool SpinLock::try_lock() {
  if (is_locked()) return false;
  current().preempt_count += preempt_offset;
  owner_.store(current().id, std::memory_order_relaxed);
  return true;
}

void SpinLock::unlock(Site site) {
  Context& me = current();
  if (depth_ != 0) {  // the end of a recursion that was granted
    --depth_;
  } else if (owner_.load(std::memory_order_relaxed) != me.id) {
    return report({.kind = ReportKind::lock_unowned});
  } else {
    owner_.store(no_context, std::memory_order_relaxed);
    if (!me.alone) this_machine().engine().released(*this);
  }
  me.preempt_count -= preempt_offset;
  point(site);
}

void WaitQueue::wait() {
  if (may_give_up_cpu("sched.sleep")) sleep();
}

void WaitQueue::sleep() {
  went_to_sleep();
  ++waiters_;
  this_machine().engine().wait(*this);
}

void WaitQueue::wake_one() {
  if (waiters_ == 0) return;
  --waiters_;
  this_machine().engine().wake(*this, false);
}

void WaitQueue::wake_all() {
  if (waiters_ == 0) return;
  waiters_ = 0;
  this_machine().engine().wake(*this, true);
}

void Mutex::lock(Site site) {
  might_sleep();
  point(site);
  const ContextId me = current().id;
  if (owner_.load(std::memory_order_relaxed) == me) return report({.kind = ReportKind::lock_recursion});
  while (owner_.load(std::memory_order_relaxed) != no_context) {
    if (!sleepable(current().preempt_count, current().irqs)) return;  // reported above; waiting here would be for ever
    if (!may_give_up_cpu("sched.sleep")) return;
    // At that point the owner may have unlocked: asleep after its wake-up nobody would wake us.
    if (owner_.load(std::memory_order_relaxed) != no_context) queue_.sleep();
  }
  owner_.store(me, std::memory_order_relaxed);
}

void Mutex::unlock(Site site) {
  if (owner_.load(std::memory_order_relaxed) != current().id) return report({.kind = ReportKind::lock_unowned});
  owner_.store(no_context, std::memory_order_relaxed);
  queue_.wake_one();
  point(site);
}

}  // namespace memtorture::machine
