// The executor: does what the operations of a case say, on the facets of a subject, and puts on the tape what happened.
//
// It keeps what a caller would keep: handles (slots), what it wrote, and its own nesting of locks and scopes. It judges
// nothing. By rule (model/program/ops.h) an operation on a slot that was never filled, or an undo with nothing to undo,
// is skipped, and what a program left locked, masked or scoped is undone at its end; so every subsequence of a program
// is one.
//
// Contents: a granted block gets a stamp at both ends (or, after `fill`, one byte everywhere); before a release that
// gives up the block the stamps are verified. Host state of a running operation lives here, not on the fiber's stack: a
// stop abandons that stack.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "allocator/machine/machine.h"
#include "allocator/subject/buckets.h"
#include "allocator/subject/cpus.h"
#include "allocator/subject/debug.h"
#include "allocator/subject/kstacks.h"
#include "allocator/subject/mempools.h"
#include "allocator/subject/objects.h"
#include "allocator/subject/pages.h"
#include "allocator/subject/percpu.h"
#include "model/program/case.h"
#include "model/run/tape.h"

namespace memtorture::run {

// What the owner of a block last wrote.
enum class Written : std::uint8_t { nothing, stamp, byte, unknown };

enum class Held : std::uint8_t { nothing, block, object, cache, pool, task, percpu, copy, cpu };

struct Holding {  // one slot
  Held what = Held::nothing;
  std::uint8_t ctor = 0;  // of a cache or pool, or that of an object: what constructed objects hold; 0: no constructor
  bool is_pages = false;  // an element of a page pool, or such a pool
  std::uint64_t address = 0;  // of an object or copy; handle of a cache, pool or task; cookie of a per-CPU area
  std::uint32_t cpu = 0;      // a CPU's number, or whose copy it is
  machine::Pfn first = machine::no_pfn;
  std::uint32_t frames = 0;
  std::uint64_t bytes = 0;  // asked for: alloc_pages_exact, objects; of a cache or pool: what one of its objects has
  std::uint32_t references = 0;  // 0: given up; see add_references()
  std::uint8_t order = 0;
  bool compound = false;
  Written written = Written::nothing;
  std::byte byte{};
  std::uint64_t stamp = 0;
  std::uint16_t part = 0;  // `fill p+N` wrote frame N alone; 0: no part
  std::byte part_byte{};
};

// Returns how many there were. The one thing in a Holding that several CPUs may write at a time: references to one
// block are taken and dropped with no lock of the program's in between. Relaxed, so that it orders nothing (as in
// tape.h).
std::uint32_t add_references(Holding& holding, int change);

// What a context has open, innermost last.
enum class Open : std::uint8_t { preempt, rcu, irq, bh, spin, spin_irq, spin_bh, mutex, noio, nofs, noreclaim };
struct Opened {
  Open what;
  std::uint8_t lock;
  machine::IrqFlag irqs;
  std::uint32_t flags;
};
struct Nesting {
  std::array<Opened, program::nesting_max> entries;
  std::uint32_t depth = 0;
  bool full() const { return depth == entries.size(); }
};

class Executor {
 public:
  Executor(Tape& tape, oracle::Oracle& oracle);

  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  void start(const Case& the_case, const Options& options, subject::Pages& pages, subject::PagesView* view,
             machine::Machine& machine);
  // After start(); without it there are none. debug, view: null when the subject has no such thing.
  void use_objects(subject::Objects& objects, subject::ObjectDebug* debug, subject::ObjectsView* view);
  void use_buckets(subject::BucketsView& view) { buckets_view_ = &view; }  // after use_objects()
  void use_pools(subject::Mempools& pools, subject::MempoolsView* view);   // after use_objects(); view: as there
  void use_stacks(subject::Kstacks& stacks, subject::KstacksView* view);
  void use_percpu(subject::Percpu& percpu, subject::PercpuView* view);  // after use_objects(); view: as there
  void use_cpus(subject::Cpus* cpus) { cpus_ = cpus; }                  // after start(); null: they stay
  std::span<const machine::Strand> strands();                           // one a program
  machine::Strand cleaner();  // gives back everything that is still live, drains, drops the clients
  bool in_flight(ContextId who) const { return started_[who] && !left_[who]; }

  void audit();  // quiescent points only

 private:
  struct Task {
    Executor* executor;
    std::uint16_t index;
  };
  struct Constructor {
    Executor* executor;
    std::uint64_t bytes;
    std::byte byte;
  };
  static void run_program(void* task);
  static void run_cleaner(void* executor);

  void undo_all(Nesting& nesting);
  void undo(const Opened& opened);
  void audit_if_due();

  // Pieces of operations. begin() puts the call on the tape, end() the result.
  void begin();
  void end(std::uint64_t value = 0);
  void skip();
  struct Granted {
    machine::Pfn first;
    std::uint64_t address = 0;  // address forms
    std::uint32_t frames = 0;
    unsigned order = 0;
    subject::gfp_t gfp = 0;
    std::uint64_t bytes = 0;  // alloc_pages_exact
  };
  void granted(program::Out out, const Granted& block);
  Holding& refill(program::Out out, const Holding& fresh);
  void allocated(program::Out out, machine::Pfn first, unsigned order, subject::gfp_t gfp);
  void allocated_at(program::Out out, std::uint64_t address, unsigned order, subject::gfp_t gfp);
  Holding* holding(program::In in);  // null: never filled
  machine::Pfn frame_of(const Holding& holding, program::In in) const { return holding.first + in.offset; }
  bool is_high(machine::Pfn pfn) const;
  bool exists(machine::Pfn first, std::uint32_t frames) const;  // inside RAM; holes do exist for the bus
  void drop_reference(Holding& holding, program::In in);        // verifies contents if it is the last one
  template <class Release>
  void release(program::In in, Release&& call);
  template <class Release>
  void release_at(program::In in, Release&& call);
  void verify(const Holding& holding);
  void verify_part(const Holding& holding);
  void tell_contents(machine::Pfn first, std::int64_t damage);
  void stamp(Holding& holding);
  std::span<std::byte> stamp_place(const Holding& holding, bool tail);
  void orphan(machine::Pfn frame) { orphans_[machine::current().id].push_back(frame); }
  Nesting& nesting() { return nesting_[machine::current().id]; }
  void free_if_live(machine::Pfn frame);
  void close(Open what, std::uint8_t lock = 0);
  bool too_deep();  // skipped: what is opened could not be undone
  void open(Open what, std::uint8_t lock, machine::IrqFlag irqs = machine::IrqFlag::on, std::uint32_t flags = 0);
  void enter_scope(Open what, std::uint32_t flag);
  bool has_open(Open what, std::uint8_t lock);
  static void shrink(void* mutex, std::uint32_t pages_wanted, subject::gfp_t gfp);

  // Objects (executor_objects.cpp).
  Holding* object(program::In in);  // null: the slot holds none
  Holding* cache(program::Of of);
  struct Asked {
    std::uint64_t bytes;
    bool zeroed = false;
    std::uint8_t ctor = 0;
    bool is_pages = false;
  };
  void granted_object(program::Out out, std::uint64_t address, const Asked& asked);
  template <class Allocate>
  void allocate_object(program::Out out, const Asked& asked, Allocate&& allocate);
  template <class Release>
  void release_object(program::In in, Release&& call);
  void finish(Event event);
  void give_up_object(Holding& holding);
  void restore_constructed(const Holding& holding);
  bool in_memory(std::uint64_t address, std::uint64_t bytes) const;
  std::byte* byte_at(std::uint64_t address);
  subject::Ctor constructor_of(const program::CacheCreate& op);
  std::span<std::byte> bytes_at(std::uint64_t address, std::uint64_t bytes);
  void fill_object(Holding& holding, std::byte byte);
  void stamp_object(Holding& holding);
  std::int64_t damage_of(const Holding& holding, std::uint64_t address, std::uint64_t bytes);
  void verify_object(const Holding& holding);
  void tell_object_contents(std::uint64_t address, std::int64_t damage);
  void poke_object(Holding& holding, const program::Poke& op);
  void watch(std::uint64_t address, std::uint64_t bytes, subject::Access kind);
  void watch_frames(machine::Pfn first, std::uint32_t frames, subject::Access kind);
  bool watched_outside(std::uint64_t address) const;
  void scan_leaks();
  void clean_up_objects();

  // Pools (executor_pools.cpp).
  Holding* pool(program::Of of);
  void create_pool(program::Out out, program::Count min_nr, const subject::PoolBackend& backend,
                   const Holding& element);
  void clean_up_pools();

  // Kernel stacks (executor_stacks.cpp).
  void enter();
  std::uint64_t return_address() const;
  std::uint64_t bytes_not_clear(subject::TaskHandle task);
  void clean_up_stacks();
  // Per-CPU memory (executor_percpu.cpp).
  Holding* area(program::Of of);
  void granted_percpu(program::Out out, subject::PercpuPtr cookie, std::uint64_t bytes, std::uint64_t align);
  void tell_place(subject::PercpuPtr cookie, unsigned cpu, std::uint64_t bytes);
  bool is_populated(std::uint64_t address, unsigned cpu, std::uint64_t bytes);
  void tell_copies(const Holding& area);
  std::byte tail_byte(subject::PercpuPtr cookie, unsigned cpu) const;
  bool has_atomic_room(std::uint64_t bytes, std::uint64_t align);
  void give_copy(program::Out out, const Holding& area, std::uint64_t address);
  void read_modify_write(std::uint64_t address, unsigned cpu, std::uint64_t bytes, std::uint32_t value);
  void clean_up_percpu();

 public:
  // One overload an operation; called by execute() in the context of the program.
#define MT_EXECUTE(TYPE) void operator()(const program::TYPE& op)
  MT_EXECUTE(AllocPages);
  MT_EXECUTE(AllocPage);
  MT_EXECUTE(AllocPagesNode);
  MT_EXECUTE(GetFreePages);
  MT_EXECUTE(GetFreePage);
  MT_EXECUTE(GetZeroedPage);
  MT_EXECUTE(GetDmaPages);
  MT_EXECUTE(AllocPagesExact);
  MT_EXECUTE(WildPage);
  MT_EXECUTE(FreePagesOf);
  MT_EXECUTE(FreePageOf);
  MT_EXECUTE(FreePages);
  MT_EXECUTE(FreePage);
  MT_EXECUTE(FreePagesExact);
  MT_EXECUTE(FreeNull);
  MT_EXECUTE(GetPage);
  MT_EXECUTE(PutPage);
  MT_EXECUTE(SplitPage);
  MT_EXECUTE(PageCount);
  MT_EXECUTE(PageAddress);
  MT_EXECUTE(Fill);
  MT_EXECUTE(CheckContents);
  MT_EXECUTE(Peek);
  MT_EXECUTE(Poke);
  MT_EXECUTE(DrainLocalPages);
  MT_EXECUTE(DrainAllPages);
  MT_EXECUTE(NrFreePages);
  MT_EXECUTE(SetMinFreeKbytes);
  MT_EXECUTE(ClientAdd);
  MT_EXECUTE(ClientDrop);
  MT_EXECUTE(ClientTouch);
  MT_EXECUTE(SetProcess);
  MT_EXECUTE(Kmalloc);
  MT_EXECUTE(Kzalloc);
  MT_EXECUTE(KmallocNode);
  MT_EXECUTE(Kcalloc);
  MT_EXECUTE(Krealloc);
  MT_EXECUTE(Ksize);
  MT_EXECUTE(Kfree);
  MT_EXECUTE(Kzfree);
  MT_EXECUTE(KfreeS);
  MT_EXECUTE(KfreeNull);
  MT_EXECUTE(CacheCreate);
  MT_EXECUTE(CacheDestroy);
  MT_EXECUTE(CacheShrink);
  MT_EXECUTE(CacheSize);
  MT_EXECUTE(CacheAlloc);
  MT_EXECUTE(CacheAllocNode);
  MT_EXECUTE(CacheZalloc);
  MT_EXECUTE(CacheFree);
  MT_EXECUTE(PoolCreateSlab);
  MT_EXECUTE(PoolCreateKmalloc);
  MT_EXECUTE(PoolCreatePages);
  MT_EXECUTE(PoolDestroy);
  MT_EXECUTE(PoolResize);
  MT_EXECUTE(PoolAlloc);
  MT_EXECUTE(PoolFree);
  MT_EXECUTE(Link);
  MT_EXECUTE(PreemptDisable);
  MT_EXECUTE(PreemptEnable);
  MT_EXECUTE(LocalIrqSave);
  MT_EXECUTE(LocalIrqRestore);
  MT_EXECUTE(LocalBhDisable);
  MT_EXECUTE(LocalBhEnable);
  MT_EXECUTE(SpinLockOp);
  MT_EXECUTE(SpinUnlockOp);
  MT_EXECUTE(SpinLockIrqsave);
  MT_EXECUTE(SpinUnlockIrqrestore);
  MT_EXECUTE(SpinLockBh);
  MT_EXECUTE(SpinUnlockBh);
  MT_EXECUTE(SpinTrylock);
  MT_EXECUTE(MutexTrylock);
  MT_EXECUTE(SpinUnlockUnheld);
  MT_EXECUTE(MutexUnlockUnheld);
  MT_EXECUTE(RcuReadLock);
  MT_EXECUTE(RcuReadUnlock);
  MT_EXECUTE(RegisterShrinker);
  MT_EXECUTE(UnregisterShrinker);
  MT_EXECUTE(DoExit);
  MT_EXECUTE(IrqExit);
  MT_EXECUTE(MutexLockOp);
  MT_EXECUTE(MutexUnlockOp);
  MT_EXECUTE(WaitEvent);
  MT_EXECUTE(WakeUp);
  MT_EXECUTE(SmpProcessorId);
  MT_EXECUTE(MightSleep);
  MT_EXECUTE(Schedule);
  MT_EXECUTE(CondResched);
  MT_EXECUTE(Msleep);
  MT_EXECUTE(NoioSave);
  MT_EXECUTE(NoioRestore);
  MT_EXECUTE(NofsSave);
  MT_EXECUTE(NofsRestore);
  MT_EXECUTE(NoreclaimSave);
  MT_EXECUTE(NoreclaimRestore);
  MT_EXECUTE(SetMemsAllowed);
  MT_EXECUTE(CpuDown);
  MT_EXECUTE(CpuUp);
  MT_EXECUTE(ForkTask);
  MT_EXECUTE(ExitTask);
  MT_EXECUTE(PushFrame);
  MT_EXECUTE(PopFrame);
  MT_EXECUTE(AllocaBytes);
  MT_EXECUTE(Recurse);
  MT_EXECUTE(StackNotUsed);
  MT_EXECUTE(PerCpuVar);
  MT_EXECUTE(AllocPercpu);
  MT_EXECUTE(AllocPercpuGfp);
  MT_EXECUTE(AllocPercpuReserved);
  MT_EXECUTE(FreePercpu);
  MT_EXECUTE(FreePercpuNull);
  MT_EXECUTE(GetCpu);
  MT_EXECUTE(PutCpu);
  MT_EXECUTE(GetCpuPtr);
  MT_EXECUTE(PutCpuPtr);
  MT_EXECUTE(ThisCpuPtr);
  MT_EXECUTE(PerCpuPtr);
  MT_EXECUTE(PtrAdd);
  MT_EXECUTE(PerCpuAdd);
  MT_EXECUTE(ThisCpuAdd);
  MT_EXECUTE(RawCpuAdd);
  MT_EXECUTE(PerCpuSum);
  MT_EXECUTE(BlemishPage);
  MT_EXECUTE(Forget);
#undef MT_EXECUTE

 private:
  Tape& tape_;
  oracle::Oracle& oracle_;
  const Case* case_ = nullptr;
  Options options_;
  subject::Pages* pages_ = nullptr;
  subject::PagesView* view_ = nullptr;
  machine::Machine* machine_ = nullptr;
  subject::Cpus* cpus_ = nullptr;
  subject::Objects* objects_ = nullptr;
  subject::ObjectDebug* debug_ = nullptr;
  bool watches_blocks_ = false;  // accesses to blocks of pages are shown to debug_, too
  subject::ObjectsView* objects_view_ = nullptr;
  subject::BucketsView* buckets_view_ = nullptr;
  subject::Mempools* pools_ = nullptr;
  subject::MempoolsView* pools_view_ = nullptr;
  subject::Kstacks* stacks_ = nullptr;
  subject::KstacksView* stacks_view_ = nullptr;
  std::vector<std::uint32_t> frames_;  // by program: that it can return from
  subject::Percpu* percpu_ = nullptr;
  subject::PercpuView* percpu_view_ = nullptr;
  std::uint32_t client_pages_most_ = 0;  // with an OOM killer at hand a client could otherwise go on for ever
  std::vector<Holding> slots_;
  std::vector<Nesting> nesting_;  // one a program
  std::vector<Task> tasks_;
  std::vector<machine::Strand> strands_;
  std::vector<std::uint32_t> next_ops_;  // by program: a handler that comes again goes on here
  std::vector<std::uint8_t> started_, left_;
  std::vector<std::vector<machine::Pfn>> orphans_;  // by program: live blocks, or parts of blocks, that no slot names
  std::vector<std::vector<std::uint64_t>> lost_;    // by program: the same for objects
  std::vector<std::vector<std::uint64_t>> caches_;  // by program: what it created
  std::vector<std::vector<subject::PoolHandle>> pool_handles_;  // the same
  std::vector<std::vector<subject::TaskHandle>> tasks_made_;    // the same
  std::vector<std::vector<subject::PercpuPtr>> cookies_;        // the same
  std::vector<std::deque<Constructor>> constructors_;
  std::uint32_t operations_in_flight_ = 0;
  std::uint32_t operations_since_audit_ = 0;
  std::array<machine::SpinLock, program::locks_max> spinlocks_;
  std::array<machine::Mutex, program::locks_max> mutexes_;
  std::array<machine::WaitQueue, program::locks_max> queues_;
  std::array<subject::Shrinker, program::locks_max> shrinkers_;  // one a mutex
};

}  // namespace memtorture::run
