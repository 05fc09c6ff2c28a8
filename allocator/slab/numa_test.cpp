// Nodes: whose memory an object comes from, and the way back of an object of another node (domain.md 10.5).
#include <gtest/gtest.h>

#include "allocator/kernel/objects_rig.h"

namespace memtorture::kernel {
namespace {

using machine::ReportKind;
using machine::Shape;
using namespace subject;  // GFP names

// Two nodes of 4 MiB, CPU 0 on node 0, CPU 1 on node 1.
class TwoNodes : public ObjectsRig {
 public:
  TwoNodes() : ObjectsRig(shape()) {
    alone([&] { cache = kernel.kmem_cache_create({.name = "two", .size = 64}); });
  }
  static Shape shape() {
    Shape shape = machine::shape_named("tiny-64").value();
    shape.cpus = shape.nodes = 2;
    return shape;
  }
  std::vector<std::uint64_t> take_many(unsigned n, int nid = -1) {
    std::vector<std::uint64_t> objects;
    for (unsigned i = 0; i != n; ++i) objects.push_back(kernel.kmem_cache_alloc_node(cache, GFP_KERNEL, nid));
    return objects;
  }
  unsigned node_of(std::uint64_t object) { return kernel.allocator().zone_of(ram().pfn_of(object)).node; }
  void on_cpu(unsigned cpu) { machine::current().cpu = static_cast<std::uint8_t>(cpu); }

  CacheHandle cache = no_cache;
};

TEST(Nodes, ObjectsComeFromTheNodeOfTheCpuOrTheOneAskedFor) {
  TwoNodes rig;
  rig.alone([&] {
    for (const unsigned cpu : {0u, 1u}) {
      rig.on_cpu(cpu);
      for (const std::uint64_t object : rig.take_many(100)) EXPECT_EQ(rig.node_of(object), cpu);
      for (const int nid : {0, 1}) {
        for (const std::uint64_t object : rig.take_many(100, nid))
          EXPECT_EQ(rig.node_of(object), static_cast<unsigned>(nid));
      }
      EXPECT_NE(rig.kernel.kmem_cache_alloc_node(rig.cache, GFP_KERNEL, 3), 0u) << "no such node: any will do";
      EXPECT_EQ(rig.kernel.kmem_cache_alloc_node(rig.cache, GFP_KERNEL | gfp_thisnode, 3), 0u);
      EXPECT_EQ(rig.node_of(rig.kernel.kmalloc_node(500, GFP_KERNEL, 1)), 1u);
    }
    rig.on_cpu(0);
    rig.check();
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(Nodes, ARemoteFreeGoesThroughAnAlienArray) {  // P-SLAB-15
  TwoNodes rig;
  rig.alone([&] {
    auto& k = rig.kernel;
    const auto objects = rig.take_many(40);
    rig.on_cpu(1);
    for (unsigned i = 0; i != 12; ++i) k.kmem_cache_free(rig.cache, objects[i]);
    EXPECT_EQ(k.alien_array(rig.cache, 1, 0).avail, 12u);
    EXPECT_EQ(k.alien_array(rig.cache, 1, 0).limit, 12u);
    EXPECT_EQ(k.cpu_array(rig.cache, 1).avail, 0u);
    rig.check();
    k.kmem_cache_free(rig.cache, objects[12]);
    EXPECT_EQ(k.alien_array(rig.cache, 1, 0).avail, 1u) << "a full one is emptied first";
    EXPECT_EQ(k.shared_array(rig.cache, 0).avail, 12u) << "into the shared array of the home node";
    EXPECT_EQ(k.shared_array(rig.cache, 0).entries.back(), objects[11]);
    rig.check();
    for (unsigned i = 13; i != 40; ++i) k.kfree(objects[i]);
    rig.on_cpu(0);
    EXPECT_EQ(k.kmem_cache_destroy(rig.cache), 0);
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(Nodes, AlienObjectsGoToSlabsWhenTheSharedArrayIsFull) {
  TwoNodes rig;
  rig.alone([&] {
    auto& k = rig.kernel;
    const auto objects = rig.take_many(600);
    rig.on_cpu(1);
    for (const std::uint64_t object : objects) k.kmem_cache_free(rig.cache, object);
    EXPECT_EQ(k.shared_array(rig.cache, 0).avail, 480u);
    EXPECT_GE(k.cache_node(rig.cache, 0).free_objects, 600u - 480 - 12);
    rig.check();
    rig.on_cpu(0);
  });
}

TEST(Nodes, WhenOneIsEmptyTheOtherHelpsOut) {
  TwoNodes rig;
  rig.alone([&] {
    auto& k = rig.kernel;
    while (k.alloc_pages_node(0, GFP_ATOMIC | gfp_nowarn | gfp_thisnode, 0) != machine::no_pfn) {
    }
    const auto own = rig.take_many(1, 0);
    EXPECT_EQ(rig.node_of(own[0]), 1u);
    EXPECT_EQ(k.kmem_cache_alloc(rig.cache, GFP_NOWAIT | gfp_thisnode), 0u);
    // The local CPU asks for many: they come one by one, and none gets into the array of a CPU of node 0.
    for (const std::uint64_t object : rig.take_many(100)) EXPECT_EQ(rig.node_of(object), 1u);
    EXPECT_EQ(k.cpu_array(rig.cache, 0).avail, 0u);
    rig.check();
    EXPECT_NE(k.kmalloc(5000, GFP_KERNEL), 0u);
  });
  EXPECT_TRUE(rig.said.reports.empty());
}

TEST(Nodes, OffSlabDescriptorsFollowTheirSlab) {
  TwoNodes rig;
  rig.alone([&] {
    const std::uint64_t object = rig.kernel.kmalloc_node(2048, GFP_KERNEL, 1);
    const Pfn pfn = rig.ram().pfn_of(object);
    EXPECT_EQ(rig.node_of(object), 1u);
    EXPECT_EQ(rig.node_of(rig.kernel.slab_page(pfn).descriptor), 1u);
  });
}

}  // namespace
}  // namespace memtorture::kernel
