// For tests of what other layers show: an object layer that shows nothing.
#pragma once

#include "allocator/subject/objects.h"

namespace memtorture::oracle::test {

class NoCaches final : public subject::ObjectsView {
 public:
  void for_each_cache(EachCache, void*) override {}
  subject::CacheInfo cache_info(subject::CacheHandle) override { return {}; }
  subject::ArrayInfo cpu_array(subject::CacheHandle, unsigned) override { return {}; }
  subject::ArrayInfo shared_array(subject::CacheHandle, unsigned) override { return {}; }
  subject::ArrayInfo alien_array(subject::CacheHandle, unsigned, unsigned) override { return {}; }
  subject::CacheNodeInfo cache_node(subject::CacheHandle, unsigned) override { return {}; }
  void for_each_slab(subject::CacheHandle, unsigned, subject::SlabState, EachSlab, void*) override {}
  void for_each_free_index(subject::CacheHandle, machine::Pfn, EachIndex, void*) override {}
  subject::SlabPageInfo slab_page(machine::Pfn) override { return {}; }
  std::uint64_t slab_pages(subject::SlabPages) override { return 0; }
  subject::ObjectState object_state(std::uint64_t) override { return subject::ObjectState::unknown; }
  std::uint64_t object_requested(std::uint64_t) override { return 0; }
};

}  // namespace memtorture::oracle::test
