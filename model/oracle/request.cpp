#include "model/oracle/request.h"

#include <algorithm>

#include "allocator/subject/mempools.h"

namespace memtorture::oracle {
namespace {

using namespace program;

struct Translate {
  Request r;

  void allocate(Out out, Gfp gfp, unsigned order) {
    r.act = Act::alloc;
    r.out = out.slot;
    r.gfp = gfp.bits;
    r.order = static_cast<std::uint8_t>(order);
  }
  void allocate_address(Out out, Gfp gfp, unsigned order, std::uint32_t also = 0) {
    allocate(out, gfp, order);
    r.gfp |= also;
    r.by_address = true;
  }
  void release(In in, unsigned order, bool by_address) {
    on(Act::release, in);
    r.order = static_cast<std::uint8_t>(order);
    r.by_address = by_address;
  }
  void on(Act act, In in) {
    r.act = act;
    r.in = in;
  }
  void lock(Act act, Lock which, SpinForm form = spin_plain) {
    r.act = act;
    r.count = form;
    r.byte = which.value;
  }

  void operator()(const AllocPages& o) { allocate(o.out, o.gfp, o.order.value); }
  void operator()(const AllocPage& o) { allocate(o.out, o.gfp, 0); }
  void operator()(const AllocPagesNode& o) {
    allocate(o.out, o.gfp, o.order.value);
    r.node = o.node.value;
  }
  void operator()(const GetFreePages& o) { allocate_address(o.out, o.gfp, o.order.value); }
  void operator()(const GetFreePage& o) { allocate_address(o.out, o.gfp, 0); }
  void operator()(const GetZeroedPage& o) { allocate_address(o.out, o.gfp, 0, subject::gfp_zero); }
  void operator()(const GetDmaPages& o) { allocate_address(o.out, o.gfp, o.order.value, subject::gfp_dma); }
  void operator()(const AllocPagesExact& o) {
    allocate_address(o.out, o.gfp, 0);
    r.act = Act::alloc_exact;
    r.number = o.bytes.value;
  }
  void operator()(const WildPage& o) {
    r.act = Act::wild;
    r.out = o.out.slot;
    r.number = o.frame.value;
  }
  void operator()(const FreePagesOf& o) { release(o.in, o.order.value, false); }
  void operator()(const FreePageOf& o) { release(o.in, 0, false); }
  void operator()(const FreePages& o) { release(o.in, o.order.value, true); }
  void operator()(const FreePage& o) { release(o.in, 0, true); }
  void operator()(const FreePagesExact& o) {
    release(o.in, 0, true);
    r.act = Act::release_exact;
    r.number = o.bytes.value;
  }
  void operator()(const GetPage& o) { on(Act::get, o.in); }
  void operator()(const PutPage& o) { on(Act::put, o.in); }
  void operator()(const SplitPage& o) {
    on(Act::split, o.in);
    r.order = o.order.value;
  }
  void operator()(const PageCount& o) { on(Act::count, o.in); }
  void operator()(const PageAddress& o) { on(Act::address, o.in); }
  void operator()(const Fill& o) {
    on(Act::fill, o.in);
    r.byte = o.byte.value;
  }
  void operator()(const CheckContents& o) { on(Act::check, o.in); }
  void operator()(const Poke& o) {
    on(Act::poke, o.in);
    r.byte = o.byte.value;
    r.number = static_cast<std::uint64_t>(o.at.value);
  }
  void operator()(const Peek& o) {
    on(Act::peek, o.in);
    r.number = static_cast<std::uint64_t>(o.at.value);
  }
  void object(Out out, std::uint64_t bytes, Gfp gfp, bool zeroed = false) {
    r.act = Act::obj_alloc;
    r.out = out.slot;
    r.number = bytes;
    r.gfp = gfp.bits;
    r.zeroed = zeroed || (gfp.bits & subject::gfp_zero) != 0;
  }
  void object_of(Out out, Of cache, Gfp gfp, bool zeroed = false) {
    object(out, 0, gfp, zeroed);
    r.of = cache.slot;
  }
  void cache(Act act, Of cache) {
    r.act = act;
    r.of = cache.slot;
  }
  void operator()(const Kmalloc& o) { object(o.out, o.bytes.value, o.gfp); }
  void operator()(const Kzalloc& o) { object(o.out, o.bytes.value, o.gfp, true); }
  void operator()(const KmallocNode& o) {
    object(o.out, o.bytes.value, o.gfp);
    r.node = o.node.value;
  }
  void operator()(const Kcalloc& o) {
    object(o.out, 0, o.gfp, true);
    r.overflows = __builtin_mul_overflow(std::uint64_t{o.n.value}, o.bytes.value, &r.number);
  }
  void operator()(const Krealloc& o) {
    object(o.out, o.bytes.value, o.gfp);
    on(Act::obj_realloc, o.in);
  }
  void operator()(const Ksize& o) { on(Act::obj_size, o.in); }
  void operator()(const Kfree& o) { on(Act::obj_free, o.in); }
  void operator()(const Kzfree& o) {
    on(Act::obj_free, o.in);
    r.zeroed = true;
  }
  void operator()(const CacheCreate& o) {
    r.act = Act::cache_create;
    r.out = o.out.slot;
    r.number = o.bytes.value;
    r.align = o.align.value;
    r.slab_flags = o.flags.bits;
    r.byte = o.ctor.value;
  }
  void operator()(const CacheDestroy& o) { cache(Act::cache_destroy, o.cache); }
  void operator()(const CacheShrink& o) { cache(Act::cache_shrink, o.cache); }
  void operator()(const CacheSize& o) { cache(Act::cache_size, o.cache); }
  void operator()(const CacheAlloc& o) { object_of(o.out, o.cache, o.gfp); }
  void operator()(const CacheAllocNode& o) {
    object_of(o.out, o.cache, o.gfp);
    r.node = o.node.value;
  }
  void operator()(const CacheZalloc& o) { object_of(o.out, o.cache, o.gfp, true); }
  void operator()(const CacheFree& o) {
    on(Act::obj_free, o.in);
    r.of = o.cache.slot;
  }
  void pool(Act act, Of pool) {
    r.act = act;
    r.of = pool.slot;
  }
  void new_pool(Out out, Count min_nr, subject::PoolKind kind) {
    r.act = Act::pool_create;
    r.out = out.slot;
    r.count = min_nr.value;
    r.byte = static_cast<std::uint8_t>(kind);
  }
  void operator()(const PoolCreateSlab& o) {
    new_pool(o.out, o.min_nr, subject::PoolKind::slab);
    r.of = o.cache.slot;
  }
  void operator()(const PoolCreateKmalloc& o) {
    new_pool(o.out, o.min_nr, subject::PoolKind::kmalloc);
    r.number = o.bytes.value;
  }
  void operator()(const PoolCreatePages& o) {
    new_pool(o.out, o.min_nr, subject::PoolKind::pages);
    r.order = o.order.value;
  }
  void operator()(const PoolDestroy& o) { pool(Act::pool_destroy, o.pool); }
  void operator()(const PoolResize& o) {
    pool(Act::pool_resize, o.pool);
    r.count = o.min_nr.value;
    r.gfp = o.gfp.bits;
  }
  void operator()(const PoolAlloc& o) {
    pool(Act::pool_alloc, o.pool);
    r.out = o.out.slot;
    r.gfp = o.gfp.bits;
  }
  void operator()(const PoolFree& o) {
    on(Act::pool_free, o.in);
    r.of = o.pool.slot;
  }
  void operator()(const Link& o) {
    on(Act::link, o.in);
    r.of = o.to.slot;
  }
  void operator()(const KfreeS& o) {
    on(Act::obj_free, o.in);
    r.number = o.bytes.value;
  }
  void operator()(const KfreeNull&) {}
  void operator()(const DrainLocalPages&) { r.act = Act::drain_local; }
  void operator()(const DrainAllPages&) { r.act = Act::drain_all; }
  void operator()(const NrFreePages&) { r.act = Act::nr_free; }
  void operator()(const SetMinFreeKbytes& o) {
    r.act = Act::set_min_free;
    r.number = o.kbytes.value;
  }
  void operator()(const ClientAdd& o) {
    r.act = Act::client_add;
    r.byte = static_cast<std::uint8_t>(o.kind.value);
    r.number = o.pages.value;
    r.gfp = o.gfp.bits;
  }
  void operator()(const ClientDrop& o) {
    r.act = Act::client_drop;
    r.byte = static_cast<std::uint8_t>(o.kind.value);
    r.number = o.pages.value;
  }
  void operator()(const ClientTouch& o) {
    r.act = Act::client_touch;
    r.byte = static_cast<std::uint8_t>(o.kind.value);
    r.number = o.pages.value;
  }
  void operator()(const SetProcess& o) {
    r.act = Act::set_process;
    r.count = o.process.value;
    r.byte = static_cast<std::uint8_t>(o.trait.value);
    r.number = static_cast<std::uint64_t>(o.value.value);
  }
  void operator()(const PreemptDisable&) { r.act = Act::preempt_disable; }
  void operator()(const PreemptEnable&) { r.act = Act::preempt_enable; }
  void operator()(const LocalIrqSave&) { r.act = Act::irq_save; }
  void operator()(const LocalIrqRestore&) { r.act = Act::irq_restore; }
  void operator()(const LocalBhDisable&) { r.act = Act::bh_disable; }
  void operator()(const LocalBhEnable&) { r.act = Act::bh_enable; }
  void operator()(const SpinLockOp& o) { lock(Act::spin_lock, o.lock); }
  void operator()(const SpinUnlockOp& o) { lock(Act::spin_unlock, o.lock); }
  void operator()(const SpinLockIrqsave& o) { lock(Act::spin_lock, o.lock, spin_irqsave); }
  void operator()(const SpinUnlockIrqrestore& o) { lock(Act::spin_unlock, o.lock, spin_irqsave); }
  void operator()(const SpinLockBh& o) { lock(Act::spin_lock, o.lock, spin_bh); }
  void operator()(const SpinUnlockBh& o) { lock(Act::spin_unlock, o.lock, spin_bh); }
  void operator()(const SpinTrylock& o) { lock(Act::spin_trylock, o.lock); }
  void operator()(const MutexTrylock& o) { lock(Act::mutex_trylock, o.lock); }
  void operator()(const SpinUnlockUnheld& o) { lock(Act::spin_unlock_unheld, o.lock); }
  void operator()(const MutexUnlockUnheld& o) { lock(Act::mutex_unlock_unheld, o.lock); }
  void operator()(const RcuReadLock&) { r.act = Act::preempt_disable; }  // classic: no more than that
  void operator()(const RcuReadUnlock&) { r.act = Act::preempt_enable; }
  void operator()(const RegisterShrinker& o) {
    lock(Act::shrinker, o.lock);
    r.count = 1;
  }
  void operator()(const UnregisterShrinker& o) { lock(Act::shrinker, o.lock); }
  void operator()(const DoExit&) { r.act = Act::do_exit; }
  void operator()(const IrqExit&) { r.act = Act::irq_exit; }
  void operator()(const MutexLockOp& o) { lock(Act::mutex_lock, o.lock); }
  void operator()(const MutexUnlockOp& o) { lock(Act::mutex_unlock, o.lock); }
  void operator()(const WaitEvent&) { r.act = Act::wait_event; }
  void operator()(const SmpProcessorId&) { r.act = Act::processor_id; }
  void operator()(const MightSleep&) { r.act = Act::might_sleep; }
  void operator()(const Schedule&) { r.act = Act::schedule; }
  void operator()(const CondResched&) { r.act = Act::cond_resched; }
  void operator()(const Msleep&) { r.act = Act::msleep; }
  // Per-CPU memory.
  void new_area(Out out, Bytes bytes, Align align, subject::gfp_t gfp) {
    r.act = Act::percpu_alloc;
    r.out = out.slot;
    r.number = bytes.value;
    r.align = align.value;
    r.gfp = gfp;
  }
  void area(Act act, Of of, std::uint32_t value = 0) {
    r.act = act;
    r.of = of.slot;
    r.count = value;
  }
  void copy(Act act, Out out, Of of, std::uint32_t cpu = 0) {
    area(act, of, cpu);
    r.out = out.slot;
  }
  void operator()(const PerCpuVar& o) {
    r.act = Act::percpu_var;
    r.out = o.out.slot;
    r.count = o.index.value;
  }
  void operator()(const AllocPercpu& o) { new_area(o.out, o.bytes, o.align, subject::GFP_KERNEL); }
  void operator()(const AllocPercpuGfp& o) { new_area(o.out, o.bytes, o.align, o.gfp.bits); }
  void operator()(const AllocPercpuReserved& o) {
    new_area(o.out, o.bytes, o.align, subject::GFP_KERNEL);
    r.reserved = true;
  }
  void operator()(const FreePercpu& o) { on(Act::percpu_free, o.in); }
  void operator()(const FreePercpuNull&) {}
  void operator()(const GetCpu& o) {
    r.act = Act::get_cpu;
    r.out = o.out.slot;
  }
  void operator()(const PutCpu&) { r.act = Act::preempt_enable; }
  void operator()(const GetCpuPtr& o) { copy(Act::copy_get, o.out, o.of); }
  void operator()(const PutCpuPtr&) { r.act = Act::preempt_enable; }
  void operator()(const ThisCpuPtr& o) { copy(Act::copy_this, o.out, o.of); }
  void operator()(const PerCpuPtr& o) { copy(Act::copy_of, o.out, o.of, o.cpu.value); }
  void operator()(const PtrAdd& o) {
    on(Act::copy_add, o.in);
    r.count = o.value.value;
  }
  void operator()(const PerCpuAdd& o) {
    area(Act::index_add, o.of, o.value.value);
    r.in = o.cpu;
  }
  void operator()(const ThisCpuAdd& o) { area(Act::this_add, o.of, o.value.value); }
  void operator()(const RawCpuAdd& o) { area(Act::raw_add, o.of, o.value.value); }
  void operator()(const PerCpuSum& o) { area(Act::percpu_sum, o.of); }

  void operator()(const BlemishPage& o) {
    on(Act::blemish, o.in);
    r.byte = static_cast<std::uint8_t>(o.flaw.value);
  }
  void operator()(const ForkTask& o) {
    r.act = Act::fork;
    r.out = o.out.slot;
    r.gfp = subject::GFP_KERNEL;
  }
  void operator()(const ExitTask& o) {
    r.act = Act::exit;
    r.of = o.task.slot;
  }
  void frame(Act act, Bytes bytes) {
    r.act = act;
    r.number = std::min(bytes.value, frame_bytes_most);
  }
  void operator()(const PushFrame& o) { frame(Act::push, o.bytes); }
  void operator()(const PopFrame&) { r.act = Act::pop; }
  void operator()(const AllocaBytes& o) { frame(Act::array, o.bytes); }
  void operator()(const Recurse& o) {
    frame(Act::recurse, o.bytes);
    r.count = std::min(o.depth.value, recursion_most);
  }
  void operator()(const StackNotUsed&) { r.act = Act::not_used; }
  void operator()(const Forget& o) { on(Act::forget, o.in); }
  // Scopes show in the task flags of later calls; the rest has no meaning for pages.
  void operator()(const FreeNull&) {}
  void operator()(const WakeUp&) {}
  void operator()(const NoioSave&) {}
  void operator()(const NoioRestore&) {}
  void operator()(const NofsSave&) {}
  void operator()(const NofsRestore&) {}
  void operator()(const NoreclaimSave&) {}
  void operator()(const NoreclaimRestore&) {}
  void operator()(const SetMemsAllowed& o) {
    r.act = Act::set_mems;
    r.byte = o.nodes.bits;
  }
  void operator()(const CpuDown& o) {
    r.act = Act::cpu_down;
    r.number = o.cpu.value;
  }
  void operator()(const CpuUp& o) {
    r.act = Act::cpu_up;
    r.number = o.cpu.value;
  }
};

}  // namespace

Request request_of(const Op& op) {
  Translate translate;
  std::visit(translate, op);
  return translate.r;
}

}  // namespace memtorture::oracle
