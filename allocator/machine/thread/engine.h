// The real engine: emulated CPUs are host threads, so ThreadSanitizer sees the allocator's own synchronisation and no
// more.
//
// Each task is a Runner with a host thread of its own, and executes only while it holds the baton of its home CPU: one
// task per CPU at a time, successive tasks of a CPU ordered as on a real one, CPUs ordered by nothing but the simulated
// locks. A task that blocks puts the baton down. Handlers run nested on the thread that they interrupt, at points where
// their CPU admits them; what is not delivered that way arrives on the CPU's idle thread.
//
//   host thread of a task:   Frame (softirq) -> Frame (task)      `below` links; current_context is the first
//   CPU:                     baton | random numbers | handlers still to come | steps       (owned by the baton's
//   holder)
//
// When nobody can move is known from one word, pulse_: how many runners may execute (low half) and how often one began
// to (high half). Whoever lowers the count to 0 decides what comes next (idle.cpp) and is alone while it does so: all
// others are blocked, or spin on a lock and have counted themselves out. All shared engine state is relaxed atomics and
// fences, which create no happens-before edge for the sanitizer.
//
// A CPU is taken down by whoever gets its baton: what executed there has put it down, so it was preempted or blocks.
// From then on nobody keeps that baton (take_baton): tasks go on with that of CPU 0. Interrupts of the CPU that are
// still to come are its idle thread's, which then holds both batons: one for the list of handlers, one for where they
// run.
//
// A stop (panic, finding, deadlock, budget) sets a flag; every strand leaves at its next point by a jump to the base of
// its thread. Strand bodies therefore hold nothing that needs a destructor: no host heap, no host locks, at any point.
//
// Not modelled: migration at will (hopping between CPUs orders accesses and so hides races), memory weaker than the
// host's.
// Not recorded: departures; a run here cannot be replayed, only repeated with the same seeds.
#pragma once

#include <atomic>
#include <csetjmp>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "allocator/machine/machine.h"
#include "allocator/machine/thread/futex.h"

namespace memtorture::machine {

struct Runner;

struct Frame : Context {
  Frame* below = nullptr;    // what this handler interrupted
  Runner* runner = nullptr;  // none: run_alone
  std::jmp_buf* way_out = nullptr;
};

class RandomSequence {  // splitmix64: the same on every host
 public:
  explicit RandomSequence(std::uint64_t seed = 0) : state_(seed) {}
  std::uint64_t next();

 private:
  std::uint64_t state_;
};

// What Machine::chooser() is during a run: dice of the CPU that asks. The run's own chooser belongs to one host thread.
class CpuDice : public Chooser {
 public:
  bool may_depart() const override { return false; }
  bool interested(const Moment&) override { return false; }
  std::uint32_t choose(const Moment&, std::span<const Option>) override { return 0; }
  bool roll(const Moment&, std::uint32_t percent) override;
  void restart() override {}
};

struct alignas(64) Cpu {
  thread::Baton baton;
  RandomSequence random;
  std::vector<const Strand*> handlers;  // not delivered yet
  std::uint64_t steps = 0;
  std::atomic<unsigned> tasks_left{0};  // not ended, wherever they are by now
  Runner* idle = nullptr;               // none: this CPU has no handlers
};

enum class Life : std::uint8_t {
  ready,     // executes, or waits for its CPU's baton
  sleeping,  // until wake_at
  waiting,   // on a wait queue
  spinning,  // on a spinlock, long enough to be counted out
  no_work,   // a daemon without work, or before wake_at
  standby,   // a CPU's idle thread, while tasks of the CPU are there to be interrupted
  done,
};

struct Runner {
  Strand strand{};
  Cpu* cpu = nullptr;   // whose baton it takes: home, or CPU 0 once that had gone
  Cpu* also = nullptr;  // of an idle thread: CPU 0, whose baton it holds as well
  std::thread thread;
  thread::Doorbell bell;
  std::atomic<Life> life{Life::done};
  std::atomic<Jiffies> wake_at{0};                               // 0: no timer; whoever clears it owns the wake-up
  std::atomic<Jiffies> wait_ends_at{0};                          // time-out on a wait queue; 0: none
  std::atomic<const WaitQueue*> waits_for{nullptr};              // written under the queue's lock
  std::atomic<const std::atomic<ContextId>*> spins_on{nullptr};  // a lock's owner
  std::atomic<ContextId> spins_as{no_context};
  std::vector<std::pair<const WaitQueue*, std::uint32_t>> generations_seen;  // of queues waited on (lock.cpp); its own
  std::uint32_t& generation_seen(const WaitQueue& queue);
  // Daemons only.
  std::atomic<ContextId> daemon_id{no_context};
  std::atomic<bool> has_work{false};
  std::atomic<bool> started{false};  // publishes `thread`
};

class Engine {
 public:
  static constexpr bool concurrent = true;
  explicit Engine(Machine& machine) : machine_(machine) {}

  void power_on() {
    now_.store(0, std::memory_order_relaxed);
    online_.store(~std::uint64_t{0}, std::memory_order_relaxed);
  }
  RunResult run(std::span<const Strand> strands, Chooser& chooser, const Limits& limits);
  void run_alone(void (*f)(void*), void* arg);

  // Who moves is the host's business: every CPU throws its own dice, and nothing of it can be written down or replayed.
  Chooser& chooser_in_charge(Chooser&) { return dice_; }
  std::span<const Departure> departures() const { return {}; }
  void record(const Departure&) {}

  void point(Site site);
  void give_way();  // schedule()
  void sleep(Jiffies jiffies);
  void spin(std::atomic<ContextId>& owner);  // until the lock is ours
  // word: the queue's state (lock.cpp). timeout 0: none. False: it is up. A wake-up after prepare_to_wait is not
  // missed.
  void prepare_to_wait(WaitQueue& queue, std::uint32_t& word);
  bool wait(WaitQueue& queue, std::uint32_t& word, Jiffies timeout);
  void wake(WaitQueue& queue, std::uint32_t& word, bool all);
  const Context* interrupted() const {  // the idle thread is nobody
    const Frame* const below = frame().below;
    return below == nullptr || below->id == no_context ? nullptr : below;
  }
  void wake_daemon(const Strand& daemon);
  bool daemon_wait();
  bool daemon_wait_until(Jiffies at);
  unsigned cpu_of(ContextId) const { return 0; }
  bool daemons_idle() const { return false; }  // it could change while the caller looks
  bool is_online(unsigned cpu) const { return (online_.load(std::memory_order_relaxed) >> cpu & 1) != 0; }
  void take_cpu_down(unsigned cpu);
  void bring_cpu_up(unsigned cpu);
  template <class Change>
  void change_with_baton_of(unsigned cpu, Change change);
  bool stop(StopReason reason, PanicKind panic = PanicKind::none);  // false: the run was being stopped already
  void request_stop();
  [[noreturn]] void panic(PanicKind kind);
  [[noreturn]] void leave();  // this thread's strand ends here
  Jiffies now() const { return now_.load(std::memory_order_relaxed); }

 private:
  static Frame& frame() { return static_cast<Frame&>(current()); }
  bool stopped() const { return stop_.load(std::memory_order_relaxed) != StopReason::finished; }
  void leave_if_stopped();

  // engine.cpp: the life of a run and of a runner
  void set_up(std::span<const Strand> strands, Chooser& chooser);
  void add_runner(Runner& runner, const Strand& strand, Life life);
  void start(Runner& runner);
  void live(Runner& runner);
  void finish(Runner& runner);
  void join_all();
  void take_baton(Runner& runner);
  std::span<Runner> daemons() { return std::span(runners_).last(daemon_slots_); }

  // point.cpp: handlers and variation
  void deliver_some(Frame& me, Cpu& cpu);
  bool deliver(Frame& me, const Strand& handler);
  static void idle_task(void* engine);

  // idle.cpp: who can move, and what happens when nobody can
  void block(Runner& runner);  // its life says why; returns when unblocked
  bool unblock(Runner& runner, Life from);
  void count_in() { pulse_.fetch_add(pulse_in, std::memory_order_relaxed); }
  void count_out();
  struct Quiet {        // what the runners wait for when none is counted in
    bool over = false;  // ... or one moves after all
    bool blocked = false, standby = false, no_work = false;
    Jiffies earliest = 0;   // 0: no timer
    bool time_out = false;  // ... and it is the time-out of a wait queue
    void timer(Life life, Jiffies at);
  };
  Quiet survey() const;
  bool nobody_moves(std::uint64_t pulse);
  void advance_time(Jiffies to);
  static bool due(std::atomic<Jiffies>& timer, Jiffies now);
  void tick();

  static constexpr std::uint64_t pulse_in = (std::uint64_t{1} << 32) + 1;
  static constexpr std::uint64_t pulse_movers = 0xffff'ffff;

  Machine& machine_;
  CpuDice dice_;
  std::vector<Cpu> cpus_;
  std::vector<Runner> runners_;  // tasks, idle threads, then room for daemons
  std::size_t daemon_slots_ = 0;
  std::uint64_t steps_budget_ = 0;
  std::atomic<std::uint64_t> pulse_{0};
  std::atomic<Jiffies> now_{0};
  std::atomic<std::uint64_t> online_{~std::uint64_t{0}};  // bit = CPU
  std::atomic<StopReason> stop_{StopReason::finished};
  std::atomic<PanicKind> panic_{PanicKind::none};
  std::atomic<bool> running_{false};
  std::atomic<bool> shutting_down_{false};  // only daemons without work are left
};

}  // namespace memtorture::machine
