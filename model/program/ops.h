// The operations: what a program of a case can do. Small structs in a variant.
//
// name() is the word in a case file (kernel names for kernel things), fields() its parameters in the order in which
// they are written; everything generic (text, bytes, mutation, lists) is derived from these two. Adding an operation =
// a struct here, its line in Op, its execution in model/run and its meaning in model/oracle.
//
// An operation whose input slot was never filled is skipped, and so is one that would open a 33rd nested thing
// (nesting_max: the machine's own counts are 8 bits wide). A slot stays filled after its block was freed: using it
// again is a crime, and the oracle knows. What a slot holds decides, too: an operation on objects skips a slot with a
// block of frames and the other way round, but for the releases, where that is a crime of its own. An element of a pool
// is an object, whatever it is made of.
#pragma once

#include <string_view>
#include <tuple>
#include <variant>

#include "model/program/fields.h"

namespace memtorture::program {

// clang-format off
#define MT_OP(NAME, MEANING, ...)                                             \
  static constexpr std::string_view name = NAME;                              \
  static constexpr std::string_view meaning = MEANING;                        \
  static constexpr auto fields() { return std::tuple{__VA_ARGS__}; }

// --- allocation: the slot gets the block, or stays as it was when refused
struct AllocPages { Out out; Gfp gfp; Order order; bool operator==(const AllocPages&) const = default;
  MT_OP("alloc_pages", "2^order frames, anywhere the flags allow", &AllocPages::out, &AllocPages::gfp, &AllocPages::order) };
struct AllocPage { Out out; Gfp gfp; bool operator==(const AllocPage&) const = default;
  MT_OP("alloc_page", "one frame", &AllocPage::out, &AllocPage::gfp) };
struct AllocPagesNode { Out out; Node node; Gfp gfp; Order order; bool operator==(const AllocPagesNode&) const = default;
  MT_OP("alloc_pages_node", "2^order frames, preferably of a node", &AllocPagesNode::out, &AllocPagesNode::node, &AllocPagesNode::gfp, &AllocPagesNode::order) };
struct GetFreePages { Out out; Gfp gfp; Order order; bool operator==(const GetFreePages&) const = default;
  MT_OP("__get_free_pages", "the address of 2^order frames", &GetFreePages::out, &GetFreePages::gfp, &GetFreePages::order) };
struct GetFreePage { Out out; Gfp gfp; bool operator==(const GetFreePage&) const = default;
  MT_OP("__get_free_page", "the address of one frame", &GetFreePage::out, &GetFreePage::gfp) };
struct GetZeroedPage { Out out; Gfp gfp; bool operator==(const GetZeroedPage&) const = default;
  MT_OP("get_zeroed_page", "the address of one zeroed frame", &GetZeroedPage::out, &GetZeroedPage::gfp) };
struct GetDmaPages { Out out; Gfp gfp; Order order; bool operator==(const GetDmaPages&) const = default;
  MT_OP("__get_dma_pages", "the address of 2^order DMA-capable frames", &GetDmaPages::out, &GetDmaPages::gfp, &GetDmaPages::order) };
struct AllocPagesExact { Out out; Bytes bytes; Gfp gfp; bool operator==(const AllocPagesExact&) const = default;
  MT_OP("alloc_pages_exact", "just enough contiguous frames for a size", &AllocPagesExact::out, &AllocPagesExact::bytes, &AllocPagesExact::gfp) };
struct WildPage { Out out; Frame frame; bool operator==(const WildPage&) const = default;
  MT_OP("wild_page", "a handle to a frame that was never allocated through it (for crimes)", &WildPage::out, &WildPage::frame) };

// --- release
struct FreePagesOf { In in; Order order; bool operator==(const FreePagesOf&) const = default;
  MT_OP("__free_pages", "drop a reference by page; free the block at 0", &FreePagesOf::in, &FreePagesOf::order) };
struct FreePageOf { In in; bool operator==(const FreePageOf&) const = default;
  MT_OP("__free_page", "__free_pages of order 0", &FreePageOf::in) };
struct FreePages { In in; Order order; bool operator==(const FreePages&) const = default;
  MT_OP("free_pages", "drop a reference by address; free the block at 0", &FreePages::in, &FreePages::order) };
struct FreePage { In in; bool operator==(const FreePage&) const = default;
  MT_OP("free_page", "free_pages of order 0", &FreePage::in) };
struct FreePagesExact { In in; Bytes bytes; bool operator==(const FreePagesExact&) const = default;
  MT_OP("free_pages_exact", "give back what alloc_pages_exact gave", &FreePagesExact::in, &FreePagesExact::bytes) };
struct FreeNull { Order order; bool operator==(const FreeNull&) const = default;
  MT_OP("free_null", "free_pages(0, order): nothing happens", &FreeNull::order) };

// --- references
struct GetPage { In in; bool operator==(const GetPage&) const = default;
  MT_OP("get_page", "take a reference", &GetPage::in) };
struct PutPage { In in; bool operator==(const PutPage&) const = default;
  MT_OP("put_page", "drop a reference; at 0 the page (whole compound page) is freed", &PutPage::in) };
struct SplitPage { In in; Order order; bool operator==(const SplitPage&) const = default;
  MT_OP("split_page", "make each frame of a non-compound block a block of its own", &SplitPage::in, &SplitPage::order) };
struct PageCount { In in; bool operator==(const PageCount&) const = default;
  MT_OP("page_count", "read the reference count", &PageCount::in) };
struct PageAddress { In in; bool operator==(const PageAddress&) const = default;
  MT_OP("page_address", "read the linear address", &PageAddress::in) };

// --- contents
struct Fill { In in; Byte byte; bool operator==(const Fill&) const = default;
  MT_OP("fill", "the owner writes every byte of the block, or with +N of that frame", &Fill::in, &Fill::byte) };
struct CheckContents { In in; bool operator==(const CheckContents&) const = default;
  MT_OP("check", "the owner verifies what it wrote", &CheckContents::in) };
struct Peek { In in; Offset at; bool operator==(const Peek&) const = default;
  MT_OP("peek", "read one byte at an offset, inside or (a crime) outside or after free", &Peek::in, &Peek::at) };
struct Poke { In in; Offset at; Byte byte; bool operator==(const Poke&) const = default;
  MT_OP("poke", "write one byte at an offset, inside or (a crime) outside or after free", &Poke::in, &Poke::at, &Poke::byte) };

// --- the allocator as a whole
struct DrainLocalPages { bool operator==(const DrainLocalPages&) const = default;
  MT_OP("drain_local_pages", "this CPU's lists go back to the buddy lists") };
struct DrainAllPages { bool operator==(const DrainAllPages&) const = default;
  MT_OP("drain_all_pages", "every CPU's lists go back to the buddy lists") };
struct NrFreePages { bool operator==(const NrFreePages&) const = default;
  MT_OP("nr_free_pages", "read the number of free pages") };
struct SetMinFreeKbytes { Count kbytes; bool operator==(const SetMinFreeKbytes&) const = default;
  MT_OP("set_min_free_kbytes", "recompute all watermarks", &SetMinFreeKbytes::kbytes) };
struct ClientAdd { Client kind; Count pages; Gfp gfp; bool operator==(const ClientAdd&) const = default;
  MT_OP("client_add", "a client of the machine allocates pages one by one and keeps them (all of a case together at most 1,048,576)", &ClientAdd::kind, &ClientAdd::pages, &ClientAdd::gfp) };
struct ClientDrop { Client kind; Count pages; bool operator==(const ClientDrop&) const = default;
  MT_OP("client_drop", "a client gives up pages", &ClientDrop::kind, &ClientDrop::pages) };
struct ClientTouch { Client kind; Count pages; bool operator==(const ClientTouch&) const = default;
  MT_OP("client_touch", "a client uses pages, those first that reclaim would take first", &ClientTouch::kind, &ClientTouch::pages) };
struct SetProcess { Count process; Trait trait; Offset value; bool operator==(const SetProcess&) const = default;
  MT_OP("set_process", "what the OOM killer asks about a process, 0 to 7: oom_adj, nice, cpu_seconds, run_seconds, caps (1 administers, 2 raw I/O), parent (-1: none)", &SetProcess::process, &SetProcess::trait, &SetProcess::value) };

// --- objects: on a machine that has them; the slot gets the object, or stays as it was when refused
struct Kmalloc { Out out; Bytes bytes; Gfp gfp; bool operator==(const Kmalloc&) const = default;
  MT_OP("kmalloc", "an object of at least so many bytes", &Kmalloc::out, &Kmalloc::bytes, &Kmalloc::gfp) };
struct Kzalloc { Out out; Bytes bytes; Gfp gfp; bool operator==(const Kzalloc&) const = default;
  MT_OP("kzalloc", "the same, zeroed", &Kzalloc::out, &Kzalloc::bytes, &Kzalloc::gfp) };
struct KmallocNode { Out out; Bytes bytes; Gfp gfp; Node node; bool operator==(const KmallocNode&) const = default;
  MT_OP("kmalloc_node", "the same, preferably of a node", &KmallocNode::out, &KmallocNode::bytes, &KmallocNode::gfp, &KmallocNode::node) };
struct Kcalloc { Out out; Count n; Bytes bytes; Gfp gfp; bool operator==(const Kcalloc&) const = default;
  MT_OP("kcalloc", "a zeroed array", &Kcalloc::out, &Kcalloc::n, &Kcalloc::bytes, &Kcalloc::gfp) };
struct Krealloc { Out out; In in; Bytes bytes; Gfp gfp; bool operator==(const Krealloc&) const = default;
  MT_OP("krealloc", "an object with the contents of another, which is given up unless it is refused", &Krealloc::out, &Krealloc::in, &Krealloc::bytes, &Krealloc::gfp) };
struct Ksize { In in; bool operator==(const Ksize&) const = default;
  MT_OP("ksize", "how many bytes may really be used", &Ksize::in) };
struct Kfree { In in; bool operator==(const Kfree&) const = default;
  MT_OP("kfree", "give up an object", &Kfree::in) };
struct Kzfree { In in; bool operator==(const Kzfree&) const = default;
  MT_OP("kzfree", "zero it first", &Kzfree::in) };
struct KfreeS { In in; Bytes bytes; bool operator==(const KfreeS&) const = default;
  MT_OP("kfree_s", "give up an object and say its size, which buckets check; 0: do not", &KfreeS::in, &KfreeS::bytes) };
struct KfreeNull { bool operator==(const KfreeNull&) const = default;
  MT_OP("kfree_null", "kfree(NULL): nothing happens") };
struct CacheCreate { Out out; Bytes bytes; Align align; SlabFlags flags; Byte ctor; bool operator==(const CacheCreate&) const = default;
  MT_OP("kmem_cache_create", "a cache for objects of one size, named like its slot; constructed objects hold the byte everywhere, 0x00: no constructor", &CacheCreate::out, &CacheCreate::bytes, &CacheCreate::align, &CacheCreate::flags, &CacheCreate::ctor) };
struct CacheDestroy { Of cache; bool operator==(const CacheDestroy&) const = default;
  MT_OP("kmem_cache_destroy", "give up a cache; it stays when objects are live", &CacheDestroy::cache) };
struct CacheShrink { Of cache; bool operator==(const CacheShrink&) const = default;
  MT_OP("kmem_cache_shrink", "give back every slab without objects", &CacheShrink::cache) };
struct CacheSize { Of cache; bool operator==(const CacheSize&) const = default;
  MT_OP("kmem_cache_size", "usable bytes of an object of the cache", &CacheSize::cache) };
struct CacheAlloc { Out out; Of cache; Gfp gfp; bool operator==(const CacheAlloc&) const = default;
  MT_OP("kmem_cache_alloc", "an object of a cache", &CacheAlloc::out, &CacheAlloc::cache, &CacheAlloc::gfp) };
struct CacheAllocNode { Out out; Of cache; Gfp gfp; Node node; bool operator==(const CacheAllocNode&) const = default;
  MT_OP("kmem_cache_alloc_node", "the same, preferably of a node", &CacheAllocNode::out, &CacheAllocNode::cache, &CacheAllocNode::gfp, &CacheAllocNode::node) };
struct CacheZalloc { Out out; Of cache; Gfp gfp; bool operator==(const CacheZalloc&) const = default;
  MT_OP("kmem_cache_zalloc", "the same, zeroed", &CacheZalloc::out, &CacheZalloc::cache, &CacheZalloc::gfp) };
struct CacheFree { Of cache; In in; bool operator==(const CacheFree&) const = default;
  MT_OP("kmem_cache_free", "give an object back to its cache", &CacheFree::cache, &CacheFree::in) };
struct PoolCreateSlab { Out out; Count min_nr; Of cache; bool operator==(const PoolCreateSlab&) const = default;
  MT_OP("mempool_create_slab_pool", "a pool that sets aside so many objects of a cache", &PoolCreateSlab::out, &PoolCreateSlab::min_nr, &PoolCreateSlab::cache) };
struct PoolCreateKmalloc { Out out; Count min_nr; Bytes bytes; bool operator==(const PoolCreateKmalloc&) const = default;
  MT_OP("mempool_create_kmalloc_pool", "the same of kmalloc", &PoolCreateKmalloc::out, &PoolCreateKmalloc::min_nr, &PoolCreateKmalloc::bytes) };
struct PoolCreatePages { Out out; Count min_nr; Order order; bool operator==(const PoolCreatePages&) const = default;
  MT_OP("mempool_create_page_pool", "the same of blocks of 2^order frames, which are used as objects are", &PoolCreatePages::out, &PoolCreatePages::min_nr, &PoolCreatePages::order) };
struct PoolDestroy { Of pool; bool operator==(const PoolDestroy&) const = default;
  MT_OP("mempool_destroy", "give up a pool; it stays when elements are out", &PoolDestroy::pool) };
struct PoolResize { Of pool; Count min_nr; Gfp gfp; bool operator==(const PoolResize&) const = default;
  MT_OP("mempool_resize", "set aside more or fewer from now on", &PoolResize::pool, &PoolResize::min_nr, &PoolResize::gfp) };
struct PoolAlloc { Out out; Of pool; Gfp gfp; bool operator==(const PoolAlloc&) const = default;
  MT_OP("mempool_alloc", "an element; with a flag that allows to wait it comes, sooner or later", &PoolAlloc::out, &PoolAlloc::pool, &PoolAlloc::gfp) };
struct PoolFree { In in; Of pool; bool operator==(const PoolFree&) const = default;
  MT_OP("mempool_free", "give an element back to its pool", &PoolFree::in, &PoolFree::pool) };
struct Link { In in; Of to; bool operator==(const Link&) const = default;
  MT_OP("link", "the owner stores the address of another object in the first word of its own", &Link::in, &Link::to) };

// --- context
struct PreemptDisable { bool operator==(const PreemptDisable&) const = default; MT_OP("preempt_disable", "no preemption from here") };
struct PreemptEnable { bool operator==(const PreemptEnable&) const = default; MT_OP("preempt_enable", "undo one preempt_disable") };
struct LocalIrqSave { bool operator==(const LocalIrqSave&) const = default; MT_OP("local_irq_save", "no interrupts on this CPU from here") };
struct LocalIrqRestore { bool operator==(const LocalIrqRestore&) const = default; MT_OP("local_irq_restore", "undo one local_irq_save") };
struct LocalBhDisable { bool operator==(const LocalBhDisable&) const = default; MT_OP("local_bh_disable", "no softirqs on this CPU from here") };
struct LocalBhEnable { bool operator==(const LocalBhEnable&) const = default; MT_OP("local_bh_enable", "undo one local_bh_disable") };
struct SpinLockOp { Lock lock; bool operator==(const SpinLockOp&) const = default; MT_OP("spin_lock", "take one of the program's spinlocks", &SpinLockOp::lock) };
struct SpinUnlockOp { Lock lock; bool operator==(const SpinUnlockOp&) const = default; MT_OP("spin_unlock", "release it", &SpinUnlockOp::lock) };
struct SpinLockIrqsave { Lock lock; bool operator==(const SpinLockIrqsave&) const = default; MT_OP("spin_lock_irqsave", "the same with interrupts off meanwhile", &SpinLockIrqsave::lock) };
struct SpinUnlockIrqrestore { Lock lock; bool operator==(const SpinUnlockIrqrestore&) const = default; MT_OP("spin_unlock_irqrestore", "undo one spin_lock_irqsave", &SpinUnlockIrqrestore::lock) };
struct SpinLockBh { Lock lock; bool operator==(const SpinLockBh&) const = default; MT_OP("spin_lock_bh", "the same with softirqs off meanwhile", &SpinLockBh::lock) };
struct SpinUnlockBh { Lock lock; bool operator==(const SpinUnlockBh&) const = default; MT_OP("spin_unlock_bh", "undo one spin_lock_bh", &SpinUnlockBh::lock) };
struct SpinTrylock { Lock lock; bool operator==(const SpinTrylock&) const = default; MT_OP("spin_trylock", "take it if nobody has it; spin_unlock releases it", &SpinTrylock::lock) };
struct MutexLockOp { Lock lock; bool operator==(const MutexLockOp&) const = default; MT_OP("mutex_lock", "take one of the program's mutexes", &MutexLockOp::lock) };
struct MutexUnlockOp { Lock lock; bool operator==(const MutexUnlockOp&) const = default; MT_OP("mutex_unlock", "release it", &MutexUnlockOp::lock) };
struct MutexTrylock { Lock lock; bool operator==(const MutexTrylock&) const = default; MT_OP("mutex_trylock", "take it if nobody has it; mutex_unlock releases it", &MutexTrylock::lock) };
struct SpinUnlockUnheld { Lock lock; bool operator==(const SpinUnlockUnheld&) const = default; MT_OP("spin_unlock_unheld", "release a spinlock that this program does not have (a crime)", &SpinUnlockUnheld::lock) };
struct MutexUnlockUnheld { Lock lock; bool operator==(const MutexUnlockUnheld&) const = default; MT_OP("mutex_unlock_unheld", "the same for a mutex", &MutexUnlockUnheld::lock) };
struct RcuReadLock { bool operator==(const RcuReadLock&) const = default; MT_OP("rcu_read_lock", "a read-side section begins") };
struct RcuReadUnlock { bool operator==(const RcuReadUnlock&) const = default; MT_OP("rcu_read_unlock", "undo one rcu_read_lock") };
struct RegisterShrinker { Lock lock; bool operator==(const RegisterShrinker&) const = default; MT_OP("register_shrinker", "a filesystem's shrinker that takes a mutex, unless the request forbids filesystems", &RegisterShrinker::lock) };
struct UnregisterShrinker { Lock lock; bool operator==(const UnregisterShrinker&) const = default; MT_OP("unregister_shrinker", "it is not called any more", &UnregisterShrinker::lock) };
struct DoExit { bool operator==(const DoExit&) const = default; MT_OP("do_exit", "the program ends here, and what it has open stays open (a crime if anything is)") };
struct IrqExit { bool operator==(const IrqExit&) const = default; MT_OP("irq_exit", "the handler ends here, and what it has open is undone; the rest is for the next interrupt") };
struct WaitEvent { Lock queue; bool operator==(const WaitEvent&) const = default; MT_OP("wait_event", "sleep until woken", &WaitEvent::queue) };
struct WakeUp { Lock queue; bool operator==(const WakeUp&) const = default; MT_OP("wake_up", "wake every sleeper", &WakeUp::queue) };
struct SmpProcessorId { bool operator==(const SmpProcessorId&) const = default; MT_OP("smp_processor_id", "ask for the CPU number") };
struct MightSleep { bool operator==(const MightSleep&) const = default; MT_OP("might_sleep", "claim to be allowed to sleep") };
struct Schedule { bool operator==(const Schedule&) const = default; MT_OP("schedule", "give way to others") };
struct CondResched { bool operator==(const CondResched&) const = default; MT_OP("cond_resched", "give way if anybody wants the CPU") };
struct Msleep { Count jiffies; bool operator==(const Msleep&) const = default; MT_OP("msleep", "sleep for jiffies", &Msleep::jiffies) };
struct NoioSave { bool operator==(const NoioSave&) const = default; MT_OP("memalloc_noio_save", "allocations of this task start no I/O") };
struct NoioRestore { bool operator==(const NoioRestore&) const = default; MT_OP("memalloc_noio_restore", "undo it") };
struct NofsSave { bool operator==(const NofsSave&) const = default; MT_OP("memalloc_nofs_save", "allocations of this task call no filesystem") };
struct NofsRestore { bool operator==(const NofsRestore&) const = default; MT_OP("memalloc_nofs_restore", "undo it") };
struct NoreclaimSave { bool operator==(const NoreclaimSave&) const = default; MT_OP("memalloc_noreclaim_save", "this task becomes PF_MEMALLOC") };
struct NoreclaimRestore { bool operator==(const NoreclaimRestore&) const = default; MT_OP("memalloc_noreclaim_restore", "undo it") };
struct SetMemsAllowed { Nodes nodes; bool operator==(const SetMemsAllowed&) const = default; MT_OP("set_mems_allowed", "from here on this task's cpuset has these nodes only; refused if there is none of them", &SetMemsAllowed::nodes) };

// --- CPUs that go and come (refused: CPU 0, a CPU that there is not, one that has gone or is there)
struct CpuDown { CpuNumber cpu; bool operator==(const CpuDown&) const = default; MT_OP("cpu_down", "a CPU goes offline: what runs there goes on elsewhere, and nothing is kept there", &CpuDown::cpu) };
struct CpuUp { CpuNumber cpu; bool operator==(const CpuUp&) const = default; MT_OP("cpu_up", "it is there again", &CpuUp::cpu) };

// --- kernel stacks: on a machine that has them; frames are the running program's own
struct ForkTask { Out out; bool operator==(const ForkTask&) const = default;
  MT_OP("fork", "a further task, which has a stack and never runs: the slot gets it, or stays as it was when refused", &ForkTask::out) };
struct ExitTask { Of task; bool operator==(const ExitTask&) const = default;
  MT_OP("exit", "that task is gone, and gives up its stack", &ExitTask::task) };
struct PushFrame { Bytes bytes; bool operator==(const PushFrame&) const = default;
  MT_OP("push", "call a function whose frame has so many bytes, 64K at most", &PushFrame::bytes) };
struct PopFrame { bool operator==(const PopFrame&) const = default;
  MT_OP("pop", "return from it") };
struct AllocaBytes { Bytes bytes; bool operator==(const AllocaBytes&) const = default;
  MT_OP("alloca", "an array of so many bytes in the last frame, 64K at most; only its far end is written", &AllocaBytes::bytes) };
struct Recurse { Count depth; Bytes bytes; bool operator==(const Recurse&) const = default;
  MT_OP("recurse", "so many calls, one in the other, 256 at most, with frames of so many bytes; and their returns", &Recurse::depth, &Recurse::bytes) };
struct StackNotUsed { bool operator==(const StackNotUsed&) const = default;
  MT_OP("stack_not_used", "read how many bytes of the stack that it is on were never written") };
// --- per-CPU memory: on a machine that has it; of an area the first 8, 4, 2 or 1 bytes are a counter on every CPU
struct PerCpuVar { Out out; Count index; bool operator==(const PerCpuVar&) const = default;
  MT_OP("per_cpu_var", "one of the kernel's own per-CPU variables", &PerCpuVar::out, &PerCpuVar::index) };
struct AllocPercpu { Out out; Bytes bytes; Align align; bool operator==(const AllocPercpu&) const = default;
  MT_OP("alloc_percpu", "an area with a copy for each CPU, all zeroed", &AllocPercpu::out, &AllocPercpu::bytes, &AllocPercpu::align) };
struct AllocPercpuGfp { Out out; Bytes bytes; Align align; Gfp gfp; bool operator==(const AllocPercpuGfp&) const = default;
  MT_OP("__alloc_percpu_gfp", "the same; without the right to wait only from what is populated", &AllocPercpuGfp::out, &AllocPercpuGfp::bytes, &AllocPercpuGfp::align, &AllocPercpuGfp::gfp) };
struct AllocPercpuReserved { Out out; Bytes bytes; Align align; bool operator==(const AllocPercpuReserved&) const = default;
  MT_OP("__alloc_reserved_percpu", "the same for a variable of a module: from the reserved area", &AllocPercpuReserved::out, &AllocPercpuReserved::bytes, &AllocPercpuReserved::align) };
struct FreePercpu { In in; bool operator==(const FreePercpu&) const = default;
  MT_OP("free_percpu", "give up all copies of an area", &FreePercpu::in) };
struct FreePercpuNull { bool operator==(const FreePercpuNull&) const = default;
  MT_OP("free_percpu_null", "free_percpu(NULL): nothing happens") };
struct GetCpu { Out out; bool operator==(const GetCpu&) const = default;
  MT_OP("get_cpu", "no preemption from here; the slot gets the CPU's number", &GetCpu::out) };
struct PutCpu { bool operator==(const PutCpu&) const = default; MT_OP("put_cpu", "undo one get_cpu") };
struct GetCpuPtr { Out out; Of of; bool operator==(const GetCpuPtr&) const = default;
  MT_OP("get_cpu_ptr", "no preemption from here; the slot gets a pointer to this CPU's copy", &GetCpuPtr::out, &GetCpuPtr::of) };
struct PutCpuPtr { Of of; bool operator==(const PutCpuPtr&) const = default;
  MT_OP("put_cpu_ptr", "undo one get_cpu_ptr", &PutCpuPtr::of) };
struct ThisCpuPtr { Out out; Of of; bool operator==(const ThisCpuPtr&) const = default;
  MT_OP("this_cpu_ptr", "a pointer to this CPU's copy, for who may not be moved", &ThisCpuPtr::out, &ThisCpuPtr::of) };
struct PerCpuPtr { Out out; Of of; CpuNumber cpu; bool operator==(const PerCpuPtr&) const = default;
  MT_OP("per_cpu_ptr", "a pointer to the copy of any CPU", &PerCpuPtr::out, &PerCpuPtr::of, &PerCpuPtr::cpu) };
struct PtrAdd { In in; Count value; bool operator==(const PtrAdd&) const = default;
  MT_OP("ptr_add", "load through such a pointer, add, store", &PtrAdd::in, &PtrAdd::value) };
struct PerCpuAdd { Of of; In cpu; Count value; bool operator==(const PerCpuAdd&) const = default;
  MT_OP("per_cpu_add", "the same to the copy of the CPU whose number is in a slot: a[cpu] += value", &PerCpuAdd::of, &PerCpuAdd::cpu, &PerCpuAdd::value) };
struct ThisCpuAdd { Of of; Count value; bool operator==(const ThisCpuAdd&) const = default;
  MT_OP("this_cpu_add", "add to this CPU's copy, and nobody comes in between", &ThisCpuAdd::of, &ThisCpuAdd::value) };
struct RawCpuAdd { Of of; Count value; bool operator==(const RawCpuAdd&) const = default;
  MT_OP("__this_cpu_add", "load from this CPU's copy, add, store", &RawCpuAdd::of, &RawCpuAdd::value) };
struct PerCpuSum { Of of; bool operator==(const PerCpuSum&) const = default;
  MT_OP("per_cpu_sum", "read all copies: the total", &PerCpuSum::of) };

// --- misuse that has no kernel function of its own
struct BlemishPage { In in; Flaw flaw; bool operator==(const BlemishPage&) const = default;
  MT_OP("blemish", "the owner leaves a flag or field set in the page descriptor", &BlemishPage::in, &BlemishPage::flaw) };
struct Forget { In in; bool operator==(const Forget&) const = default;
  MT_OP("forget", "the owner loses its block: a leak", &Forget::in) };
#undef MT_OP
// clang-format on

using Op = std::variant<
    AllocPages, AllocPage, AllocPagesNode, GetFreePages, GetFreePage, GetZeroedPage, GetDmaPages, AllocPagesExact,
    WildPage, FreePagesOf, FreePageOf, FreePages, FreePage, FreePagesExact, FreeNull, GetPage, PutPage, SplitPage,
    PageCount, PageAddress, Fill, CheckContents, Peek, Poke, DrainLocalPages, DrainAllPages, NrFreePages,
    SetMinFreeKbytes, ClientAdd, ClientDrop, ClientTouch, SetProcess, Kmalloc, Kzalloc, KmallocNode, Kcalloc, Krealloc,
    Ksize, Kfree, Kzfree, KfreeS, KfreeNull, CacheCreate, CacheDestroy, CacheShrink, CacheSize, CacheAlloc,
    CacheAllocNode, CacheZalloc, CacheFree, PoolCreateSlab, PoolCreateKmalloc, PoolCreatePages, PoolDestroy, PoolResize,
    PoolAlloc, PoolFree, Link, PreemptDisable, PreemptEnable, LocalIrqSave, LocalIrqRestore, LocalBhDisable,
    LocalBhEnable, SpinLockOp, SpinUnlockOp, SpinLockIrqsave, SpinUnlockIrqrestore, SpinLockBh, SpinUnlockBh,
    SpinTrylock, MutexLockOp, MutexUnlockOp, MutexTrylock, SpinUnlockUnheld, MutexUnlockUnheld, RcuReadLock,
    RcuReadUnlock, RegisterShrinker, UnregisterShrinker, DoExit, IrqExit, WaitEvent, WakeUp, SmpProcessorId, MightSleep,
    Schedule, CondResched, Msleep, NoioSave, NoioRestore, NofsSave, NofsRestore, NoreclaimSave, NoreclaimRestore,
    SetMemsAllowed, CpuDown, CpuUp, ForkTask, ExitTask, PushFrame, PopFrame, AllocaBytes, Recurse, StackNotUsed,
    PerCpuVar, AllocPercpu, AllocPercpuGfp, AllocPercpuReserved, FreePercpu, FreePercpuNull, GetCpu, PutCpu, GetCpuPtr,
    PutCpuPtr, ThisCpuPtr, PerCpuPtr, PtrAdd, PerCpuAdd, ThisCpuAdd, RawCpuAdd, PerCpuSum, BlemishPage, Forget>;
inline constexpr std::size_t op_kinds = std::variant_size_v<Op>;

// Calls f.template operator()<OpType>() for each operation type, in the variant's order.
template <class F>
constexpr void for_each_op_type(F&& f) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (f.template operator()<std::variant_alternative_t<I, Op>>(), ...);
  }(std::make_index_sequence<op_kinds>{});
}

std::string_view name_of(const Op& op);

}  // namespace memtorture::program
