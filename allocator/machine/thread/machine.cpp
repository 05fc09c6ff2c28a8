// The thread engine behind the declarations of machine.h and context.h (lock.h: lock.cpp).
#include "allocator/machine/machine.h"

#include "allocator/machine/thread/engine.h"

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
  chooser_ = &engine_->dice();
  const RunResult result = engine_->run(strands, chooser, limits);
  chooser_ = nullptr;
  return result;
}

std::span<const Departure> Machine::departures() const { return {}; }
void Machine::record(const Departure&) {}
void Machine::wake_daemon(const Strand& daemon) { engine_->wake_daemon(daemon); }
bool Machine::daemon_wait() { return engine_->daemon_wait(); }
void Machine::run_alone(void (*f)(void*), void* arg) { engine_->run_alone(f, arg); }
bool Machine::daemons_idle() const { return false; }  // it could change while the caller looks
void Machine::request_stop() { engine_->request_stop(); }
bool Machine::concurrent() { return true; }

void point_slow(Site) { this_machine().engine().point(); }
Jiffies jiffies_now() { return this_machine().engine().now(); }

void panic(PanicKind kind) {
  Engine& engine = this_machine().engine();
  if (engine.stop(StopReason::panic, kind))
    this_machine().witness().panicked(current(), kind);  // one CPU has the last word
  engine.leave();
}

bool may_give_up_cpu(Site site) {
  const Context& me = current();
  if (!sleepable(me.preempt_count, me.irqs)) {
    report({.kind = ReportKind::scheduling});
    return false;
  }
  point(site);
  return true;
}

void schedule() {
  if (may_give_up_cpu("sched.resched")) this_machine().engine().give_way();
}

void sleep_jiffies(Jiffies jiffies) {
  if (!may_give_up_cpu("sched.sleep")) return;
  this_machine().witness().slept(current());
  this_machine().engine().sleep(jiffies);
}

}  // namespace memtorture::machine
