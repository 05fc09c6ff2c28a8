// Masks, locks, sleeping and scopes: what each operation does to the context that it runs in.
#include <algorithm>

#include "model/run/executor.h"

namespace memtorture::run {

using namespace program;  // the operations

bool Executor::has_open(Open what, std::uint8_t lock) {
  const Nesting& mine = nesting();
  return std::any_of(mine.entries.begin(), mine.entries.begin() + mine.depth,
                     [&](const Opened& opened) { return opened.what == what && opened.lock == lock; });
}

// A filesystem's shrinker that finds nothing. Whoever forbids filesystems may hold its mutex (domain.md 9.6, 22.10).
void Executor::shrink(void* mutex, std::uint32_t, subject::gfp_t gfp) {
  if ((gfp & subject::gfp_fs) == 0) return;
  auto& its_own = *static_cast<machine::Mutex*>(mutex);
  const bool again = its_own.is_mine();
  its_own.lock();
  if (!again && its_own.is_mine()) its_own.unlock();
}

void Executor::operator()(const PreemptDisable&) {
  if (too_deep()) return;
  begin();
  machine::preempt_disable();
  open(Open::preempt, 0);
  end();
}
void Executor::operator()(const PreemptEnable&) { close(Open::preempt); }
void Executor::operator()(const LocalIrqSave&) {
  if (too_deep()) return;
  begin();
  open(Open::irq, 0, machine::local_irq_save());
  end();
}
void Executor::operator()(const LocalIrqRestore&) { close(Open::irq); }
void Executor::operator()(const LocalBhDisable&) {
  if (too_deep()) return;
  begin();
  machine::local_bh_disable();
  open(Open::bh, 0);
  end();
}
void Executor::operator()(const LocalBhEnable&) { close(Open::bh); }
void Executor::operator()(const SpinLockOp& op) {
  if (too_deep()) return;
  begin();
  spinlocks_[op.lock.value].lock("lock.acquire");
  open(Open::spin, op.lock.value);
  end();
}
void Executor::operator()(const SpinUnlockOp& op) { close(Open::spin, op.lock.value); }
void Executor::operator()(const SpinLockIrqsave& op) {
  if (too_deep()) return;
  begin();
  open(Open::spin_irq, op.lock.value, spinlocks_[op.lock.value].lock_irqsave("lock.acquire"));
  end();
}
void Executor::operator()(const SpinUnlockIrqrestore& op) { close(Open::spin_irq, op.lock.value); }
void Executor::operator()(const SpinLockBh& op) {
  if (too_deep()) return;
  begin();
  spinlocks_[op.lock.value].lock_bh("lock.acquire");
  open(Open::spin_bh, op.lock.value);
  end();
}
void Executor::operator()(const SpinUnlockBh& op) { close(Open::spin_bh, op.lock.value); }
void Executor::operator()(const SpinTrylock& op) {
  if (too_deep()) return;
  begin();
  const bool taken = spinlocks_[op.lock.value].try_lock();
  if (taken) open(Open::spin, op.lock.value);
  end(taken ? 1 : 0);
}
void Executor::operator()(const MutexLockOp& op) {
  if (too_deep()) return;
  const bool again = has_open(Open::mutex, op.lock.value);
  begin();
  mutexes_[op.lock.value].lock();
  if (!again) open(Open::mutex, op.lock.value);  // a recursion is reported, not granted
  end();
}
void Executor::operator()(const MutexTrylock& op) {
  if (too_deep()) return;
  begin();
  const bool taken = mutexes_[op.lock.value].try_lock();
  if (taken) open(Open::mutex, op.lock.value);
  end(taken ? 1 : 0);
}
void Executor::operator()(const MutexUnlockOp& op) { close(Open::mutex, op.lock.value); }
void Executor::operator()(const SpinUnlockUnheld& op) {
  for (const Open form : {Open::spin, Open::spin_irq, Open::spin_bh}) {
    if (has_open(form, op.lock.value)) return skip();
  }
  begin();
  spinlocks_[op.lock.value].unlock("lock.release");
  end();
}
void Executor::operator()(const MutexUnlockUnheld& op) {
  if (has_open(Open::mutex, op.lock.value)) return skip();
  begin();
  mutexes_[op.lock.value].unlock();
  end();
}
void Executor::operator()(const RcuReadLock&) {  // classic: a section with preemption off
  if (too_deep()) return;
  begin();
  machine::preempt_disable();
  open(Open::rcu, 0);
  end();
}
void Executor::operator()(const RcuReadUnlock&) { close(Open::rcu); }
void Executor::operator()(const RegisterShrinker& op) {
  begin();
  end(pages_->register_shrinker(shrinkers_[op.lock.value]) ? 1 : 0);
}
void Executor::operator()(const UnregisterShrinker& op) {
  begin();
  end(pages_->unregister_shrinker(shrinkers_[op.lock.value]) ? 1 : 0);
}
void Executor::operator()(const DoExit&) {
  begin();
  machine::exit_strand();
  nesting().depth = 0;
  end();
}
void Executor::operator()(const IrqExit&) {
  machine::Context& me = machine::current();
  if (me.kind == machine::ContextKind::task) return skip();
  begin();
  me.comes_again = true;
  end();
}
void Executor::operator()(const WaitEvent& op) {
  begin();
  queues_[op.queue.value].wait();
  end();
}
void Executor::operator()(const WakeUp& op) {
  begin();
  queues_[op.queue.value].wake_all();
  end();
}
void Executor::operator()(const SmpProcessorId&) {
  begin();
  end(machine::smp_processor_id());
}
void Executor::operator()(const MightSleep&) {
  begin();
  machine::might_sleep();
  end();
}
void Executor::operator()(const Schedule&) {
  begin();
  machine::schedule();
  end();
}
void Executor::operator()(const CondResched&) {
  begin();
  machine::cond_resched();
  end();
}
void Executor::operator()(const Msleep& op) {
  begin();
  machine::sleep_jiffies(op.jiffies.value);
  end();
}
void Executor::operator()(const NoioSave&) { enter_scope(Open::noio, machine::pf_noio); }
void Executor::operator()(const NoioRestore&) { close(Open::noio); }
void Executor::operator()(const NofsSave&) { enter_scope(Open::nofs, machine::pf_nofs); }
void Executor::operator()(const NofsRestore&) { close(Open::nofs); }
void Executor::operator()(const NoreclaimSave&) { enter_scope(Open::noreclaim, machine::pf_memalloc); }
void Executor::operator()(const NoreclaimRestore&) { close(Open::noreclaim); }
void Executor::operator()(const SetMemsAllowed& op) {
  begin();
  end(pages_->set_mems_allowed(op.nodes.bits) ? 1 : 0);
}
void Executor::operator()(const CpuDown& op) {
  if (cpus_ == nullptr) return skip();
  begin();
  end(cpus_->cpu_down(op.cpu.value) ? 1 : 0);
}
void Executor::operator()(const CpuUp& op) {
  if (cpus_ == nullptr) return skip();
  begin();
  end(cpus_->cpu_up(op.cpu.value) ? 1 : 0);
}

}  // namespace memtorture::run
