// What the subject says about itself and its caller: structured first, kernel wording only when printed.
//
// A report is the simulated printk of the debug code. The oracle decides whether it was due; format() gives the text of
// domain.md's header catalogue (20.7) for people. The names in report_table are the identity in histories.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "allocator/machine/types.h"

namespace memtorture::machine {

enum class ReportKind : std::uint8_t {
  bad_page,            // pfn; why: BadPageReason
  allocation_failure,  // order, gfp: "page allocation failure"
  order_too_big,       // order, gfp: WARN of domain.md 4.5
  highmem_address,     // gfp: HIGHMEM given to an address-returning function, masked (7.2)
  zone_bits,           // gfp: illegal zone modifier combination (3.4)
  mobility_bits,       // gfp: MOVABLE and RECLAIMABLE together (7.6)
  nofail_atomic,       // gfp: NOFAIL without the right to sleep (7.6)
  nmi_entry,           // an allocator function was entered from NMI (P-CTX-6)
  sleeping,            // might_sleep in atomic context (1.7)
  scheduling,          // schedule() while atomic
  processor_id,        // smp_processor_id() while preemptible
  preempt_underflow,   // preempt_enable without preempt_disable
  lock_recursion,      // the owner takes its spinlock or mutex again
  lock_unowned,        // unlock by somebody else, or of a free lock
  bh_enable,           // softirqs are enabled where interrupts are off (1.5)
  exit_atomic,         // a strand ends with another preempt_count, or interrupt flag, than it began with
  exit_locked,         // ... with a lock in hand
  poison,              // pfn: a free page was written to (20.4)
  oom_kill,            // the OOM killer chose a victim
  split_misuse,        // pfn: split_page of a compound or free page
  bad_address,         // free_pages of an address outside the linear map
  compound_exact,      // gfp: COMP given to alloc_pages_exact, masked (4.6)
  bad_pool,            // no such memory pool, or one that cannot be made or resized so (12.1)
  pool_busy,           // mempool_destroy: elements are out (12.1)
  k12_too_large,       // kmalloc of the 1990s and those below: 11.5
  k12_no_page,         // no area; at most once in 10 seconds
  k12_nonatomic,       // gfp: a blocking request in an interrupt; the first 4
  k12_bad_free,        // pfn: no block in use lies there
  k12_wrong_size,      // pfn: kfree_s with another size than was asked for
  k12_freelist,        // pfn: the first free block of an area is not free
  duplicate_cache,     // kmem_cache_create: the name is taken (10.2)
  cache_busy,          // kmem_cache_destroy: objects live (10.9)
  bad_cache,           // no such cache, or a cache that cannot be made: arguments, context or size (10.2)
  slab_gfp,            // gfp: HIGHMEM, DMA32 or unknown bits, or GFP_DMA and the cache disagree; fixed up (10.9)
  bad_object,          // pfn: what is given back, or asked about, is no object of a slab (10.9, 11.7)
  percpu_illegal,      // size or alignment that no per-CPU area has (16.4); address: bytes
  percpu_failed,       // "PERCPU: allocation failed"; address: bytes, order: PercpuFailure. At most 10 times, then
  percpu_limit,        // ... once this
  percpu_bad_free,     // free_percpu of what is no area; address
  // All below: address, object (object_details.h). Which check sees what: allocator/debug/README.md.
  object_double_free,   // what is given back is free already
  object_invalid_free,  // what is given back, or asked about, lies in a slab and is no object's start
  object_wrong_cache,   // kmem_cache_free to a cache that the object is not of
  object_redzone,       // a word beside an object was overwritten: found when it is given back
  object_poison,        // a free object was written to: found when it is handed out, or its slab given back
  out_of_bounds,        // a checked access touches what is beside an object (20.1)
  use_after_free,       // ... a freed object or a free page
  wild_access,          // ... an address outside of RAM
  object_leak,          // the leak scan found a live object that nothing refers to (20.6)
  slab_corrupt,         // pfn: chain, counts and records of a slab disagree
  // Kernel stacks (17.2).
  low_stack,  // address: at an interrupt the stack that it found has less than an eighth left
  bad_stack,  // pfn: the task that is to go has no stack, or none any more
};

enum class Severity : std::uint8_t { note, warning, bug };

struct ReportRow {
  std::string_view name;
  Severity severity;
  std::string_view header;  // first words of the kernel's line
};

inline constexpr ReportRow report_table[] = {
    {"bad-page", Severity::bug, "BUG: Bad page state in process "},
    {"allocation-failure", Severity::warning, "page allocation failure"},
    {"order-too-big", Severity::warning, "WARNING: at mm/page_alloc: order too big"},
    {"highmem-address", Severity::warning, "WARNING: HIGHMEM given to address-returning call"},
    {"zone-bits", Severity::warning, "WARNING: illegal zone modifiers in gfp mask"},
    {"mobility-bits", Severity::warning, "WARNING: MOVABLE and RECLAIMABLE together"},
    {"nofail-atomic", Severity::warning, "WARNING: NOFAIL request that may not sleep"},
    {"nmi-entry", Severity::bug, "BUG: allocator entered from NMI"},
    {"sleeping", Severity::bug, "BUG: sleeping function called from invalid context at"},
    {"scheduling", Severity::bug, "BUG: scheduling while atomic:"},
    {"processor-id", Severity::bug, "BUG: using smp_processor_id() in preemptible ["},
    {"preempt-underflow", Severity::bug, "WARNING: preempt_count underflow"},
    {"lock-recursion", Severity::bug, "BUG: spinlock recursion on CPU#"},
    {"lock-unowned", Severity::bug, "BUG: spinlock already unlocked on CPU#"},
    {"bh-enable", Severity::bug, "WARNING: at kernel/softirq: local_bh_enable with interrupts off"},
    {"exit-atomic", Severity::bug, "huh, entered with another preempt_count than exited with: "},
    {"exit-locked", Severity::bug, "BUG: lock held at task exit time! "},
    {"poison", Severity::bug, "pagealloc: memory corruption"},
    {"oom-kill", Severity::note, " invoked oom-killer: gfp_mask="},
    {"split-misuse", Severity::bug, "kernel BUG at mm/page_alloc: split_page"},
    {"bad-address", Severity::bug, "kernel BUG at mm/page_alloc: free_pages of a non-linear address"},
    {"compound-exact", Severity::warning, "WARNING: COMP given to alloc_pages_exact"},
    {"bad-pool", Severity::bug, "kernel BUG at mm/mempool: no such pool, or one that cannot be"},
    {"pool-busy", Severity::bug, "kernel BUG at mm/mempool: mempool_destroy with elements outside"},
    {"k12-too-large", Severity::warning, "kmalloc of too large a block"},
    {"k12-no-page", Severity::warning, "Couldn't get a free page....."},
    {"k12-nonatomic", Severity::bug, "kmalloc called nonatomically from interrupt "},
    {"k12-bad-free", Severity::bug, "kfree of non-kmalloced memory: "},
    {"k12-wrong-size", Severity::bug, "Trying to free pointer at "},
    {"k12-freelist", Severity::bug, "Problem: block on freelist at "},
    {"duplicate-cache", Severity::bug, "kmem_cache_create: duplicate cache "},
    {"cache-busy", Severity::bug, "slab error in kmem_cache_destroy(): Can't free all objects"},
    {"bad-cache", Severity::bug, "kernel BUG at mm/slab: kmem_cache_create or a cache that is none"},
    {"slab-gfp", Severity::bug, "Unexpected gfp: "},
    {"bad-object", Severity::bug, "kfree_debugcheck: out of range ptr "},
    {"percpu-illegal", Severity::warning, "WARNING: at mm/percpu: illegal size or align for percpu allocation"},
    {"percpu-failed", Severity::warning, "PERCPU: allocation failed, size="},
    {"percpu-limit", Severity::note, "PERCPU: limit reached, disable warning"},
    {"percpu-bad-free", Severity::bug, "kernel BUG at mm/percpu: free_percpu of what is no area"},
    {"object-double-free", Severity::bug, "slab: double free detected in cache "},
    {"object-invalid-free", Severity::bug, "BUG: KASAN: invalid-free in "},
    {"object-wrong-cache", Severity::bug, "slab error in cache_free_debugcheck(): Wrong slab cache. "},
    {"object-redzone", Severity::bug, "slab error in verify_redzone_free(): memory outside object was overwritten"},
    {"object-poison", Severity::bug, "Slab corruption: "},
    {"out-of-bounds", Severity::bug, "BUG: KASAN: slab-out-of-bounds in "},
    {"use-after-free", Severity::bug, "BUG: KASAN: use-after-free in "},
    {"wild-access", Severity::bug, "BUG: KASAN: wild-memory-access in "},
    {"object-leak", Severity::bug, "unreferenced object 0x"},
    {"slab-corrupt", Severity::bug, "slab error in check_slabp(): internal list corruption"},
    {"low-stack", Severity::warning, "low stack detected by irq handler"},
    {"bad-stack", Severity::bug, "kernel BUG at kernel/fork: no such task, or one that is gone"},
};
inline constexpr unsigned report_kinds = std::size(report_table);
static_assert(report_kinds == static_cast<unsigned>(ReportKind::bad_stack) + 1);
constexpr const ReportRow& row(ReportKind kind) { return report_table[static_cast<unsigned>(kind)]; }

enum class BadPageReason : std::uint8_t { none, refcount, mapcount, mapping, flags, compound, reserved };
inline constexpr std::string_view bad_page_reasons[] = {"",
                                                        "nonzero _refcount",
                                                        "nonzero mapcount",
                                                        "non-NULL mapping",
                                                        "PAGE_FLAGS_CHECK_AT_FREE flag(s) set",
                                                        "compound_head not consistent",
                                                        "reserved page freed"};

// Why an allocation of per-CPU memory failed.
enum class PercpuFailure : std::uint8_t { reserved, map, chunk, populate };
inline constexpr std::string_view percpu_failures[] = {"alloc from reserved chunk failed", "failed to extend area map",
                                                       "failed to allocate new chunk", "failed to populate"};

// BUG() and friends: the run of the whole machine ends (domain.md 0.2 PANIC).
// stack_end: the word above thread_info is gone. stack_overrun: it is not, but frames went past it.
enum class PanicKind : std::uint8_t { none, out_of_memory, cache_create, stack_end, stack_overrun };
inline constexpr std::string_view panic_texts[] = {
    "", "Out of memory and no killable processes...", "kmem_cache_create(): failed to create slab",
    "corrupted stack end detected inside scheduler", "Thread overran stack, or stack corrupted"};

struct ObjectDetails;  // object_details.h

struct Report {
  ReportKind kind;
  BadPageReason why = BadPageReason::none;
  std::uint8_t order = 0;
  Pfn pfn = no_pfn;
  std::uint32_t gfp = 0;
  std::uint64_t address = 0;              // simulated: what was given back, touched or found overwritten
  const ObjectDetails* object = nullptr;  // valid during the call
};

}  // namespace memtorture::machine
