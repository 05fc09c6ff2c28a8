// The facet of memory pools: a stock of elements that makes a blocking request never fail (domain.md 12.1).
//
// Elements are named by their simulated linear address, pools by a handle that means nothing else. What an element is,
// the backend says; the pool hands it out and takes it back and never looks inside. An element goes back to the pool
// that it came from.
//
// Contexts: "flags" = may sleep if the flags allow blocking, else any but NMI.
#pragma once

#include <cstdint>
#include <string_view>

#include "allocator/subject/objects.h"

namespace memtorture::subject {

inline constexpr int enomem = 12;  // ENOMEM; returned negative

using PoolHandle = std::uint64_t;  // 0: no pool
inline constexpr PoolHandle no_pool = 0;

enum class PoolKind : std::uint8_t { slab, kmalloc, pages };
inline constexpr std::string_view pool_kind_names[] = {"slab", "kmalloc", "pages"};

// Where elements come from: the kernel's three ready-made pairs of functions.
struct PoolBackend {
  PoolKind kind = PoolKind::kmalloc;
  std::uint64_t what = 0;  // slab: the cache's handle; kmalloc: bytes, not 0; pages: the order of a block
};
constexpr PoolBackend slab_backend(CacheHandle cache) { return {PoolKind::slab, cache}; }
constexpr PoolBackend kmalloc_backend(std::uint64_t bytes) { return {PoolKind::kmalloc, bytes}; }
constexpr PoolBackend page_backend(unsigned order) { return {PoolKind::pages, order}; }

struct PoolSpec {
  int min_nr = 0;  // elements that are set aside; 0: a pool that guarantees nothing
  PoolBackend backend = {};
};

class Mempools {
 public:
  virtual ~Mempools() = default;
  // no_pool: refused, and nothing is kept. Sleepable process context, like resize and destroy.
  virtual PoolHandle mempool_create(const PoolSpec& spec) = 0;
  // 0: refused; with a blocking flag in sleepable context never. Context: flags. An element that was in the pool is
  // not cleared: __GFP_ZERO promises nothing.
  virtual std::uint64_t mempool_alloc(PoolHandle pool, gfp_t gfp) = 0;
  virtual void mempool_free(std::uint64_t element, PoolHandle pool) = 0;  // any context but NMI; element 0: no-op
  // 0, also when the pool could not be filled up; -enomem: nothing changed; -einval: no such pool, or new_min_nr < 1.
  virtual int mempool_resize(PoolHandle pool, int new_min_nr, gfp_t gfp) = 0;
  virtual int mempool_destroy(PoolHandle pool) = 0;  // 0; -ebusy: elements are out and the pool lives on; -einval
};

// --- white box ------------------------------------------------------------------------------------------------------

struct PoolInfo {
  std::uint32_t min_nr;
  std::uint32_t curr_nr;   // elements set aside
  std::uint32_t capacity;  // places for them
  std::uint32_t out;       // elements in the hands of callers
  std::uint32_t waiters;
  PoolBackend backend;
};

// Quiescent use only; callbacks must not call the subject.
class MempoolsView {
 public:
  virtual ~MempoolsView() = default;
  virtual PoolInfo pool_info(PoolHandle pool) = 0;  // of a pool that lives
  using EachElement = void (*)(void* arg, std::uint64_t element);
  virtual void for_each_element(PoolHandle pool, EachElement f,
                                void* arg) = 0;  // set aside; handed out next comes last
};

}  // namespace memtorture::subject
