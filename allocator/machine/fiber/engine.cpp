#include "allocator/machine/fiber/engine.h"

#include <algorithm>

#include "allocator/machine/engine.h"

namespace memtorture::machine {
namespace {

// Points that pass between two looks at the budget when nobody decides about them. They count all the same, one by one:
// a run and its replay, which need not both be asked at points, take equal numbers of steps.
constexpr std::uint32_t quota_alone = 1u << 14;

// A task that sleeps and looks again for ever (a request that may not fail) is the usual livelock; charging more for a
// sleep than for a point ends it after some thousand rounds instead of tens of thousands.
constexpr std::uint64_t steps_of_a_sleep = 64;

constexpr std::uint32_t offset_of(ContextKind kind) {
  switch (kind) {
    case ContextKind::task: return 0;
    case ContextKind::softirq: return softirq_offset;
    case ContextKind::hardirq: return hardirq_offset;
    case ContextKind::nmi: return nmi_offset;
  }
  return 0;
}

}  // namespace

constinit thread_local Context* current_context = nullptr;

Engine::Engine(Machine& machine) : machine_(machine) {
  fiber::adopt_current_stack(driver_);
  driver_.machine = &machine;
}

void Engine::power_on() {
  now_ = 0;
  online_ = ~std::uint64_t{0};
  fibers_.clear();
  departures_.clear();
  running_ = &driver_;
}

Fiber& Engine::add(const machine::Strand& strand) {
  const std::size_t index = fibers_.size();
  if (index == pool_.size()) {
    pool_.push_back(std::make_unique<Fiber>());
    stacks_.emplace_back();
  }
  Fiber& fiber = *pool_[index];
  static_cast<Context&>(fiber) =
      Context{.machine = &machine_, .id = strand.id, .kind = strand.kind, .cpu = strand.cpu, .flags = strand.flags};
  if (!is_online(fiber.cpu)) fiber.cpu = 0;
  fiber.watch = machine_.lock_watch(fiber.cpu);
  if (fiber.fresh) fiber::make(fiber, stacks_[index], &Engine::entry);
  fiber.strand = strand;
  fiber.life = strand.kind == ContextKind::task ? Life::ready : Life::pending;
  if (fiber.life == Life::pending) ++pending_;
  fiber.under = nullptr;
  fiber.wake_at = 0;
  fiber.has_work = false;
  fibers_.push_back(&fiber);
  return fiber;
}

void Engine::set_alone() {
  const bool watched = chooser_->may_depart() || machine_.may_fail("irq.storm");
  // On two CPUs a single task could still migrate.
  const bool alone = !watched || (fibers_.size() == 1 && machine_.shape().cpus == 1);
  for (Fiber* fiber : fibers_) {
    fiber->alone = alone;
    fiber->watched = watched;
  }
}

RunResult Engine::run(std::span<const machine::Strand> strands, Chooser& chooser, const Limits& limits) {
  fibers_.clear();
  departures_.clear();
  std::ranges::fill(tops_, nullptr);
  result_ = {};
  chooser_ = &chooser;
  steps_budget_ = limits.steps_budget;
  stopper_ = nullptr;
  pending_ = 0;
  shutting_down_ = false;
  driver_.alone = true;
  quota_given_ = driver_.quota = 0;
  charge(0);
  for (const auto& daemon : machine_.daemons()) add(daemon).op = ~0u;  // its first activation is number 0
  for (const auto& strand : strands) add(strand);
  set_alone();
  Context* const before = current_context;
  if (Fiber* first = next_to_run()) switch_to(*first);
  current_context = before;
  // Back on the driver: either all is done or somebody stopped the run.
  result_.steps = steps();
  for (std::size_t i = 0; i != fibers_.size(); ++i) {
    if (fibers_[i]->life == Life::done) continue;
    fibers_[i]->fresh = true;
    stacks_[i].forget_frames();
  }
  chooser_ = nullptr;
  return result_;
}

void Engine::run_alone(void (*f)(void*), void* arg) {
  Context* const before = current_context;
  static_cast<Context&>(driver_) = Context{.machine = &machine_, .id = no_context, .watched = false};
  driver_.quota = ~0u;
  running_ = &driver_;
  current_context = &driver_;
  f(arg);
  current_context = before;
}

// --- a fiber's life --------------------------------------------------------------------------------------------------

void Engine::entry(boost::context::detail::transfer_t transfer) {
  Engine* const engine = static_cast<Engine*>(static_cast<fiber::Payload*>(transfer.data)->payload);
  fiber::arrived(transfer);
  engine->loop(engine->running());
}

void Engine::loop(Fiber& me) {
  me.fresh = false;
  for (;;) {
    me.strand.body(me.strand.arg);
    me.life = Life::done;
    if (me.comes_again) expect_again(me);
    leave_cpu(me);
    switch_away();  // comes back when delivered again, or in a later run, with another body
  }
}

void Engine::expect_again(Fiber& handler) {
  handler.comes_again = false;
  handler.flags = handler.strand.flags;
  handler.life = Life::pending;
  ++pending_;
}

void Engine::switch_to(Fiber& next) {
  Fiber& from = *running_;
  if (&next == &from) return;
  running_ = &next;
  current_context = &next;
  next.quota = from.quota;
  fiber::jump(from, next, this);
}

void Engine::switch_away() {
  Fiber* next = next_to_run();
  switch_to(next != nullptr ? *next : driver_);
}

void Engine::leave_cpu(Fiber& fiber) {
  if (tops_[fiber.cpu] == &fiber) tops_[fiber.cpu] = fiber.under;
}

void Engine::enter_cpu(Fiber& fiber) { tops_[fiber.cpu] = &fiber; }

// --- who can move ----------------------------------------------------------------------------------------------------

Fiber* Engine::ready_task(unsigned cpu, const Fiber* after) const {
  Fiber* first = nullptr;
  bool passed = after == nullptr;
  for (Fiber* fiber : fibers_) {
    if (fiber == after) passed = true;
    if (fiber == after || fiber->life != Life::ready || fiber->kind != ContextKind::task || fiber->cpu != cpu) continue;
    if (passed) return fiber;
    if (first == nullptr) first = fiber;
  }
  return first;
}

bool Engine::can_be_switched_to(const Fiber& fiber) const {
  return fiber.life == Life::ready && (tops_[fiber.cpu] == &fiber || tops_[fiber.cpu] == nullptr);
}

Fiber* Engine::next_to_run() {
  for (;;) {
    wake_stopper();
    for (Fiber* fiber : fibers_) {
      if (!can_be_switched_to(*fiber)) continue;
      enter_cpu(*fiber);
      return fiber;
    }
    Fiber* const timer = earliest_timer();
    if (timer != nullptr && timer->life == Life::sleeping) {
      expire(*timer);
      continue;
    }
    bool blocked = false;
    for (Fiber* fiber : fibers_) {
      if (fiber->life == Life::pending && can_deliver(*fiber)) {
        deliver(*fiber);
        return fiber;
      }
      if (fiber->life != Life::done && fiber->life != Life::idle) blocked = true;
    }
    if (timer != nullptr) {
      expire(*timer);
      continue;
    }
    if (Fiber* const sleeper = first_overslept()) {
      sleeper->life = Life::ready;
      continue;
    }
    if (blocked) {
      result_.reason = StopReason::deadlock;
      return nullptr;
    }
    shutting_down_ = true;
    bool woken = false;
    for (Fiber* fiber : fibers_) {
      if (fiber->life != Life::idle) continue;
      fiber->life = Life::ready;
      woken = true;
    }
    if (!woken) return nullptr;
  }
}

Fiber* Engine::earliest_timer() const {
  Fiber* earliest = nullptr;
  for (Fiber* fiber : fibers_) {
    const bool timed = fiber->life == Life::sleeping || (fiber->life == Life::waiting && fiber->wake_at != 0);
    if (timed && (earliest == nullptr || fiber->wake_at < earliest->wake_at)) earliest = fiber;
  }
  return earliest;
}

Fiber* Engine::first_overslept() const {
  Fiber* first = nullptr;
  for (Fiber* fiber : fibers_) {
    if (fiber->life == Life::overslept && (first == nullptr || fiber->wait_ticket < first->wait_ticket)) first = fiber;
  }
  return first;
}

void Engine::expire(Fiber& fiber) {
  now_ = std::max(now_, fiber.wake_at);
  fiber.life = Life::ready;
  fiber.waits_for = nullptr;
  if (!machine_.daemons().empty()) wake_deferred();
}

void Engine::wake_deferred() {
  for (Fiber* fiber : fibers_) {
    if (fiber->life == Life::idle && fiber->wake_at != 0 && fiber->wake_at <= now_) fiber->life = Life::ready;
  }
}

// --- points ----------------------------------------------------------------------------------------------------------

void Engine::step() {
  if (running().alone) return charge(0);
  if (++result_.steps > steps_budget_) stop(StopReason::livelock);
}

// Counts the points that have passed since the last time, and `more`; gives a new quota, no larger than the budget.
void Engine::charge(std::uint64_t more) {
  result_.steps = steps() + more;
  const std::uint64_t left = result_.steps > steps_budget_ ? 0 : steps_budget_ - result_.steps;
  quota_given_ = running().quota = static_cast<std::uint32_t>(std::min<std::uint64_t>(quota_alone, left + 1));
  if (result_.steps > steps_budget_) stop(StopReason::livelock);
}

void Engine::point(Site site) {
  if (running_ == &driver_) {
    driver_.quota = ~0u;
    return;
  }
  step();
  Fiber& me = running();
  if (me.alone) return;
  Moment moment{.who = me.id, .op = me.op, .site = site, .visit = static_cast<std::uint16_t>(visit(site))};
  if (pending_ != 0) storm();
  while (chooser_->interested(moment)) {
    list_options();
    if (options_.size() < 2) return;
    const std::uint32_t chosen = chooser_->choose(moment, options_);
    if (chosen == 0) return;
    const Option option = options_[chosen];
    record({.at = moment, .take = option});
    take(option);
  }
}

bool Engine::can_preempt(const Fiber& me) const {
  return me.kind == ContextKind::task && sleepable(me.preempt_count, me.irqs) && me.life == Life::ready;
}

// A CPU admits a handler unless what it executes forbids it (domain.md 1.2): softirqs do not nest and need bottom
// halves on; interrupts need the flag; only an NMI keeps NMIs out.
bool Engine::can_deliver(const Fiber& handler) const {
  if (handler.life != Life::pending) return false;
  const Fiber* top = tops_[handler.cpu];
  if (top == nullptr) return true;
  if (handler.kind == ContextKind::nmi) return (top->preempt_count & nmi_mask) == 0;
  if (top->irqs == IrqFlag::off || (top->preempt_count & nmi_mask) != 0) return false;
  return handler.kind == ContextKind::hardirq || (top->preempt_count & (softirq_mask | hardirq_mask)) == 0;
}

// Daemons may come to life meanwhile, behind all others.
void Engine::storm() {
  if (!machine_.may_fail("irq.storm")) return;
  const Fiber& me = running();
  for (std::size_t i = 0; i != fibers_.size(); ++i) {
    Fiber& handler = *fibers_[i];
    if (handler.life != Life::pending || handler.cpu != me.cpu || !can_deliver(handler)) continue;
    if (!machine_.fails("irq.storm")) continue;
    deliver(handler);
    switch_to(handler);
  }
}

void Engine::list_options() {
  wake_stopper();
  Fiber& me = running();
  options_.clear();
  options_.push_back({});
  const bool preemptible_here = can_preempt(me);
  for (const Fiber* fiber : fibers_) {
    if (fiber == &me) continue;
    const bool other_cpu = fiber->cpu != me.cpu;
    if (other_cpu ? can_be_switched_to(*fiber)
                  : fiber->life == Life::ready && fiber->kind == ContextKind::task && preemptible_here) {
      options_.push_back({.move = Move::switch_to, .whom = fiber->id});
    }
    if (can_deliver(*fiber)) options_.push_back({.move = Move::deliver, .whom = fiber->id});
  }
  if (!preemptible_here || (me.flags & pf_thread_bound) != 0) return;
  for (unsigned cpu = 0; cpu != machine_.shape().cpus; ++cpu) {
    if (cpu != me.cpu && is_online(cpu))
      options_.push_back({.move = Move::migrate, .whom = static_cast<ContextId>(cpu)});
  }
}

unsigned Engine::cpu_of(ContextId id) const {
  const Fiber* const fiber = find(id);
  return fiber != nullptr ? fiber->cpu : 0;
}

Fiber* Engine::find(ContextId id) const {
  const auto found = std::ranges::find(fibers_, id, [](const Fiber* fiber) { return fiber->id; });
  return found == fibers_.end() ? nullptr : *found;
}

void Engine::take(const Option& option) {
  if (option.move == Move::migrate) return migrate(option.whom);
  Fiber& whom = *find(option.whom);
  if (option.move == Move::deliver) {
    deliver(whom);
  } else {
    enter_cpu(whom);  // on our own CPU this preempts us: we stay ready
  }
  switch_to(whom);
}

void Engine::deliver(Fiber& handler) {
  Fiber* const under = tops_[handler.cpu];
  handler.under = under;
  handler.preempt_count = handler.entered_with =
      (under != nullptr ? under->preempt_count : 0) + offset_of(handler.kind);
  handler.irqs = handler.kind == ContextKind::softirq ? IrqFlag::on : IrqFlag::off;
  handler.life = Life::ready;
  --pending_;
  enter_cpu(handler);
}

void Engine::migrate(unsigned cpu) {
  Fiber& me = running();
  leave_cpu(me);
  me.cpu = static_cast<std::uint8_t>(cpu);
  if (tops_[cpu] == nullptr) return enter_cpu(me);
  switch_away();
}

// --- CPUs that go and come -------------------------------------------------------------------------------------------

bool Engine::can_stop(unsigned cpu) const { return tops_[cpu] == nullptr || can_preempt(*tops_[cpu]); }

void Engine::wake_stopper() {
  if (stopper_ == nullptr || !can_stop(stops_cpu_)) return;
  stopper_->life = Life::ready;
  stopper_ = nullptr;
}

void Engine::take_cpu_down(unsigned cpu) {
  Fiber& me = running();
  if (me.cpu == cpu) migrate(0);
  while (!can_stop(cpu)) {
    me.life = Life::stopping;
    stopper_ = &me;
    stops_cpu_ = cpu;
    went_to_sleep();
    leave_cpu(me);
    switch_away();
  }
  online_ &= ~(std::uint64_t{1} << cpu);
  tops_[cpu] = nullptr;
  for (Fiber* fiber : fibers_) {
    if (fiber->cpu == cpu) fiber->cpu = 0;
  }
}

void Engine::bring_cpu_up(unsigned cpu) {
  online_ |= std::uint64_t{1} << cpu;
  for (Fiber* fiber : fibers_) {
    const bool bound = (fiber->flags & pf_thread_bound) != 0 && fiber->strand.cpu == cpu;
    if (bound && fiber->life == Life::idle) fiber->cpu = static_cast<std::uint8_t>(cpu);
  }
}

// --- blocking --------------------------------------------------------------------------------------------------------

void Engine::give_way() {
  Fiber& me = running();
  Fiber* const next = running_ == &driver_ ? nullptr : ready_task(me.cpu, &me);
  if (next == nullptr) return;
  enter_cpu(*next);
  switch_to(*next);
}

void Engine::sleep(Jiffies jiffies) {
  if (running_ == &driver_) {
    now_ += jiffies;
    return;
  }
  Fiber& me = running();
  charge(steps_of_a_sleep);
  me.life = Life::sleeping;
  me.wake_at = now_ + std::max<Jiffies>(jiffies, 1);
  leave_cpu(me);
  switch_away();
}

void Engine::spin(const SpinLock& lock) {
  Fiber& me = running();
  me.life = Life::spinning;
  me.waits_for = &lock;
  switch_away();
}

void Engine::released(const SpinLock& lock) {
  for (Fiber* fiber : fibers_) {
    if (fiber->life == Life::spinning && fiber->waits_for == &lock) fiber->life = Life::ready;
  }
}

bool Engine::wait(const WaitQueue& queue, Jiffies timeout) {
  if (timeout != 0 && running_ == &driver_) {
    now_ += timeout;
    return false;
  }
  Fiber& me = running();
  if (timeout != 0) charge(steps_of_a_sleep);
  me.life = Life::waiting;
  me.waits_for = &queue;
  me.wait_ticket = ++tickets_;
  me.wake_at = timeout != 0 ? now_ + timeout : 0;
  if (me.kind == ContextKind::task) leave_cpu(me);
  switch_away();
  return me.waits_for != nullptr;
}

std::uint32_t Engine::wake(const WaitQueue& queue, bool all) {
  for (std::uint32_t woken = 0;;) {
    options_.clear();
    std::vector<Fiber*>::iterator first = fibers_.end();
    for (auto it = fibers_.begin(); it != fibers_.end(); ++it) {
      if ((*it)->life != Life::waiting || (*it)->waits_for != &queue) continue;
      if (first == fibers_.end() || (*it)->wait_ticket < (*first)->wait_ticket) first = it;
    }
    if (first == fibers_.end()) return woken;
    Fiber* chosen = *first;
    if (!all) {
      options_.push_back({.move = Move::wake, .whom = chosen->id});
      for (Fiber* fiber : fibers_) {
        if (fiber != chosen && fiber->life == Life::waiting && fiber->waits_for == &queue) {
          options_.push_back({.move = Move::wake, .whom = fiber->id});
        }
      }
      const Moment moment{.who = running().id,
                          .op = running().op,
                          .site = "sched.wake",
                          .visit = static_cast<std::uint16_t>(visit("sched.wake"))};
      if (options_.size() > 1 && chooser_ != nullptr && chooser_->interested(moment)) {
        const std::uint32_t index = chooser_->choose(moment, options_);
        if (index != 0) record({.at = moment, .take = options_[index]});
        chosen = find(options_[index].whom);
      }
    }
    chosen->life = machine_.fails("wake.lost") ? Life::overslept : Life::ready;
    chosen->wait_ticket = ++tickets_;
    ++woken;
    if (!all) return woken;
  }
}

bool Engine::owns_below(ContextId owner) const {
  for (const Fiber* fiber = running_->under; fiber != nullptr; fiber = fiber->under) {
    if (fiber->id == owner) return true;
  }
  return false;
}

void Engine::wake_daemon(const machine::Strand& daemon) {
  if (running_ == &driver_) return;  // boot and accounting: nobody else is there to run
  Fiber* fiber = find(daemon.id);
  if (fiber == nullptr) {
    fiber = &add(daemon);
    charge(0);  // from here on somebody may be asked
    set_alone();
  } else if (fiber->life == Life::idle) {
    fiber->life = Life::ready;
  }
  fiber->has_work = true;
}

bool Engine::daemon_wait() {
  Fiber& me = running();
  while (!me.has_work) {
    if (shutting_down_) return false;
    me.life = Life::idle;
    leave_cpu(me);
    switch_away();
  }
  me.has_work = false;
  begin_activation(me);
  return true;
}

bool Engine::daemon_wait_until(Jiffies at) {
  Fiber& me = running();
  while (now_ < at) {
    if (shutting_down_) return false;
    me.life = Life::idle;
    me.wake_at = at;
    leave_cpu(me);
    if (is_online(me.strand.cpu)) me.cpu = me.strand.cpu;
    switch_away();
  }
  me.wake_at = 0;
  if (shutting_down_) return false;
  begin_activation(me);
  return true;
}

// What a daemon does is anchored by its activation.
void Engine::begin_activation(Fiber& daemon) {
  ++daemon.op;
  daemon.visits = {};
}

bool Engine::daemons_idle() const {
  return std::ranges::all_of(fibers_, [](const Fiber* fiber) {
    return !is_daemon(fiber->id) || fiber->life == Life::idle || fiber->life == Life::done;
  });
}

void Engine::stop(StopReason reason, PanicKind panic) {
  result_.reason = reason;
  result_.panic = panic;
  switch_to(driver_);
  __builtin_unreachable();
}

void Engine::panic(PanicKind kind) {
  machine_.witness().panicked(current(), kind);
  stop(StopReason::panic, kind);
}

void Engine::request_stop() {
  if (running_ != &driver_) stop(StopReason::stopped);
}

}  // namespace memtorture::machine
