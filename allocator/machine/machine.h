// A machine: shape, RAM, CPUs, virtual time, and the engine that runs contexts on it. Façade of allocator/machine.
//
// One Machine serves many runs, one after another; boot() resets it at a cost that depends on what the last run touched
// and not on how large the machine is. Several machines can live in one process (one per host thread at a time).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "allocator/machine/chooser.h"
#include "allocator/machine/context.h"
#include "allocator/machine/lock.h"
#include "allocator/machine/ram.h"
#include "allocator/machine/report.h"
#include "allocator/machine/shape.h"
#include "allocator/machine/site.h"

namespace memtorture::machine {

// What the harness wants to know as it happens. Called in the context concerned; must not call back into the machine.
class Witness {
 public:
  virtual ~Witness() = default;
  virtual void reported(const Context&, const Report&) = 0;  // printk
  virtual void slept(const Context&) = 0;                    // really gave up the CPU inside a sleeping function
  virtual void panicked(const Context&, PanicKind) {}        // the last words of a run
  // For the first time in this run (of this CPU, on the thread engine) a lock of that class is about to be taken while
  // `under` are held, or taken or kept in a way `use` (LockUse). Only what is new is told.
  virtual void locked(const Context&, LockClass, [[maybe_unused]] LockSet under, [[maybe_unused]] std::uint8_t use) {}
};

// One strand of execution. body(arg) runs on the machine in the given context; handlers run when delivered, or when
// everything else is finished. A handler whose body says so (Context::comes_again) is called once more for the next
// interrupt, and so on.
struct Strand {
  ContextId id;
  ContextKind kind;
  std::uint8_t cpu;     // home CPU
  std::uint32_t flags;  // TaskFlag
  void (*body)(void*);
  void* arg;
};

enum class StopReason : std::uint8_t {
  finished,  // every strand returned
  stopped,   // request_stop(): somebody had seen enough
  deadlock,  // nobody can move and no timer is pending
  livelock,  // step budget used up
  panic,     // the simulated kernel panicked
};

struct Limits {
  std::uint64_t steps_budget = 1'000'000;  // points and timer ticks before the run counts as a livelock
};

struct RunResult {
  StopReason reason = StopReason::finished;
  PanicKind panic = PanicKind::none;
  std::uint64_t steps = 0;
};

class Engine;  // machine/fiber or machine/thread: chosen when linking

class Machine {
 public:
  Machine();
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  void boot(const Shape& shape, Witness& witness);  // shape must be possible; jiffies start at 0

  const Shape& shape() const { return shape_; }
  Ram& ram() { return ram_; }
  Witness& witness() { return *witness_; }
  Engine& engine() { return *engine_; }

  // Runs the strands to the end (or to a stop). The departures taken are in departures() afterwards.
  RunResult run(std::span<const Strand> strands, Chooser& chooser, const Limits& limits);
  std::span<const Departure> departures() const;
  void record(const Departure& departure);  // a layer asked the chooser itself (faults); `step` is filled in

  // Creates a daemon task at first call and makes it runnable; later calls only note that it has work. Any context but
  // NMI.
  void wake_daemon(const Strand& daemon);
  // For a daemon's body: sleeps until woken again; false when everybody else has finished and the daemon should return.
  bool daemon_wait();

  // A daemon with a deferrable timer, which belongs to every run from now on. Outside of runs, daemons_max at
  // most. Its body begins with daemon_wait_until.
  void add_daemon(const Strand& daemon);
  std::span<const Strand> daemons() const { return daemons_; }
  void dismiss_daemons() { daemons_.clear(); }  // runs to come are without them (accounting)
  // For the body of such a daemon: sleeps until then; false as above. The timer is deferrable: it keeps no run alive
  // and moves no time, so the daemon runs late, when time has come that far for somebody else.
  bool daemon_wait_until(Jiffies at);

  // Runs f() outside of any strand (boot, final accounting) as an all-powerful single task on CPU 0.
  void run_alone(void (*f)(void*), void* arg);

  // Nobody but the running context is in the middle of anything that a daemon does. Always false on the thread engine.
  bool daemons_idle() const;

  unsigned cpu_of(ContextId id) const;  // where a context of this run executes or waits; fibers only, else 0
  void request_stop();  // the run ends at the next point (fibers: at once when called from a strand's own code)
  Chooser* chooser() { return chooser_; }
  bool may_depart() const { return may_depart_; }  // false: there is no run, or its chooser takes every default

  // Off: nobody is told of the order of locks in runs to come, and looking costs nothing. On at first.
  void watch_locks(bool on) { watches_locks_ = on; }
  LockWatch* lock_watch(unsigned cpu) { return watches_locks_ ? &lock_watches_[concurrent() ? cpu : 0] : nullptr; }
  // f(arg) looks at the running context before it gives up its CPU, as the scheduler does; until the next boot. It
  // contains no point.
  void on_switch(void (*f)(void*), void* arg) {
    on_switch_ = f;
    on_switch_arg_ = arg;
  }
  void at_switch() const {
    if (on_switch_ != nullptr) on_switch_(on_switch_arg_);
  }

  // Does the world fail at a site of the machine's own (wake.lost, irq.storm)? fails(arg, site) is asked once a visit,
  // in the context that passes there, and contains no point; until the next boot. ruled: sites (bit = Site::index()) at
  // which it may say yes even if the run's chooser takes every default.
  void on_fault(bool (*fails)(void*, Site), void* arg, std::uint64_t ruled) {
    fails_ = fails;
    fails_arg_ = arg;
    ruled_ = ruled;
  }
  bool may_fail(Site site) const { return fails_ != nullptr && (may_depart_ || (ruled_ >> site.index() & 1) != 0); }
  bool fails(Site site) const { return may_fail(site) && fails_(fails_arg_, site); }

  static bool concurrent();  // true on the thread engine: memory is really shared between host threads

 private:
  Shape shape_;
  Ram ram_;
  Witness* witness_ = nullptr;
  Chooser* chooser_ = nullptr;
  bool may_depart_ = false;
  bool watches_locks_ = true;
  std::array<LockWatch, cpus_max> lock_watches_;
  std::vector<Strand> daemons_;
  std::unique_ptr<Engine> engine_;
  void (*on_switch_)(void*) = nullptr;
  void* on_switch_arg_ = nullptr;
  bool (*fails_)(void*, Site) = nullptr;
  void* fails_arg_ = nullptr;
  std::uint64_t ruled_ = 0;
};

}  // namespace memtorture::machine
