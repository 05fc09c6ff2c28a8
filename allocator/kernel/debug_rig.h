// For tests of the checks on objects: machines with letters, and what a report must say.
#pragma once

#include <string_view>

#include "allocator/kernel/objects_rig.h"

namespace memtorture::kernel {

inline std::uint8_t letters(std::string_view text) {
  std::uint8_t bits = 0;
  for (const char letter : text) bits |= static_cast<std::uint8_t>(1u << machine::slab_debug_letters.find(letter));
  return bits;
}

// quarantine: bytes; without the letter K there is none.
inline machine::Shape checked_shape(std::string_view name, std::uint8_t checks, std::uint64_t quarantine = 0) {
  machine::Shape shape = machine::shape_named(name).value();
  shape.objects = machine::ObjectLayer::slab;
  shape.slab_debug = checks;
  if ((checks & machine::debug_shadow) != 0) shape.quarantine_bytes = quarantine;
  EXPECT_FALSE(why_impossible(shape));
  return shape;
}

class DebugRig : public ObjectsRig {
 public:
  using ObjectsRig::ObjectsRig;
  explicit DebugRig(std::uint8_t checks, std::uint64_t quarantine = 0)
      : ObjectsRig(checked_shape("toy", checks, quarantine)) {}

  // Exactly this was reported since the last time; forgets it.
  machine::ObjectDetails expect_one(machine::ReportKind kind, std::uint64_t address) {
    EXPECT_EQ(said.reports.size(), 1u);
    if (said.reports.empty()) return {};
    EXPECT_EQ(row(said.reports.front().kind).name, row(kind).name);
    EXPECT_EQ(said.reports.front().address, address);
    EXPECT_EQ(said.reports.front().pfn, ram().pfn_of(address));
    const machine::ObjectDetails details = said.details.front();
    forget();
    return details;
  }
  // Of objects whose slabs have their descriptor elsewhere: together they fill a slab to the last byte.
  std::uint64_t off_slab_size() {
    for (std::uint64_t size = 2048; size != 0; size -= 8) {
      const CacheHandle cache = kernel.kmem_cache_create({.name = "probe", .size = size});
      const bool off_slab = kernel.cache_info(cache).off_slab;
      EXPECT_EQ(kernel.kmem_cache_destroy(cache), 0);
      if (off_slab) return size;
    }
    ADD_FAILURE() << "no size is off-slab";
    return 2048;
  }
  void expect_none() {
    for (const machine::Report& report : said.reports) ADD_FAILURE() << "reported: " << row(report.kind).name;
    forget();
  }
  void forget() {
    said.reports.clear();
    said.details.clear();
  }
  std::uint64_t kmalloc(std::uint64_t size) {
    const std::uint64_t object = kernel.kmalloc(size, subject::GFP_KERNEL);
    EXPECT_NE(object, 0u);
    return object;
  }
  bool touch(std::uint64_t address, std::uint64_t n = 1, machine::Access kind = machine::Access::read) {
    return kernel.check_access(address, n, kind);
  }
};

}  // namespace memtorture::kernel
