// The white-box view of the slab layer: its structures as they are, for audits. Reads without locks: nothing may run.
#include "allocator/kernel/kernel.h"

namespace memtorture::kernel {

using slab::ArrayCache;
using slab::KmemCache;
using slab::List3;
using slab::Slab;
using subject::ArrayInfo;
using subject::SlabState;

namespace {

ArrayInfo describe(ArrayCache& array) {
  return {.avail = array.avail,
          .limit = array.limit,
          .batchcount = array.batchcount,
          .entries = {array.entry(), array.avail}};
}

}  // namespace

void Kernel::for_each_cache(EachCache f, void* arg) {
  for (CacheHandle i = slab_.chain(); i != 0; i = slab_.cache_at(i).next) f(arg, i);
}

subject::CacheInfo Kernel::cache_info(CacheHandle handle) {
  const KmemCache& cache = slab_.cache_at(handle);
  return {.name = cache.name,
          .flags = cache.flags,
          .object_size = cache.object_size,
          .buffer_size = cache.buffer_size,
          .object_offset = cache.object_offset,
          .align = cache.align,
          .num = cache.num,
          .order = cache.order,
          .management_bytes = cache.management_bytes,
          .off_slab = cache.off_slab,
          .management_cache = cache.slabp_cache,
          .colour = cache.colour,
          .colour_off = cache.colour_off,
          .limit = cache.limit,
          .batchcount = cache.batchcount,
          .shared = cache.shared,
          .checks = cache.checks};
}

ArrayInfo Kernel::cpu_array(CacheHandle handle, unsigned cpu) {
  return describe(slab_.array_at(slab_.cache_at(handle).array()[cpu]));
}

ArrayInfo Kernel::shared_array(CacheHandle handle, unsigned node) {
  const slab::Address shared = slab_.list3(slab_.cache_at(handle), node).shared;
  return shared != 0 ? describe(slab_.array_at(shared)) : ArrayInfo{};
}

ArrayInfo Kernel::alien_array(CacheHandle handle, unsigned node, unsigned home) {
  const slab::Address alien = slab_.list3(slab_.cache_at(handle), node).alien[home];
  return alien != 0 ? describe(slab_.array_at(alien)) : ArrayInfo{};
}

subject::CacheNodeInfo Kernel::cache_node(CacheHandle handle, unsigned node) {
  const List3& l3 = slab_.list3(slab_.cache_at(handle), node);
  return {.free_objects = l3.free_objects, .free_limit = l3.free_limit, .colour_next = l3.colour_next};
}

void Kernel::for_each_slab(CacheHandle handle, unsigned node, SlabState state, EachSlab f, void* arg) {
  KmemCache& cache = slab_.cache_at(handle);
  const List3& l3 = slab_.list3(cache, node);
  const slab::SlabList& list = state == SlabState::full ? l3.full : state == SlabState::partial ? l3.partial : l3.free;
  for (Pfn first = list.first; first != machine::no_pfn; first = slab_.slab_at(first).next) {
    const Slab& slab = slab_.slab_at(first);
    f(arg, {.first = slab.first,
            .descriptor = slab_page(first).descriptor,
            .colour_offset = slab.s_mem - (cache.off_slab ? 0 : cache.management_bytes),
            .objects_offset = slab.s_mem,
            .inuse = slab.inuse,
            .node = slab.nodeid});
  }
}

void Kernel::for_each_free_index(CacheHandle handle, Pfn first, EachIndex f, void* arg) {
  const KmemCache& cache = slab_.cache_at(handle);
  Slab& slab = slab_.slab_at(first);
  std::uint32_t index = slab.free;
  for (std::uint32_t steps = 0; index != slab::bufctl_end && steps <= cache.num; ++steps) {
    f(arg, index);
    if (index >= cache.num) return;
    index = slab_.bufctl(slab)[index];
  }
}

subject::SlabPageInfo Kernel::slab_page(Pfn pfn) {
  page::Page& page = pages_.map()[pfn];
  if ((page.flags() & subject::pg_slab) == 0) return {};
  return {.cache = page.slab_cache(), .descriptor = page.slab_descriptor()};
}

subject::ObjectState Kernel::object_state(std::uint64_t object) {
  using subject::ObjectState;
  debug::Record* const record = slab_.record_at(object);
  if (record == nullptr) return ObjectState::unknown;
  switch (record->state()) {
    case debug::BufferState::live: return ObjectState::live;
    case debug::BufferState::quarantined: return ObjectState::quarantined;
    case debug::BufferState::fresh:
    case debug::BufferState::freed: break;
  }
  return ObjectState::free_;
}

std::uint64_t Kernel::object_requested(std::uint64_t object) {
  const debug::Record* const record = slab_.record_at(object);
  return record != nullptr ? record->size() : 0;
}

}  // namespace memtorture::kernel
