// For tests of the object layers: a kernel with booted objects, and a checker that recomputes every invariant of
// domain.md 10.3 from the white-box view.
//
// The checker believes nothing twice: slabs are found through the lists, then their pages, chains and counts are
// compared with what lists, arrays and page counters say.
//
// Not checked: that structures of the layer itself (arrays, List3) are live objects; contents of objects.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

#include "allocator/kernel/test_rig.h"

namespace memtorture::kernel {

// A slab as the view shows it, with its free chain.
struct SeenSlab {
  subject::SlabInfo info;
  subject::SlabState state;
  std::set<std::uint32_t> free;
};

class ObjectsRig : public Rig {
 public:
  explicit ObjectsRig(const machine::Shape& shape, std::vector<fault::Rule> rules = {}) : Rig(shape, std::move(rules)) {
    EXPECT_TRUE(kernel.boot_objects());
    check();
  }
  explicit ObjectsRig(std::string_view shape) : ObjectsRig(machine::shape_named(shape).value()) {}
  ~ObjectsRig() { check(); }

  std::vector<CacheHandle> caches() {
    std::vector<CacheHandle> all;
    kernel.for_each_cache([](void* arg, CacheHandle c) { static_cast<std::vector<CacheHandle>*>(arg)->push_back(c); },
                          &all);
    return all;
  }
  CacheHandle named(std::string_view name) {
    for (const CacheHandle cache : caches()) {
      if (kernel.cache_info(cache).name == name) return cache;
    }
    return subject::no_cache;
  }

  std::vector<SeenSlab> slabs(CacheHandle cache) {
    std::vector<SeenSlab> all;
    for (unsigned node = 0; node != nodes(); ++node) {
      for (unsigned state = 0; state != std::size(subject::slab_state_names); ++state) {
        struct Visit {
          std::vector<SeenSlab>& all;
          subject::SlabState state;
          unsigned node;
        } visit{all, static_cast<subject::SlabState>(state), node};
        kernel.for_each_slab(
            cache, node, visit.state,
            [](void* arg, const subject::SlabInfo& info) {
              auto& v = *static_cast<Visit*>(arg);
              EXPECT_EQ(info.node, v.node);
              v.all.push_back({info, v.state, {}});
            },
            &visit);
      }
    }
    for (SeenSlab& slab : all) {
      kernel.for_each_free_index(
          cache, slab.info.first,
          [](void* arg, std::uint32_t index) {
            EXPECT_TRUE(static_cast<SeenSlab*>(arg)->free.insert(index).second) << "the free chain has a loop";
          },
          &slab);
    }
    return all;
  }
  unsigned count(CacheHandle cache, subject::SlabState state) {
    unsigned n = 0;
    for (const SeenSlab& slab : slabs(cache)) n += slab.state == state ? 1 : 0;
    return n;
  }

  // Buffers that are on no free chain, in no array and not in quarantine: what callers hold. Checks the whole cache on
  // the way.
  std::set<std::uint64_t> live(CacheHandle cache);
  void check();

  unsigned nodes() { return kernel.machine().shape().nodes; }
  unsigned cpus() { return kernel.machine().shape().cpus; }
  machine::Ram& ram() { return kernel.machine().ram(); }
  std::byte* bytes(std::uint64_t address) { return ram().at(address); }
  bool all_bytes(std::uint64_t address, std::uint64_t n, std::byte value) {
    return std::all_of(bytes(address), bytes(address) + n, [&](std::byte b) { return b == value; });
  }

 private:
  struct Owner {
    SeenSlab* slab;
    std::uint32_t index;
  };
  void check_slab(CacheHandle cache, const subject::CacheInfo& info, const SeenSlab& slab);
  void check_array(const subject::ArrayInfo& array, unsigned node, std::set<std::uint64_t>& held,
                   const std::map<std::uint64_t, unsigned>& in_use);
};

inline void ObjectsRig::check_slab(CacheHandle cache, const subject::CacheInfo& info, const SeenSlab& slab) {
  using subject::SlabState;
  SCOPED_TRACE(testing::Message() << "slab at frame " << slab.info.first << " of " << info.name);
  EXPECT_EQ(slab.info.inuse, info.num - slab.free.size());
  EXPECT_EQ(slab.state, slab.info.inuse == info.num ? SlabState::full
                        : slab.info.inuse == 0      ? SlabState::free
                                                    : SlabState::partial);
  EXPECT_TRUE(slab.free.empty() || *slab.free.rbegin() < info.num);
  const std::uint64_t bytes = kernel.machine().shape().page_bytes() << info.order;
  EXPECT_LE(slab.info.objects_offset + std::uint64_t{info.num} * info.buffer_size, bytes);
  EXPECT_LT(slab.info.colour_offset, std::max(1u, info.colour) * info.colour_off);
  EXPECT_EQ(slab.info.colour_offset % info.colour_off, 0u);
  EXPECT_EQ((slab.info.objects_offset + info.object_offset) % (info.object_offset != 0 ? 8 : info.align), 0u);
  const std::uint64_t base = ram().address_of(slab.info.first);
  const bool inside = slab.info.descriptor >= base && slab.info.descriptor < base + bytes;
  EXPECT_EQ(inside, !info.off_slab);
  if (!info.off_slab) EXPECT_EQ(slab.info.descriptor, base + slab.info.colour_offset);
  for (Pfn i = 0; i != Pfn{1} << info.order; ++i) {
    EXPECT_EQ(kernel.slab_page(slab.info.first + i).cache, cache);
    EXPECT_EQ(kernel.slab_page(slab.info.first + i).descriptor, slab.info.descriptor);
    EXPECT_EQ(kernel.allocator().zone_of(slab.info.first + i).node, slab.info.node);
    EXPECT_EQ(kernel.page_count(slab.info.first + i), i == 0 ? 1 : 0);
  }
}

// in_use: node of every buffer that is on no free chain.
inline void ObjectsRig::check_array(const subject::ArrayInfo& array, unsigned node, std::set<std::uint64_t>& held,
                                    const std::map<std::uint64_t, unsigned>& in_use) {
  EXPECT_LE(array.avail, array.limit);
  for (const std::uint64_t buffer : array.entries) {
    const auto found = in_use.find(buffer);
    EXPECT_TRUE(found != in_use.end()) << "an array holds what no slab has handed out";
    if (found != in_use.end()) EXPECT_EQ(found->second, node);
    EXPECT_TRUE(held.insert(buffer).second) << "a buffer is twice in the arrays";
  }
}

inline std::set<std::uint64_t> ObjectsRig::live(CacheHandle cache) {
  const subject::CacheInfo info = kernel.cache_info(cache);
  SCOPED_TRACE(info.name);
  std::map<std::uint64_t, unsigned> in_use;
  std::vector<std::uint64_t> free_objects(nodes());
  for (const SeenSlab& slab : slabs(cache)) {
    check_slab(cache, info, slab);
    free_objects[slab.info.node] += slab.free.size();
    for (std::uint32_t i = 0; i != info.num; ++i) {
      const std::uint64_t buffer =
          ram().address_of(slab.info.first) + slab.info.objects_offset + std::uint64_t{i} * info.buffer_size;
      if (!slab.free.contains(i)) in_use.emplace(buffer, slab.info.node);
    }
  }
  std::set<std::uint64_t> held;
  for (unsigned cpu = 0; cpu != cpus(); ++cpu) {
    const subject::ArrayInfo array = kernel.cpu_array(cache, cpu);
    EXPECT_EQ(array.limit, info.limit);
    EXPECT_EQ(array.batchcount, info.batchcount);
    check_array(array, cpu % nodes(), held, in_use);
  }
  for (unsigned node = 0; node != nodes(); ++node) {
    EXPECT_EQ(kernel.cache_node(cache, node).free_objects, free_objects[node]);
    EXPECT_EQ(kernel.shared_array(cache, node).limit, info.shared);
    check_array(kernel.shared_array(cache, node), node, held, in_use);
    for (unsigned home = 0; home != nodes(); ++home)
      check_array(kernel.alien_array(cache, node, home), home, held, in_use);
  }
  std::set<std::uint64_t> objects;
  for (const auto& [buffer, node] : in_use) {
    const subject::ObjectState state = kernel.object_state(buffer + info.object_offset);
    EXPECT_EQ(state == subject::ObjectState::unknown, info.checks == 0);
    if (held.contains(buffer)) {
      EXPECT_TRUE(state == subject::ObjectState::free_ || info.checks == 0) << "an array holds what is not free";
    } else if (state != subject::ObjectState::quarantined) {
      EXPECT_TRUE(state == subject::ObjectState::live || info.checks == 0) << "a free object that nobody has";
      objects.insert(buffer);
    }
  }
  return objects;
}

inline void ObjectsRig::check() {
  std::map<CacheHandle, std::set<std::uint64_t>> live_of;
  for (const CacheHandle cache : caches()) live_of[cache] = live(cache);
  std::uint64_t pages[2] = {};
  std::set<std::uint64_t> descriptors;
  for (const CacheHandle cache : caches()) {
    const subject::CacheInfo info = kernel.cache_info(cache);
    const bool reclaimable = (info.flags & subject::SLAB_RECLAIM_ACCOUNT) != 0;
    for (const SeenSlab& slab : slabs(cache)) {
      pages[reclaimable ? 1 : 0] += std::uint64_t{1} << info.order;
      if (!info.off_slab) continue;
      EXPECT_TRUE(descriptors.insert(slab.info.descriptor).second);
      const std::uint32_t offset = kernel.cache_info(info.management_cache).object_offset;
      EXPECT_TRUE(live_of[info.management_cache].contains(slab.info.descriptor - offset))
          << "a descriptor that is free";
    }
  }
  EXPECT_EQ(pages[0], kernel.slab_pages(subject::SlabPages::unreclaimable));  // P-SLAB-9
  EXPECT_EQ(pages[1], kernel.slab_pages(subject::SlabPages::reclaimable));    // P-SLAB-13
}

}  // namespace memtorture::kernel
