// Where code runs: the context that executes now, its CPU, preempt_count, interrupt flag, and the proofs of permission.
//
// preempt_count has K26's field layout (domain.md 1.3) and lives in the context: a handler starts with the count of
// what it interrupted plus its own offset, so in_interrupt() and in_atomic() are plain reads. Every spin_lock,
// preempt_disable and get_cpu counts (ruling in 1.3: we behave like a fully preemptible debug build).
//
// A function that needs preemption off takes `const Pinned&`, one that needs interrupts off takes `const Masked&`:
// what the kernel writes under "CONTEXT:" is a parameter here, and forgetting it does not compile.
//
// A strand that ends unbalanced says so only if its body asks (exit_strand): bodies of daemons are ours.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

#include "allocator/machine/lock_class.h"
#include "allocator/machine/report.h"
#include "allocator/machine/site.h"
#include "allocator/machine/types.h"

namespace memtorture::machine {

class Machine;
struct LockWatch;

inline constexpr std::uint32_t preempt_offset = 1;
inline constexpr std::uint32_t softirq_offset = 0x100;
inline constexpr std::uint32_t hardirq_offset = 0x10000;
inline constexpr std::uint32_t nmi_offset = 0x4000000;
inline constexpr std::uint32_t preempt_mask = 0xff, softirq_mask = 0xff00, hardirq_mask = 0x3ff0000,
                               nmi_mask = nmi_offset;

enum class IrqFlag : std::uint8_t { on, off };

// Task flags that allocators look at (domain.md 7.5); a bit set.
enum TaskFlag : std::uint32_t { pf_memalloc = 1, pf_noio = 2, pf_nofs = 4, pf_realtime = 8, tif_memdie = 16 };
using NodeSet = std::uint8_t;  // bit n = node n; bits of nodes that there are not say nothing
inline constexpr NodeSet all_nodes = 0xff;
inline constexpr std::uint32_t pf_thread_bound = 32;  // engine: stays on its CPU; of workers, never of programs

struct Context {
  Machine* machine = nullptr;
  ContextId id = no_context;
  ContextKind kind = ContextKind::task;
  std::uint8_t cpu = 0;  // where it runs now
  IrqFlag irqs = IrqFlag::on;
  bool watched = true;  // engine: somebody else may run at a point, or wants to decide about points or faults
  NodeSet mems_allowed = all_nodes;  // whose memory the task may have: its cpuset (domain.md 3.5); of tasks only
  std::uint32_t preempt_count = 0;
  std::uint32_t flags = 0;  // TaskFlag bits; handlers start with none
  std::uint32_t op = 0;
  std::uint16_t caller = 0;          // what kind of operation that is, as the harness numbers them; 0: none
  std::uint32_t reclaimed_slab = 0;  // pages of slabs that it gave back so far (K26: reclaim_state); wraps
  bool alone = true;                 // engine: nobody else can run, or nobody wants to decide: points pass
  bool comes_again = false;          // a handler's body that returns with this set is to be delivered once more
  std::uint32_t quota = 0;           // engine: points left before it wants to look at the step budget
  std::uint32_t entered_with = 0;    // engine: preempt_count of its first instruction
  LockSet held = 0;                  // classes of the locks that it holds
  LockWatch* watch = nullptr;        // engine: what is seen of the order of locks; null: nobody looks
  // Visits of each site during this operation; they saturate. As many counters as fill whole cache lines.
  std::array<std::uint16_t, (site_count + 31) / 32 * 32> visits{};

  // It may sleep, and nothing but the next `points` points lies between it and whatever it does: they pass. So a
  // function that has this may leave out what it would do against others, if it takes its points from the quota.
  bool undisturbed(std::uint32_t points) const {
    const unsigned held_off_or_watched = static_cast<unsigned>(irqs) | static_cast<unsigned>(watched) << 8;  // one load
    return preempt_count == 0 && held_off_or_watched == 0 && quota > points;
  }
};
static_assert(static_cast<unsigned>(IrqFlag::on) == 0, "Context::undisturbed");

// Set by the engine at every switch. The only thread_local of the machine (style.md: engines may).
extern constinit thread_local Context* current_context;
inline Context& current() { return *current_context; }
inline Machine& this_machine() { return *current().machine; }

inline bool in_hardirq() { return (current().preempt_count & hardirq_mask) != 0; }
inline bool in_nmi() { return (current().preempt_count & nmi_mask) != 0; }
inline bool in_interrupt() { return (current().preempt_count & (softirq_mask | hardirq_mask | nmi_mask)) != 0; }
inline bool in_atomic() { return current().preempt_count != 0; }
inline bool irqs_disabled() { return current().irqs == IrqFlag::off; }
inline bool preemptible() { return !in_atomic() && !irqs_disabled(); }
constexpr bool sleepable(std::uint32_t preempt_count, IrqFlag irqs) {
  return preempt_count == 0 && irqs == IrqFlag::on;
}

// --- engine entry points (machine/fiber or machine/thread) ---------------------------------------------------------
// Ask the chooser what happens here. It keeps nearly all registers: points are everywhere and most of them pass, and a
// fast path should not save registers for a call that it does not make.
[[clang::preserve_most, gnu::noinline]] void point_slow(Site site);
inline void point(Site site) {  // a place where the run may be steered; costs a step of the budget
  Context& me = current();
  if (me.alone && --me.quota != 0) [[likely]]
    return;
  point_slow(site);
}
void begin_operation(std::uint32_t op, std::uint16_t caller = 0);  // resets the visits, passes the site "op"
unsigned visit(Site site);  // counts a visit of a fault site; returns its number within the operation

void schedule();  // give way; reports when atomic. Process context.
void cond_resched();
void sleep_jiffies(Jiffies jiffies);  // msleep and congestion_wait; reports when atomic
Jiffies jiffies_now();
[[noreturn]] void panic(PanicKind kind);  // the run of this machine ends here
void report(const Report& report);        // printk of the debug code; any context
// The last thing of a body: reports what it leaves off balance and restores counts and flag. Locks stay taken.
void exit_strand();

// What the running handler interrupted: a task's context, or that of another handler; null: an idle CPU, or whoever
// asks is no handler.
const Context* interrupted();

// --- preemption, interrupts, softirqs ------------------------------------------------------------------------------
inline void preempt_disable() { current().preempt_count += preempt_offset; }
void preempt_enable(Site site = "preempt.enable");  // a preemption point when the count drops to 0
inline IrqFlag local_irq_save() {                   // returns what to give to restore
  return std::exchange(current().irqs, IrqFlag::off);
}
[[gnu::cold]] void note_unmasked();  // interrupts or softirqs come on again while locks are held (lock_watch.h)
inline void local_irq_restore(IrqFlag before, Site site = "irq.enable") {
  current().irqs = before;
  if (before != IrqFlag::on) return;
  if (current().held != 0) [[unlikely]]
    note_unmasked();
  point(site);
}
void local_bh_disable();
void local_bh_enable(Site site = "bh.enable");
unsigned smp_processor_id();  // reports when preemptible (domain.md 1.4)
inline unsigned raw_smp_processor_id() { return current().cpu; }
[[clang::preserve_most, gnu::cold]] bool report_sleeping();  // false
// Reports when the caller may not sleep; otherwise a scheduling point. Call it at entry of whatever may sleep (1.6).
// False: it may not.
inline bool might_sleep() {
  if (!preemptible()) [[unlikely]]
    return report_sleeping();
  point("sched.resched");
  return true;
}

class Pinned {  // proof: the holder cannot change CPU
 public:
  Pinned() { preempt_disable(); }
  ~Pinned() { preempt_enable(); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  unsigned cpu() const { return current().cpu; }
};

class Masked {  // proof: the holder cannot change CPU and cannot be interrupted (but by NMI)
 public:
  Masked() : before_(local_irq_save()) {}
  ~Masked() { local_irq_restore(before_); }
  Masked(const Masked&) = delete;
  Masked& operator=(const Masked&) = delete;
  unsigned cpu() const { return current().cpu; }

 private:
  IrqFlag before_;
};

}  // namespace memtorture::machine
