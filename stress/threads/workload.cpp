#include "stress/threads/workload.h"

#include <fmt/format.h>

#include <cstdlib>
#include <initializer_list>

#include "model/program/author.h"
#include "model/program/legal.h"
#include "model/program/random_parts.h"
#include "model/program/text.h"

namespace memtorture::threads {
namespace {

using machine::ContextKind;
using program::Action;
using program::Author;
using program::Case;
using program::Random;
using program::Slot;
using program::Style;

// Sizes are small on purpose: a zone that every CPU works on at once, lists that overflow and run dry, memory that
// ends.
constexpr Workload table[] = {
    {.name = "contention", .machine = "flat cpus=2 pcp=0/1", .focus = Focus::contention, .ops_per_task = 150},
    {.name = "lists", .machine = "tiny-32 cpus=4 pcp=6/3", .focus = Focus::lists},
    {.name = "zones", .machine = "tiny-all cpus=4", .tasks_per_cpu = 2, .ops_per_task = 60},
    {.name = "nodes", .machine = "tiny-64 ram=16M cpus=8 nodes=4", .ops_per_task = 60, .handovers_per_task = 4},
    {.name = "pressure",
     .machine = "tiny-32 ram=2M dma=512K dma32=512K normal=1536K cpus=4 pcp=8/4",
     .focus = Focus::pressure},
    {.name = "interrupts",
     .machine = "tiny-64 cpus=4 pcp=12/4",
     .focus = Focus::interrupts,
     .handlers_per_cpu = 6,
     .ops_per_task = 60},
    {.name = "handover",
     .machine = "tiny-32 cpus=8 pcp=4/2",
     .focus = Focus::handover,
     .ops_per_task = 60,
     .handovers_per_task = 20},
    {.name = "references",
     .machine = "tiny-32 cpus=4 pcp=4/2",
     .focus = Focus::references,
     .ops_per_task = 40,
     .blocks_shared = 40},
    {.name = "faults",
     .machine = "toy cpus=3 poison=on",
     .focus = Focus::faults,
     .handlers_per_cpu = 2,
     .ops_per_task = 60},
    {.name = "objects", .machine = "toy cpus=4 objects=slab", .focus = Focus::objects, .handovers_per_task = 20},
    {.name = "remote",
     .machine = "tiny-64 ram=32M cpus=4 nodes=2 objects=slab reap=on",
     .focus = Focus::objects,
     .handlers_per_cpu = 2,
     .ops_per_task = 60,
     .handovers_per_task = 20},
    {.name = "caches",
     .machine = "toy cpus=4 objects=slab reap=on",
     .focus = Focus::caches,
     .ops_per_task = 120,
     .handovers_per_task = 6},
    {.name = "checked",
     .machine = "toy cpus=4 objects=slab slab_debug=K quarantine=64K",
     .focus = Focus::objects,
     .handlers_per_cpu = 1,
     .ops_per_task = 60,
     .handovers_per_task = 16},
    {.name = "checked_caches",
     .machine = "toy cpus=4 objects=slab slab_debug=FZPUK quarantine=64K",
     .focus = Focus::caches,
     .handovers_per_task = 6},
    {.name = "stacks",
     .machine = "tiny-64 cpus=4 stack=8K stackcache=on",
     .focus = Focus::stacks,
     .handlers_per_cpu = 3,
     .ops_per_task = 60},
    {.name = "irq_stacks",
     .machine = "toy cpus=3 stack=4K irqstacks=on objects=slab",
     .focus = Focus::stacks,
     .tasks_per_cpu = 2,
     .handlers_per_cpu = 3,
     .ops_per_task = 40},
    {.name = "percpu",
     .machine = "toy cpus=4 objects=slab percpu=on",
     .focus = Focus::percpu,
     .tasks_per_cpu = 2,
     .handlers_per_cpu = 4,
     .ops_per_task = 120},
    {.name = "hotplug",
     .machine = "tiny-64 ram=16M cpus=4 nodes=2 pcp=6/2 objects=slab reap=on stack=8K stackcache=on",
     .focus = Focus::cpus,
     .tasks_per_cpu = 2,
     .handlers_per_cpu = 2,
     .ops_per_task = 60},
    {.name = "alpha", .machine = "alpha ram=8M cpus=6 nodes=2 pcp=20/8", .handlers_per_cpu = 1, .ops_per_task = 60},
};

// Room that one action of an Author may need at most, so that two tasks never get the same slot for want of names.
constexpr std::size_t slots_spare = 320;
constexpr std::uint8_t handover_spinlock = 3;  // everybody's, so with interrupts off

void often(Style& style, std::initializer_list<Action> actions) {
  for (const Action action : actions) {
    std::uint32_t& weight = style.weights[static_cast<std::size_t>(action)];
    weight = weight * 4 + 40;
  }
}

bool on_objects(Focus focus) { return focus == Focus::objects || focus == Focus::caches; }

Style style_for(Focus focus, const machine::Shape& shape, Random& random) {
  Style style = program::random_style(random, shape);
  style.burst_max = 48;
  // Their slots have two owners and no lock: handing over is done here, and otherwise (give, take).
  style.weights[static_cast<std::size_t>(Action::object_hand_over)] = 0;
  style.shares_pools = false;
  style.hands_over_tasks = false;
  switch (focus) {
    case Focus::contention: often(style, {Action::alloc, Action::alloc_large, Action::release}); break;
    case Focus::lists: often(style, {Action::alloc, Action::release, Action::drain, Action::burst}); break;
    case Focus::pressure: often(style, {Action::alloc, Action::burst, Action::clients, Action::release}); break;
    case Focus::interrupts: often(style, {Action::alloc, Action::release, Action::section}); break;
    case Focus::objects:
      often(style, {Action::object, Action::object_burst, Action::object_release, Action::object_move});
      break;
    case Focus::caches:
      often(style, {Action::cache, Action::cache, Action::object, Action::object_release});
      style.weights[static_cast<std::size_t>(Action::object_burst)] = 2;  // one is as long as many of the others
      break;
    case Focus::stacks:
      style.weights[static_cast<std::size_t>(Action::stack)] = 24;
      often(style, {Action::stack, Action::section});
      break;
    case Focus::percpu: often(style, {Action::percpu, Action::percpu, Action::percpu, Action::section}); break;
    case Focus::cpus:
      often(style, {Action::cpus, Action::alloc, Action::release, Action::object, Action::stack});
      break;
    case Focus::mix:
    case Focus::handover:
    case Focus::references:
    case Focus::faults: break;
  }
  return style;
}

// Task i fills shared slots (i, 0), (i, 1) ...; the task of the next CPU empties them, a few steps later. Who comes
// first is not certain: a slot that is still empty is skipped, and the harness gives the block back in the end.
class Writer {
 public:
  Writer(const Workload& workload, std::uint64_t seed)
      : workload_(workload), random_(seed), case_{.shape = shape_of(workload)} {
    style_ = style_for(workload.focus, case_.shape, random_);
  }

  Case write() {
    const unsigned tasks = workload_.tasks_per_cpu * case_.shape.cpus;
    for (std::size_t slot = 0; slot != shared_slots(case_, workload_); ++slot) program::add_slot(case_);
    for (unsigned task = 0; task != tasks; ++task) add(ContextKind::task, task % case_.shape.cpus);
    for (unsigned i = 0; i != unsigned{workload_.handlers_per_cpu} * case_.shape.cpus; ++i) {
      add(random_.percent(60) ? ContextKind::hardirq : ContextKind::softirq, i % case_.shape.cpus);
    }
    for (unsigned i = 0; i != case_.programs.size(); ++i) i < tasks ? task(i, tasks) : handler(i);
    if (workload_.focus == Focus::faults) case_.faults.push_back(program::random_rule(case_, random_));
    if (const auto why = program::why_illegal(case_)) std::abort();
    return std::move(case_);
  }

 private:
  static machine::Shape shape_of(const Workload& workload) {
    const auto shape = program::parse_shape(workload.machine);
    if (!shape) std::abort();  // the table is wrong; workload_test says where
    return *shape;
  }

  void add(ContextKind kind, unsigned cpu) {
    const std::size_t index = case_.programs.size();
    case_.programs.push_back(
        {.name = program::default_program_name(kind, index), .kind = kind, .cpu = static_cast<std::uint8_t>(cpu)});
    if (kind == ContextKind::task && random_.percent(10)) case_.programs.back().flags |= machine::pf_memalloc;
  }

  void act(Author& author, std::size_t ops) {
    while (author.written() < ops && case_.slot_names.size() + slots_spare < program::slots_max) author.act();
  }

  void task(unsigned index, unsigned tasks) {
    Author author(case_, index, style_, random_);
    if (workload_.blocks_shared != 0) drop_together(author, index, tasks);
    const unsigned rounds = workload_.handovers_per_task;
    const std::size_t share = workload_.ops_per_task / (rounds + 1);  // of its own, between hand-overs
    for (unsigned round = 0; round != rounds; ++round) {
      act(author, author.written() + share);
      give(author, shared_slot(index, round));
      if (round >= 2) take(author, shared_slot((index + tasks - 1) % tasks, round - 2));
    }
    act(author, author.written() + share);
    for (unsigned round = rounds < 2 ? 0 : rounds - 2; round != rounds; ++round)
      take(author, shared_slot((index + tasks - 1) % tasks, round));
    author.settle();
  }

  // The first task fills all shared slots, with a reference for everybody, and then says so. It is said once, and to a
  // queue that nobody else uses: on threads who comes late does not wait for a wake-up that is over.
  void drop_together(Author& author, unsigned index, unsigned tasks) {
    if (index == 0) {
      for (Slot slot = 0; slot != workload_.blocks_shared; ++slot) {
        allocate_shared(author, slot);
        for (unsigned other = 1; other != tasks; ++other) author.emit(program::GetPage{{slot}});
      }
      author.emit(program::WakeUp{{program::rendezvous_queue}});
    } else {
      author.emit(program::WaitEvent{{program::rendezvous_queue}});
    }
    for (Slot slot = 0; slot != workload_.blocks_shared; ++slot) drop(author, slot);
  }

  // Mostly at once; sometimes by way of one more reference. A compound page by any of its pages.
  void drop(Author& author, Slot slot) {
    const Shared what = shared(slot);
    const auto frame = static_cast<std::uint16_t>(what.compound ? random_.below(1u << what.order) : 0);
    const bool is_unit = what.compound || what.order == 0;
    if (is_unit && random_.percent(20)) {
      author.emit(program::GetPage{{slot, frame}});
      author.emit(program::PutPage{{slot}});
    }
    if (is_unit && random_.percent(60)) return author.emit(program::PutPage{{slot, frame}});
    author.emit(program::FreePagesOf{{slot}, {what.order}});
  }

  void handler(unsigned index) {
    Author author(case_, index, style_, random_);
    act(author, 2 + random_.below(5));
    author.settle();
  }

  Slot shared_slot(unsigned task, unsigned round) const {
    return static_cast<Slot>(task * workload_.handovers_per_task + round);
  }

  // What a shared slot gets and how it is shared follow from its number, so that both sides agree.
  struct Shared {
    std::uint8_t order;
    bool compound, by_mutex, twice;  // twice: each side has a reference, and either may be the last
  };
  static Shared shared(Slot slot) {
    Random random(slot);
    const bool compound = random.percent(40);
    return {.order = static_cast<std::uint8_t>(compound ? 1 + random.below(3) : random.below(3)),
            .compound = compound,
            .by_mutex = random.percent(40),
            .twice = compound && random.percent(60)};
  }

  // Few sizes, so that the arrays of a class overflow on one CPU while they run dry on another.
  static std::uint64_t bytes_of(Slot slot) { return std::uint64_t{24} << (slot % 4 * 2); }

  void lock(Author& author, Slot slot) {
    if (shared(slot).by_mutex) return author.emit(program::MutexLockOp{{mutex_of(slot)}});
    author.emit(program::SpinLockIrqsave{{handover_spinlock}});
  }
  void unlock(Author& author, Slot slot) {
    if (shared(slot).by_mutex) return author.emit(program::MutexUnlockOp{{mutex_of(slot)}});
    author.emit(program::SpinUnlockIrqrestore{{handover_spinlock}});
  }
  static std::uint8_t mutex_of(Slot slot) { return static_cast<std::uint8_t>(slot % program::filesystem_mutex); }

  void allocate_shared(Author& author, Slot slot) {
    const Shared what = shared(slot);
    if (on_objects(workload_.focus)) {
      author.emit(program::Kmalloc{{slot}, {bytes_of(slot)}, {subject::GFP_ATOMIC | subject::gfp_nowarn}});
      author.emit(program::Fill{{slot}, {static_cast<std::uint8_t>(slot)}});
      return;
    }
    const subject::gfp_t gfp = subject::GFP_ATOMIC | subject::gfp_nowarn | (what.compound ? subject::gfp_comp : 0);
    author.emit(program::AllocPages{{slot}, {gfp}, {what.order}});
    author.emit(program::Fill{{slot}, {static_cast<std::uint8_t>(slot)}});
  }

  void give(Author& author, Slot slot) {
    const Shared what = shared(slot);
    lock(author, slot);
    allocate_shared(author, slot);
    const bool twice = what.twice && !on_objects(workload_.focus);
    if (twice) author.emit(program::GetPage{{slot}});
    unlock(author, slot);
    if (!twice) return;
    author.act();
    lock(author, slot);
    author.emit(program::PutPage{{slot}});
    unlock(author, slot);
  }

  void take(Author& author, Slot slot) {
    lock(author, slot);
    if (on_objects(workload_.focus)) {
      author.emit(program::Kfree{{slot}});
    } else {
      author.emit(program::FreePagesOf{{slot}, {shared(slot).order}});
    }
    unlock(author, slot);
  }

  const Workload& workload_;
  Random random_;
  Style style_;
  Case case_;
};

}  // namespace

std::span<const Workload> workloads() { return table; }

Case write_case(const Workload& workload, std::uint64_t seed) { return Writer(workload, seed).write(); }

std::size_t shared_slots(const Case& the_case, const Workload& workload) {
  return std::size_t{the_case.shape.cpus} * workload.tasks_per_cpu * workload.handovers_per_task +
         workload.blocks_shared;
}

}  // namespace memtorture::threads
