// The deterministic engine: one host thread, every task and interrupt handler a fiber, a Chooser decides.
//
// Exactly one fiber runs. It goes on until it blocks or ends (run to completion) unless the chooser departs from that
// at a point: another CPU moves, a task of this CPU preempts, a handler interrupts a CPU, the task migrates. The
// decision is taken in the running fiber, which hands over directly; there is no trip through a scheduler.
//
//   CPU:    top -> handler -> handler -> task      (`under` links; the top is what the CPU executes)
//   ready:  tasks whose CPU executes something else
//
// What can move next: for each CPU its top, if it is not blocked; on an idle CPU any ready task of it. If nothing can:
// time jumps to the earliest timer; else handlers that were never delivered arrive; else whoever a lost wake-up was for
// wakes after all; else daemons are told to end; else the run is deadlocked. All of it in the order of fibers_, so a
// run is a function of case and chooser. The time-out of somebody who waits to be woken is for wake-ups that never
// come, so handlers arrive before it expires. Daemons with a timer (daemon_wait_until) only follow: time never jumps to
// them, they wake when it has passed them on its way to somebody else. They stand in front of fibers_, so by default
// they run before whoever time was moved for.
//
// Two faults are the machine's own (Machine::on_fault). wake.lost: the waiter has left its queue and has nobody's
// promise any more, its time-out least of all, so that what it gets is the longest delay that a scheduler can give to
// somebody who is runnable. irq.storm: a point asks once for each handler that its CPU admits, and then again for none,
// so that a handler that comes several times is spread over as many points.
//
// A CPU that is taken down is waited for like a lock (Life::stopping) until what it executes could be preempted.
//
// A stop (panic, finding, budget) jumps straight back to the driver and abandons the fibers: what runs on them holds no
// host resources by rule (allocator layers have no host heap, the executor keeps its state outside).
//
// Not modelled: time slices (a task runs for ever unless the chooser says otherwise), interrupt priorities.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "allocator/machine/fiber/stack.h"
#include "allocator/machine/machine.h"

namespace memtorture::machine {

enum class Life : std::uint8_t {
  pending,    // a handler that was not delivered yet
  ready,      // could run; executes when it is its CPU's top
  spinning,   // on a spinlock; keeps its CPU busy
  sleeping,   // until wake_at
  waiting,    // on a wait queue
  overslept,  // woken, but the wake-up was lost: off its queue, and it runs when nobody else can
  stopping,   // until a CPU can be taken down
  idle,       // a daemon without work, or before its time
  done,
};

struct Fiber : Context, fiber::Strand {
  machine::Strand strand{};
  Life life = Life::done;
  Fiber* under = nullptr;           // what it interrupted
  const void* waits_for = nullptr;  // SpinLock or WaitQueue; null: its time was up
  std::uint64_t wait_ticket = 0;    // order of waiters; overslept: of those who did
  Jiffies wake_at = 0;              // sleeping; waiting: its time-out; idle: its deferrable timer. 0: none
  bool has_work = false;            // daemons
  bool fresh = true;                // its stack holds no frames of ours
};

class Engine {
 public:
  static constexpr bool concurrent = false;
  explicit Engine(Machine& machine);

  void power_on();
  RunResult run(std::span<const machine::Strand> strands, Chooser& chooser, const Limits& limits);
  void run_alone(void (*f)(void*), void* arg);
  Chooser& chooser_in_charge(Chooser& asked) { return asked; }
  std::span<const Departure> departures() const { return departures_; }

  void record(const Departure& departure) {
    departures_.push_back({.at = departure.at, .take = departure.take, .step = steps()});
  }

  void point(Site site);
  void give_way();  // schedule()
  void sleep(Jiffies jiffies);
  void spin(const SpinLock& lock);  // returns when it was released meanwhile
  void released(const SpinLock& lock);
  bool wait(const WaitQueue& queue, Jiffies timeout);    // timeout 0: none. False: it is up
  std::uint32_t wake(const WaitQueue& queue, bool all);  // how many
  bool owns_below(ContextId owner) const;                // did the running context interrupt `owner`?
  const Context* interrupted() const { return running_->kind == ContextKind::task ? nullptr : running_->under; }
  void wake_daemon(const machine::Strand& daemon);
  bool daemon_wait();
  bool daemon_wait_until(Jiffies at);
  bool daemons_idle() const;
  unsigned cpu_of(ContextId id) const;
  bool is_online(unsigned cpu) const { return (online_ >> cpu & 1) != 0; }
  void take_cpu_down(unsigned cpu);
  void bring_cpu_up(unsigned cpu);
  [[noreturn]] void stop(StopReason reason, PanicKind panic = PanicKind::none);
  [[noreturn]] void panic(PanicKind kind);
  void request_stop();
  Jiffies now() const { return now_; }

 private:
  Fiber& running() { return *running_; }
  Fiber& add(const machine::Strand& strand);
  void set_alone();
  void step();
  std::uint64_t steps() const { return result_.steps + (quota_given_ - running_->quota); }
  void charge(std::uint64_t steps);
  void storm();
  void list_options();
  bool can_deliver(const Fiber& handler) const;
  bool can_be_switched_to(const Fiber& fiber) const;
  bool can_preempt(const Fiber& me) const;
  bool can_stop(unsigned cpu) const;
  void wake_stopper();
  void take(const Option& option);
  void deliver(Fiber& handler);
  void expect_again(Fiber& handler);
  void migrate(unsigned cpu);
  Fiber* ready_task(unsigned cpu, const Fiber* after) const;
  Fiber* find(ContextId id) const;
  void leave_cpu(Fiber& fiber);  // a task stops executing: its CPU is free
  void enter_cpu(Fiber& fiber);
  void switch_to(Fiber& next);
  void switch_away();  // the running fiber cannot go on
  Fiber* next_to_run();
  Fiber* earliest_timer() const;
  Fiber* first_overslept() const;
  void expire(Fiber& fiber);
  void wake_deferred();
  void begin_activation(Fiber& daemon);
  static void entry(boost::context::detail::transfer_t transfer);
  [[noreturn]] void loop(Fiber& me);

  Machine& machine_;
  std::vector<std::unique_ptr<Fiber>> pool_;  // fibers with their stacks, reused from run to run
  std::vector<fiber::Stack> stacks_;
  std::vector<Fiber*> fibers_;  // of this run
  Fiber* tops_[cpus_max] = {};
  Fiber driver_;  // the host stack that called run()
  Fiber* running_ = &driver_;
  Chooser* chooser_ = nullptr;
  std::vector<Option> options_;
  std::vector<Departure> departures_;
  RunResult result_;
  std::uint64_t steps_budget_ = 0;
  std::uint32_t quota_given_ = 0;  // when the steps were last counted; what is left of it goes from fiber to fiber
  std::uint64_t tickets_ = 0;
  unsigned pending_ = 0;  // handlers that are still to come
  Jiffies now_ = 0;
  std::uint64_t online_ = ~std::uint64_t{0};  // bit = CPU
  Fiber* stopper_ = nullptr;                  // stopping, one at a time (cpu_hotplug.h) ...
  unsigned stops_cpu_ = 0;                    // ... for this CPU
  bool shutting_down_ = false;
};

}  // namespace memtorture::machine
