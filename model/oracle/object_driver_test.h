// For tests of objects, caches and pools: the driver with the events of an object layer, which holds one block of
// pages.
#pragma once

#include <string>
#include <string_view>

#include "model/oracle/driver_test.h"
#include "model/oracle/slab_geometry.h"

namespace memtorture::oracle::test {

using program::Of;
using subject::GFP_ATOMIC;
using subject::GFP_KERNEL;
using subject::zero_size_ptr;

inline constexpr std::uint64_t base = machine::Ram::linear_base;
inline constexpr std::uint64_t page = 4096;
inline constexpr std::uint64_t as_it_should_be = ~std::uint64_t{0};
// The frames of the block that the layer holds in every test: 1024..1031, Normal.
inline constexpr std::uint64_t slab = base + 1024 * page;
inline constexpr std::uint64_t dma_slab = base + 0 * page;

inline machine::Shape toy_with_objects() {
  machine::Shape shape = toy();
  shape.objects = machine::ObjectLayer::slab;
  return shape;
}

class Objects : public Driver {
 public:
  explicit Objects(machine::Shape shape = toy_with_objects(), std::size_t programs = 1) : Driver(shape, programs) {
    for (std::size_t i = 0; i != the_case.slot_names.size(); ++i) the_case.slot_names[i] = "s" + std::to_string(i);
    const bool buckets = shape.objects == machine::ObjectLayer::k12;  // which serve 0 bytes
    (void)call(program::Kmalloc{Out{60}, {0}, {GFP_KERNEL}});
    take(1024, 3);
    EXPECT_EQ(got(buckets ? slab + 7 * page : zero_size_ptr), Ruling::fine) << why();
  }
  void take(machine::Pfn pfn, unsigned order, std::uint32_t gfp = GFP_KERNEL) {
    Event e = event(EventKind::layer_requests);
    e.gfp = gfp;
    e.order = static_cast<std::uint8_t>(order);
    e.value = ~std::uint64_t{0};
    e.value2 = task_flags;
    EXPECT_EQ(oracle.on(e), Ruling::fine) << why();
    e = event(EventKind::layer_granted);
    e.pfn = pfn;
    e.value2 = ~std::uint64_t{0};
    EXPECT_EQ(oracle.on(e), Ruling::fine) << why();
  }
  Ruling gives_back(machine::Pfn pfn, unsigned order) {
    Event e = event(EventKind::layer_releases);
    e.pfn = pfn;
    e.order = static_cast<std::uint8_t>(order);
    return oracle.on(e);
  }
  Ruling got(std::uint64_t address, std::uint64_t wrong_at = as_it_should_be) {
    Event e = event(EventKind::result);
    e.value = address;
    e.value2 = wrong_at;
    if (address >= base) e.pfn = static_cast<machine::Pfn>((address - base) / page);
    return oracle.on(e);
  }
  Ruling contents(std::uint64_t address, std::int64_t damage) {
    Event e = event(EventKind::contents);
    e.detail = 1;
    e.value = static_cast<std::uint64_t>(damage);
    e.value2 = address;
    return oracle.on(e);
  }
  Ruling kmalloc(std::uint16_t slot, std::uint64_t bytes, std::uint64_t address, std::uint32_t gfp = GFP_KERNEL) {
    EXPECT_EQ(call(program::Kmalloc{Out{slot}, {bytes}, {gfp}}), Ruling::fine);
    return got(address);
  }
  void object(std::uint16_t slot, std::uint64_t bytes, std::uint64_t address) {
    EXPECT_EQ(kmalloc(slot, bytes, address), Ruling::fine) << why();
  }
  void cache(std::uint16_t slot, std::uint64_t bytes, std::uint64_t handle, std::uint64_t align = 0,
             std::uint32_t flags = 0, std::uint8_t ctor = 0) {
    EXPECT_EQ(call(program::CacheCreate{Out{slot}, {bytes}, {align}, {flags}, {ctor}}), Ruling::fine) << crime();
    EXPECT_EQ(returned(handle), Ruling::fine) << why();
  }
  Ruling alloc_of(std::uint16_t slot, std::uint16_t cache, std::uint64_t address,
                  std::uint64_t wrong_at = as_it_should_be) {
    EXPECT_EQ(call(program::CacheAlloc{Out{slot}, Of{cache}, {GFP_KERNEL}}), Ruling::fine);
    return got(address, wrong_at);
  }
  Ruling kfree(std::uint16_t slot, std::uint16_t offset = 0) { return call(program::Kfree{In{slot, offset}}); }
  void freed(std::uint16_t slot) {
    EXPECT_EQ(kfree(slot), Ruling::fine) << crime();
    EXPECT_EQ(returned(), Ruling::fine) << why();
  }
};

}  // namespace memtorture::oracle::test
