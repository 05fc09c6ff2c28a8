// Slots, contents, nesting, clean-up. The operations themselves are in executor_ops.cpp.
#include "model/run/executor.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

namespace memtorture::run {

using machine::IrqFlag;
using machine::LockClass;
using machine::no_pfn;
using machine::Pfn;
using oracle::EventKind;

namespace {

constexpr std::size_t stamp_bytes = sizeof(std::uint64_t);

bool inline_judgement() { return !machine::Machine::concurrent(); }

}  // namespace

std::uint32_t add_references(Holding& holding, int change) {
  if (!machine::Machine::concurrent()) return std::exchange(holding.references, holding.references + change);
  return std::atomic_ref(holding.references).fetch_add(static_cast<std::uint32_t>(change), std::memory_order_relaxed);
}

Executor::Executor(Tape& tape, oracle::Oracle& oracle)
    : tape_(tape),
      oracle_(oracle),
      spinlocks_{machine::SpinLock(LockClass("program.spin0")), machine::SpinLock(LockClass("program.spin1")),
                 machine::SpinLock(LockClass("program.spin2")), machine::SpinLock(LockClass("program.spin3"))},
      mutexes_{machine::Mutex(LockClass("program.mutex0")), machine::Mutex(LockClass("program.mutex1")),
               machine::Mutex(LockClass("program.mutex2")), machine::Mutex(LockClass("program.mutex3"))} {
  static_assert(program::locks_max == 4);
}

void Executor::start(const Case& the_case, const Options& options, subject::Pages& pages, subject::PagesView* view,
                     machine::Machine& machine) {
  case_ = &the_case;
  client_pages_most_ = program::client_pages_most(the_case);
  options_ = options;
  pages_ = &pages;
  view_ = view;
  machine_ = &machine;
  const std::size_t programs = the_case.programs.size();
  slots_.assign(the_case.slot_names.size(), Holding{});
  if (nesting_.size() < programs + 1) nesting_.resize(programs + 1);
  for (Nesting& nesting : nesting_) nesting.depth = 0;
  tasks_.resize(programs);
  strands_.resize(programs);
  next_ops_.assign(programs, 0);
  started_.assign(programs, 0);
  left_.assign(programs, 0);
  if (orphans_.size() < programs) orphans_.resize(programs);
  for (auto& orphans : orphans_) orphans.clear();
  for (auto* lists : {&lost_, &caches_, &pool_handles_, &tasks_made_, &cookies_}) {
    if (lists->size() < programs) lists->resize(programs);
    for (auto& list : *lists) list.clear();
  }
  if (constructors_.size() < programs) constructors_.resize(programs);
  for (auto& constructors : constructors_) constructors.clear();
  cpus_ = nullptr;
  objects_ = nullptr;
  debug_ = nullptr;
  watches_blocks_ = false;
  objects_view_ = nullptr;
  buckets_view_ = nullptr;
  pools_ = nullptr;
  pools_view_ = nullptr;
  stacks_ = nullptr;
  stacks_view_ = nullptr;
  frames_.assign(programs, 0);
  percpu_ = nullptr;
  percpu_view_ = nullptr;
  for (std::size_t i = 0; i != programs; ++i) {
    const program::Program& program = the_case.programs[i];
    tasks_[i] = {this, static_cast<std::uint16_t>(i)};
    strands_[i] = {.id = static_cast<ContextId>(i),
                   .kind = program.kind,
                   .cpu = program.cpu,
                   .flags = program.flags,
                   .body = &run_program,
                   .arg = &tasks_[i]};
  }
  operations_in_flight_ = 0;
  operations_since_audit_ = 0;
  for (auto& lock : spinlocks_) lock.reset();
  for (auto& mutex : mutexes_) mutex.reset();
  for (auto& queue : queues_) queue.reset();
  for (std::size_t i = 0; i != shrinkers_.size(); ++i) shrinkers_[i] = {.shrink = &shrink, .owner = &mutexes_[i]};
}

std::span<const machine::Strand> Executor::strands() { return strands_; }

machine::Strand Executor::cleaner() {
  return {.id = harness_context,
          .kind = machine::ContextKind::task,
          .cpu = 0,
          .flags = 0,
          .body = &run_cleaner,
          .arg = this};
}

void Executor::run_program(void* arg) {
  const Task& task = *static_cast<Task*>(arg);
  Executor& self = *task.executor;
  const auto& ops = self.case_->programs[task.index].ops;
  self.started_[task.index] = 1;
  self.left_[task.index] = 0;
  if (self.stacks_ != nullptr) self.enter();
  std::uint32_t& index = self.next_ops_[task.index];
  while (index != ops.size() && !machine::current().comes_again) {
    const program::Op& op = ops[index];
    machine::begin_operation(index++, static_cast<std::uint16_t>(op.index() + 1));
    std::visit(self, op);
    if (std::holds_alternative<program::DoExit>(op)) break;
  }
  if (!machine::current().comes_again) machine::begin_operation(index);
  self.undo_all(self.nesting());
  if (self.stacks_ != nullptr) self.stacks_->leave();
  self.tape_.emit(Tape::here(EventKind::left));
  self.left_[task.index] = 1;
}

// --- the tape --------------------------------------------------------------------------------------------------------

void Executor::begin() {
  Event event = Tape::here(EventKind::call);
  event.detail = static_cast<std::uint8_t>(event.irqs);
  event.value = event.preempt_count;
  event.value2 = machine::current().flags;
  if (inline_judgement()) ++operations_in_flight_;
  tape_.emit(event);
}

void Executor::end(std::uint64_t value) {
  Event event = Tape::here(EventKind::result);
  event.value = value;
  if (inline_judgement()) --operations_in_flight_;
  tape_.emit(event);
  audit_if_due();
}

void Executor::skip() { tape_.emit(Tape::here(EventKind::skipped)); }

void Executor::audit_if_due() {
  if (options_.audit_every == audit_never || options_.audit_every == audit_at_end || !inline_judgement()) return;
  if (++operations_since_audit_ < options_.audit_every) return;
  if (operations_in_flight_ != 0 || !machine_->daemons_idle()) return;
  operations_since_audit_ = 0;
  audit();
}

void Executor::audit() {
  if (options_.audit_every == audit_never) return;
  if (view_ != nullptr && !tape_.is_over()) tape_.conclude(oracle_.audit(*view_));
  if (objects_view_ != nullptr && !tape_.is_over())
    tape_.conclude(oracle_.audit_objects(*objects_view_, pools_view_, percpu_view_));
  if (buckets_view_ != nullptr && !tape_.is_over()) tape_.conclude(oracle_.audit_buckets(*buckets_view_));
  if (stacks_view_ != nullptr && !tape_.is_over()) tape_.conclude(oracle_.audit_stacks(*stacks_view_));
}

// --- blocks ----------------------------------------------------------------------------------------------------------

void Executor::granted(program::Out out, const Granted& block) {
  Event event = Tape::here(EventKind::result);
  event.pfn = block.first;
  event.order = static_cast<std::uint8_t>(block.order);
  event.gfp = block.gfp;
  event.value = block.address;
  event.value2 = ~std::uint64_t{0};
  const bool inside = exists(block.first, block.frames);
  if (inside && (block.gfp & subject::gfp_zero) != 0) {
    event.value2 = static_cast<std::uint64_t>(machine_->ram().find_not(block.first, block.frames, std::byte{0}));
  }
  if (inline_judgement()) --operations_in_flight_;
  tape_.emit(event);
  if (block.first == no_pfn || !inside) return audit_if_due();
  stamp(refill(out, {.what = Held::block,
                     .first = block.first,
                     .frames = block.frames,
                     .bytes = block.bytes,
                     .references = 1,
                     .order = static_cast<std::uint8_t>(block.order),
                     .compound = (block.gfp & subject::gfp_comp) != 0 && block.order != 0}));
  if (block.bytes != 0) {
    for (Pfn frame = block.first; frame != block.first + block.frames; ++frame) orphan(frame);
  }
  audit_if_due();
}

// A slot gets a new handle; a live block that it held is remembered for the clean-up.
Holding& Executor::refill(program::Out out, const Holding& fresh) {
  Holding& holding = slots_[out.slot];
  if (holding.what == Held::object) {
    lost_[machine::current().id].push_back(holding.address);
  } else if (holding.references != 0) {
    orphan(holding.first);
  }
  return holding = fresh;
}

void Executor::allocated(program::Out out, Pfn first, unsigned order, subject::gfp_t gfp) {
  const std::uint32_t frames = order < 32 ? std::uint32_t{1} << order : 0;
  granted(out, {.first = first, .frames = frames, .order = order, .gfp = gfp});
}

void Executor::allocated_at(program::Out out, std::uint64_t address, unsigned order, subject::gfp_t gfp) {
  const std::uint32_t frames = order < 32 ? std::uint32_t{1} << order : 0;
  // An address outside of the linear map is told as a frame that does not exist; null as no frame.
  const Pfn first = address == 0 ? no_pfn : std::min(machine_->ram().pfn_of(address), no_pfn - 1);
  granted(out, {.first = first, .address = address, .frames = frames, .order = order, .gfp = gfp});
}

Holding* Executor::holding(program::In in) {
  Holding& holding = slots_[in.slot];
  return holding.what == Held::block ? &holding : nullptr;
}

bool Executor::is_high(Pfn pfn) const {
  const auto& shape = machine_->shape();
  return (std::uint64_t{pfn} << shape.page_shift) >= shape.zone_end_bytes[machine::index_of(machine::ZoneKind::normal)];
}

bool Executor::exists(Pfn first, std::uint32_t frames) const {
  const Pfn all = machine_->shape().frames();
  return first < all && frames <= all - first;
}

// --- contents --------------------------------------------------------------------------------------------------------

std::span<std::byte> Executor::stamp_place(const Holding& holding, bool tail) {
  const auto frame = machine_->ram().frame(tail ? holding.first + holding.frames - 1 : holding.first);
  return tail ? frame.last(stamp_bytes) : frame.first(stamp_bytes);
}

void Executor::stamp(Holding& holding) {
  const machine::Context& me = machine::current();
  holding.stamp = program::Random(std::uint64_t{me.id} << 32 | me.op).next();
  holding.written = Written::stamp;
  for (const bool tail : {false, true}) std::memcpy(stamp_place(holding, tail).data(), &holding.stamp, stamp_bytes);
}

void Executor::verify(const Holding& holding) {
  std::int64_t damage = -1;
  if (holding.written == Written::byte) damage = machine_->ram().find_not(holding.first, holding.frames, holding.byte);
  if (holding.written == Written::stamp) {
    const std::int64_t tail_offset =
        (std::int64_t{holding.frames} << machine_->shape().page_shift) - static_cast<std::int64_t>(stamp_bytes);
    if (std::memcmp(stamp_place(holding, true).data(), &holding.stamp, stamp_bytes) != 0) damage = tail_offset;
    if (std::memcmp(stamp_place(holding, false).data(), &holding.stamp, stamp_bytes) != 0) damage = 0;
  }
  tell_contents(holding.first, damage);
}

void Executor::verify_part(const Holding& holding) {
  const Pfn frame = holding.first + holding.part;
  tell_contents(frame, machine_->ram().find_not(frame, 1, holding.part_byte));
}

void Executor::tell_contents(Pfn first, std::int64_t damage) {
  Event event = Tape::here(EventKind::contents);
  event.pfn = first;
  event.value = static_cast<std::uint64_t>(damage);
  tape_.emit(event);
}

void Executor::drop_reference(Holding& holding, program::In in) {
  if (in.offset != 0 && in.offset == holding.part) {
    verify_part(holding);
    holding.part = 0;  // whatever becomes of the frame, it was as written until now
  }
  if (in.offset != 0 && !holding.compound) return;
  if (add_references(holding, 0) == 0) return;
  // The subject does not know of it yet: the block is still there to be looked at.
  if (add_references(holding, -1) == 1 && holding.written != Written::unknown) verify(holding);
}

// --- nesting ---------------------------------------------------------------------------------------------------------

void Executor::open(Open what, std::uint8_t lock, IrqFlag irqs, std::uint32_t flags) {
  Nesting& mine = nesting();
  mine.entries[mine.depth++] = {what, lock, irqs, flags};
}

bool Executor::too_deep() {
  if (!nesting().full()) return false;
  skip();
  return true;
}

void Executor::enter_scope(Open what, std::uint32_t flag) {
  if (too_deep()) return;
  machine::Context& me = machine::current();
  begin();
  open(what, 0, IrqFlag::on, me.flags & flag);
  me.flags |= flag;
  end();
}

void Executor::close(Open what, std::uint8_t lock) {
  Nesting& mine = nesting();
  for (std::uint32_t i = mine.depth; i != 0; --i) {
    const Opened opened = mine.entries[i - 1];
    if (opened.what != what || opened.lock != lock) continue;
    begin();
    std::copy(mine.entries.begin() + i, mine.entries.begin() + mine.depth, mine.entries.begin() + i - 1);
    --mine.depth;
    undo(opened);
    return end();
  }
  skip();
}

void Executor::undo(const Opened& opened) {
  machine::Context& me = machine::current();
  const auto restore_flag = [&](std::uint32_t flag) { me.flags = (me.flags & ~flag) | opened.flags; };
  switch (opened.what) {
    case Open::preempt:
    case Open::rcu: return machine::preempt_enable();
    case Open::irq: return machine::local_irq_restore(opened.irqs);
    case Open::bh: return machine::local_bh_enable();
    case Open::spin: return spinlocks_[opened.lock].unlock("lock.release");
    case Open::spin_irq: return spinlocks_[opened.lock].unlock_irqrestore(opened.irqs, "lock.release");
    case Open::spin_bh: return spinlocks_[opened.lock].unlock_bh("lock.release");
    case Open::mutex: return mutexes_[opened.lock].unlock();
    case Open::noio: return restore_flag(machine::pf_noio);
    case Open::nofs: return restore_flag(machine::pf_nofs);
    case Open::noreclaim: return restore_flag(machine::pf_memalloc);
  }
}

void Executor::undo_all(Nesting& nesting) {
  while (nesting.depth != 0) undo(nesting.entries[--nesting.depth]);
}

// --- clean-up
// ---------------------------------------------------------------------------------------------------------

void Executor::free_if_live(Pfn frame) {
  const oracle::Oracle::LiveBlock block = oracle_.live_block(frame);
  for (std::uint32_t i = 0; i != block.references; ++i) {
    Event event = Tape::here(EventKind::call);
    event.pfn = block.first;
    event.order = block.order;
    tape_.emit(event);
    pages_->free_pages_of(block.first, block.order);
    tape_.emit(Tape::here(EventKind::result));
  }
}

void Executor::run_cleaner(void* executor) {
  Executor& self = *static_cast<Executor*>(executor);
  machine::begin_operation(harness_op);
  self.clean_up_percpu();
  self.clean_up_objects();
  if (self.stacks_ != nullptr) self.clean_up_stacks();
  for (const Holding& holding : self.slots_) {
    if (holding.what == Held::block) self.free_if_live(holding.first);
  }
  for (const auto& orphans : self.orphans_) {
    for (const Pfn frame : orphans) self.free_if_live(frame);
  }
  for (unsigned kind = 0; kind != subject::client_kinds; ++kind) {
    self.pages_->client_drop(static_cast<subject::ClientKind>(kind), ~std::uint32_t{0});
  }
  self.pages_->drain_all_pages();
}

}  // namespace memtorture::run
