// The objects facet: what a subject offers whose business is objects in caches (domain.md 10) and kmalloc (domain.md
// 11).
//
// Objects are named by their simulated linear address (Ram::address_of + offset), caches by a handle that means nothing
// else. Kernel signatures otherwise. Contexts: "flags" = may sleep if the flags allow blocking, else any but NMI.
// Nothing here says how; ObjectsView shows the structures of a subject that has those of K26 (10.3).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "allocator/subject/pages.h"

namespace memtorture::subject {

// K26 values. SLAB_NOTRACK, SLAB_TRACE and SLAB_MEM_SPREAD are hints.
using slab_flags_t = std::uint32_t;
inline constexpr slab_flags_t SLAB_DEBUG_FREE = 0x100, SLAB_RED_ZONE = 0x400, SLAB_POISON = 0x800,
                              SLAB_HWCACHE_ALIGN = 0x2000, SLAB_CACHE_DMA = 0x4000, SLAB_STORE_USER = 0x10000,
                              SLAB_RECLAIM_ACCOUNT = 0x20000, SLAB_PANIC = 0x40000, SLAB_DESTROY_BY_RCU = 0x80000,
                              SLAB_MEM_SPREAD = 0x100000, SLAB_TRACE = 0x200000, SLAB_DEBUG_OBJECTS = 0x400000,
                              SLAB_NOLEAKTRACE = 0x800000, SLAB_NOTRACK = 0x1000000, SLAB_FAILSLAB = 0x2000000,
                              SLAB_KASAN = 0x8000000;

struct SlabFlagRow {
  std::string_view name;
  slab_flags_t bit;
};
inline constexpr SlabFlagRow slab_flag_table[] = {
    {"SLAB_DEBUG_FREE", SLAB_DEBUG_FREE},
    {"SLAB_RED_ZONE", SLAB_RED_ZONE},
    {"SLAB_POISON", SLAB_POISON},
    {"SLAB_HWCACHE_ALIGN", SLAB_HWCACHE_ALIGN},
    {"SLAB_CACHE_DMA", SLAB_CACHE_DMA},
    {"SLAB_STORE_USER", SLAB_STORE_USER},
    {"SLAB_RECLAIM_ACCOUNT", SLAB_RECLAIM_ACCOUNT},
    {"SLAB_PANIC", SLAB_PANIC},
    {"SLAB_DESTROY_BY_RCU", SLAB_DESTROY_BY_RCU},
    {"SLAB_MEM_SPREAD", SLAB_MEM_SPREAD},
    {"SLAB_TRACE", SLAB_TRACE},
    {"SLAB_DEBUG_OBJECTS", SLAB_DEBUG_OBJECTS},
    {"SLAB_NOLEAKTRACE", SLAB_NOLEAKTRACE},
    {"SLAB_NOTRACK", SLAB_NOTRACK},
    {"SLAB_FAILSLAB", SLAB_FAILSLAB},
    {"SLAB_KASAN", SLAB_KASAN},
};
constexpr slab_flags_t all_slab_flags() {
  slab_flags_t bits = 0;
  for (const SlabFlagRow& row : slab_flag_table) bits |= row.bit;
  return bits;
}
inline constexpr slab_flags_t slab_flags_known = all_slab_flags();

using CacheHandle = std::uint64_t;  // 0: no cache
inline constexpr CacheHandle no_cache = 0;
inline constexpr std::uint64_t zero_size_ptr = 16;       // ZERO_SIZE_PTR: what kmalloc(0) returns
inline constexpr std::size_t cache_name_bytes_max = 31;  // a longer name is refused, like none

inline constexpr int einval = 22, ebusy = 16;  // EINVAL, EBUSY; returned negative

// Called once for each object of a new slab, in the context that asked for an object, with no lock held. In a cache
// with SLAB_POISON at each allocation instead: the patterns destroy what it made (10.2).
struct Ctor {
  void (*run)(void* arg, std::uint64_t object) = nullptr;
  void* arg = nullptr;
  explicit operator bool() const { return run != nullptr; }
};

// Arguments of kmem_cache_create. align: a power of two, or 0 for the default.
struct CacheSpec {
  std::string_view name;
  std::uint64_t size = 0;
  std::uint64_t align = 0;
  slab_flags_t flags = 0;
  Ctor ctor = {};
};

class Objects {
 public:
  virtual ~Objects() = default;
  // no_cache: refused. Sleepable process context. With SLAB_PANIC a refusal ends the run.
  virtual CacheHandle kmem_cache_create(const CacheSpec& spec) = 0;
  virtual int kmem_cache_destroy(CacheHandle cache) = 0;  // 0, or -ebusy and the cache lives on; the same context
  virtual int kmem_cache_shrink(CacheHandle cache) = 0;   // 0: no slab is in use; the same context
  virtual std::uint64_t kmem_cache_size(CacheHandle cache) = 0;  // usable bytes of an object; any context
  // 0: refused. Context: flags.
  virtual std::uint64_t kmem_cache_alloc(CacheHandle cache, gfp_t gfp) = 0;
  virtual std::uint64_t kmem_cache_alloc_node(CacheHandle cache, gfp_t gfp, int nid) = 0;  // nid < 0: any node
  virtual std::uint64_t kmem_cache_zalloc(CacheHandle cache, gfp_t gfp) = 0;
  virtual void kmem_cache_free(CacheHandle cache, std::uint64_t object) = 0;  // any context but NMI

  // 0: refused; zero_size_ptr for 0 bytes (K12: an ordinary block). Context: flags.
  virtual std::uint64_t kmalloc(std::uint64_t bytes, gfp_t gfp) = 0;
  virtual std::uint64_t kzalloc(std::uint64_t bytes, gfp_t gfp) = 0;
  virtual std::uint64_t kmalloc_node(std::uint64_t bytes, gfp_t gfp, int nid) = 0;
  virtual std::uint64_t kmalloc_array(std::uint64_t n, std::uint64_t bytes,
                                      gfp_t gfp) = 0;                                  // 0 when n * bytes overflows
  virtual std::uint64_t kcalloc(std::uint64_t n, std::uint64_t bytes, gfp_t gfp) = 0;  // the same, zeroed
  virtual std::uint64_t krealloc(std::uint64_t object, std::uint64_t bytes, gfp_t gfp) = 0;
  virtual std::uint64_t ksize(std::uint64_t object) = 0;  // any context
  virtual void kfree(std::uint64_t object) = 0;           // any context but NMI; 0 and zero_size_ptr: no-op
  // K12: frees only what was asked for with that size (domain.md 11.5; bytes 0: any). Where there is no such record of
  // sizes it is kfree.
  virtual void kfree_s(std::uint64_t object, std::uint64_t bytes) = 0;
  virtual void kzfree(std::uint64_t object) = 0;  // zeroes ksize bytes first
};

// --- white box: the structures of 10.3, for audits ------------------------------------------------------------------

struct CacheInfo {
  std::string_view name;
  slab_flags_t flags;           // what is in force: debugging that does not fit the alignment is dropped (10.4)
  std::uint32_t object_size;    // usable bytes of an object
  std::uint32_t buffer_size;    // distance of two objects of a slab
  std::uint32_t object_offset;  // of the object within its buffer
  std::uint32_t align;
  std::uint32_t num;  // objects a slab
  std::uint32_t order;
  std::uint32_t management_bytes;  // descriptor and index list, with padding when they lie in the slab
  bool off_slab;
  CacheHandle management_cache;  // off-slab: where descriptors come from
  std::uint32_t colour, colour_off;
  std::uint32_t limit, batchcount, shared;  // of a CPU's array; limit of the shared array, 0: none
  std::uint8_t checks;                      // machine::SlabDebug bits in force
};

enum class SlabState : std::uint8_t { full, partial, free };
inline constexpr std::string_view slab_state_names[] = {"full", "partial", "free"};

struct SlabInfo {
  Pfn first;
  std::uint64_t descriptor;      // address of struct slab
  std::uint32_t colour_offset;   // bytes from the slab's start to its management, or to its objects when off-slab
  std::uint32_t objects_offset;  // bytes from the slab's start to the buffer of index 0
  std::uint32_t inuse;
  std::uint32_t node;
};

// A stack of free buffers; entries[avail - 1] is handed out next. limit 0: there is no such array.
struct ArrayInfo {
  std::uint32_t avail = 0, limit = 0, batchcount = 0;
  std::span<const std::uint64_t> entries;  // avail addresses
};

struct CacheNodeInfo {
  std::uint64_t free_objects;
  std::uint64_t free_limit;
  std::uint32_t colour_next;
};

enum class SlabPages : std::uint8_t { unreclaimable, reclaimable };  // NR_SLAB_UNRECLAIMABLE, NR_SLAB_RECLAIMABLE

struct SlabPageInfo {  // back pointers of a page of a slab; 0 when it is none
  CacheHandle cache;
  std::uint64_t descriptor;
};

// What the records of a checked cache say about a buffer; unknown: the address is no object of a checked cache.
enum class ObjectState : std::uint8_t { unknown, free_, live, quarantined };

// Quiescent use only; callbacks must not call the subject.
class ObjectsView {
 public:
  virtual ~ObjectsView() = default;
  using EachCache = void (*)(void* arg, CacheHandle cache);
  virtual void for_each_cache(EachCache f, void* arg) = 0;  // the cache chain, the cache of caches included
  virtual CacheInfo cache_info(CacheHandle cache) = 0;
  virtual ArrayInfo cpu_array(CacheHandle cache, unsigned cpu) = 0;
  virtual ArrayInfo shared_array(CacheHandle cache, unsigned node) = 0;
  virtual ArrayInfo alien_array(CacheHandle cache, unsigned node,
                                unsigned home) = 0;  // at `node`, of objects of `home`
  virtual CacheNodeInfo cache_node(CacheHandle cache, unsigned node) = 0;
  using EachSlab = void (*)(void* arg, const SlabInfo& slab);
  virtual void for_each_slab(CacheHandle cache, unsigned node, SlabState state, EachSlab f, void* arg) = 0;
  // The free chain of a slab by index, in its order. Ends after num + 1 steps even when the chain does not.
  using EachIndex = void (*)(void* arg, std::uint32_t index);
  virtual void for_each_free_index(CacheHandle cache, Pfn slab, EachIndex f, void* arg) = 0;
  virtual SlabPageInfo slab_page(Pfn page) = 0;
  virtual std::uint64_t slab_pages(SlabPages kind) = 0;
  virtual ObjectState object_state(std::uint64_t object) = 0;
  virtual std::uint64_t object_requested(std::uint64_t object) = 0;  // bytes last asked for; 0 when it never was
};

}  // namespace memtorture::subject
