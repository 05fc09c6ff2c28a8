// kmalloc: the general caches, found by size, and back by the page of the object (domain.md 11).
//
// Anything that an object of a cache can be asked, an address that is none cannot: it is reported and left alone.
#include <cstring>
#include <limits>

#include "allocator/slab/slab.h"

namespace memtorture::slab {

using subject::zero_size_ptr;

namespace {

constexpr bool zero_or_null(Address object) { return object == 0 || object == zero_size_ptr; }

}  // namespace

Address SlabAllocator::kmalloc(std::uint64_t bytes, gfp_t gfp, int nid) {
  if (machine::in_nmi() || bytes - 1 >= kmalloc_max_) [[unlikely]]
    return odd_size(bytes, gfp);
  return alloc(*general_[gfp & subject::gfp_dma][size_class_of(bytes)], gfp, nid, bytes);
}
static_assert(subject::gfp_dma == 1, "index of the DMA twins");

// Nothing was asked for, or too much: no state changes, no check but for NMI (P-KMALLOC-4, P-KMALLOC-7).
Address SlabAllocator::odd_size(std::uint64_t bytes, gfp_t gfp) {
  return !reject_nmi(gfp) && bytes == 0 ? zero_size_ptr : 0;
}

Address SlabAllocator::kmalloc_array(std::uint64_t n, std::uint64_t bytes, gfp_t gfp) {
  if (bytes != 0 && n > std::numeric_limits<std::uint64_t>::max() / bytes) {
    reject_nmi(gfp);
    return 0;
  }
  return kmalloc(n * bytes, gfp);
}

// The cache of whatever lies there; null: no object of a slab can. The high half of a back pointer tells a slab from a
// page whose owner set PG_slab by mistake.
KmemCache* SlabAllocator::cache_of_object(Address object) {
  const Pfn pfn = ram().pfn_of(object);
  if (pfn == no_pfn) return nullptr;
  page::Page& page = pages_.map()[pfn];
  if ((page.flags() & subject::pg_slab) == 0 || page.mapping < machine::Ram::linear_base >> 32) [[unlikely]]
    return nullptr;
  return &cache_at(page.slab_cache());
}

bool SlabAllocator::report_nmi(gfp_t gfp) {
  machine::report({.kind = machine::ReportKind::nmi_entry, .gfp = gfp});
  return true;
}

void SlabAllocator::bad_object(Address object) {
  machine::report({.kind = machine::ReportKind::bad_object, .pfn = ram().pfn_of(object)});
}

void SlabAllocator::kfree(Address object) {
  if (zero_or_null(object)) return;
  if (reject_nmi(0)) return;
  KmemCache* const cache = cache_of_object(object);
  if (cache == nullptr) [[unlikely]]
    return bad_object(object);
  free_object(*cache, object);
}

std::uint64_t SlabAllocator::ksize(Address object) {
  if (object == zero_size_ptr || reject_nmi(0)) return 0;
  KmemCache* const cache = cache_of_object(object);
  if (cache == nullptr) {
    bad_object(object);
    return 0;
  }
  return cache->checks != 0 ? open_whole(*cache, object) : cache->object_size;
}

void SlabAllocator::kzfree(Address object) {
  if (zero_or_null(object)) return;
  if (reject_nmi(0)) return;
  KmemCache* const cache = cache_of_object(object);
  if (cache == nullptr) return bad_object(object);
  if (cache->checks != 0 && !admits(*cache, object)) return;
  std::memset(at(object), 0, cache->object_size);
  free_object(*cache, object);
}

// domain.md 11.4. On failure the old object stays as it is.
Address SlabAllocator::krealloc(Address object, std::uint64_t bytes, gfp_t gfp) {
  if (zero_or_null(object)) return kmalloc(bytes, gfp);
  if (reject_nmi(gfp)) return 0;
  KmemCache* const cache = cache_of_object(object);
  if (cache == nullptr) {
    bad_object(object);
    return 0;
  }
  if (bytes == 0) {
    free_object(*cache, object);
    return zero_size_ptr;
  }
  if (cache->checks != 0 && !admits(*cache, object)) return 0;
  if (bytes <= cache->object_size) {
    if (cache->checks != 0) resize(*cache, object, bytes);
    return object;
  }
  const Address fresh = kmalloc(bytes, gfp);
  if (fresh == 0) return 0;
  std::memcpy(at(fresh), at(object), cache->object_size);
  free_object(*cache, object);
  return fresh;
}

}  // namespace memtorture::slab
