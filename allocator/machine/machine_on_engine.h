// Machine, and what context.h leaves to the engine, written once for both of them. Definitions: an engine's machine.cpp
// includes this behind its own Engine, and nobody else does. So machine/ knows no engine, and a call of one costs no
// more than a call. Locks and wait queues are each engine's own (lock.cpp).
//
// What an engine cannot do it answers as "nothing": the thread engine takes no departures down, and never says that
// daemons are idle.
#pragma once

#include <algorithm>

#include "allocator/machine/cpu_hotplug.h"
#include "allocator/machine/engine.h"
#include "allocator/machine/machine.h"

namespace memtorture::machine {

Machine::Machine() : engine_(std::make_unique<Engine>(*this)) { daemons_.reserve(daemons_max); }
Machine::~Machine() = default;

void Machine::boot(const Shape& shape, Witness& witness) {
  shape_ = shape;
  witness_ = &witness;
  daemons_.clear();
  on_switch(nullptr, nullptr);
  on_fault(nullptr, nullptr, 0);
  ram_.power_on(shape.page_shift, shape.frames());
  engine_->power_on();
}

RunResult Machine::run(std::span<const Strand> strands, Chooser& chooser, const Limits& limits) {
  chooser_ = &engine_->chooser_in_charge(chooser);
  may_depart_ = chooser_->may_depart();
  if (watches_locks_) std::fill_n(lock_watches_.begin(), concurrent() ? shape_.cpus : 1, LockWatch{});
  const RunResult result = engine_->run(strands, chooser, limits);
  chooser_ = nullptr;
  may_depart_ = false;
  return result;
}

std::span<const Departure> Machine::departures() const { return engine_->departures(); }
void Machine::record(const Departure& departure) { engine_->record(departure); }
void Machine::wake_daemon(const Strand& daemon) { engine_->wake_daemon(daemon); }
bool Machine::daemon_wait() { return engine_->daemon_wait(); }
void Machine::add_daemon(const Strand& daemon) { daemons_.push_back(daemon); }
bool Machine::daemon_wait_until(Jiffies at) { return engine_->daemon_wait_until(at); }
void Machine::run_alone(void (*f)(void*), void* arg) { engine_->run_alone(f, arg); }
bool Machine::daemons_idle() const { return engine_->daemons_idle(); }
unsigned Machine::cpu_of(ContextId id) const { return engine_->cpu_of(id); }
void Machine::request_stop() { engine_->request_stop(); }
bool Machine::concurrent() { return Engine::concurrent; }

void point_slow(Site site) { this_machine().engine().point(site); }
Jiffies jiffies_now() { return this_machine().engine().now(); }
const Context* interrupted() { return this_machine().engine().interrupted(); }
void panic(PanicKind kind) { this_machine().engine().panic(kind); }

bool cpu_online(unsigned cpu) { return this_machine().engine().is_online(cpu); }
bool take_cpu_down(unsigned cpu) {
  Engine& engine = this_machine().engine();
  if (!may_give_up_cpu("sched.resched") || cpu == 0 || !engine.is_online(cpu)) return false;
  engine.take_cpu_down(cpu);
  return true;
}
bool bring_cpu_up(unsigned cpu) {
  Engine& engine = this_machine().engine();
  if (!may_give_up_cpu("sched.resched") || engine.is_online(cpu)) return false;
  engine.bring_cpu_up(cpu);
  return true;
}

void schedule() {
  if (may_give_up_cpu("sched.resched")) this_machine().engine().give_way();
}

void sleep_jiffies(Jiffies jiffies) {
  if (!may_give_up_cpu("sched.sleep")) return;
  went_to_sleep();
  this_machine().engine().sleep(jiffies);
}

}  // namespace memtorture::machine
