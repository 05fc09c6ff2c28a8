// Shapes, RAM and the tables: what both engines share.
#include <gtest/gtest.h>

#include <set>

#include "allocator/machine/machine.h"

namespace memtorture::machine {
namespace {

Shape with(Shape shape, auto change) {
  change(shape);
  return shape;
}

TEST(Shape, EveryNamedShapeIsPossible) {
  for (const ShapeRow& row : shape_table()) {
    EXPECT_EQ(why_impossible(row.shape), std::nullopt) << row.name;
    EXPECT_EQ(row.shape.name(), row.name);
    EXPECT_EQ(shape_named(row.name), row.shape);
  }
  EXPECT_EQ(shape_named("vax"), std::nullopt);
}

TEST(Shape, ImpossibleMachinesAreRefusedWithAReason) {
  const Shape tiny = *shape_named("tiny-32");
  const auto refused = [&](auto change, std::string_view reason) {
    const auto why = why_impossible(with(tiny, change));
    ASSERT_TRUE(why.has_value()) << reason;
    EXPECT_NE(why->find(reason), why->npos) << *why;
  };
  refused([](Shape& s) { s.cpus = 0; }, "cpus");
  refused([](Shape& s) { s.cpus = 65; }, "cpus");
  refused([](Shape& s) { s.nodes = 5; }, "nodes");
  refused([](Shape& s) { s.page_shift = 14; }, "page");
  refused([](Shape& s) { s.orders = 12; }, "orders");
  refused([](Shape& s) { s.ram_bytes = 5000; }, "ram");
  refused([](Shape& s) { s.ram_bytes = std::uint64_t{128} << 30; }, "more RAM than address space");
  refused([](Shape& s) { s.zone_end_bytes = {4 << 20, 2 << 20, 6 << 20}; }, "ascend");
  refused([](Shape& s) { s.zone_end_bytes = {0, 0, 0}; }, "zones do not fit");
  refused([](Shape& s) { s.reserved_pages = 2000; }, "zones do not fit");
  refused([](Shape& s) { s.hole_end = 5000; }, "hole");
  refused([](Shape& s) { s.hz = 60; }, "hz");
  refused([](Shape& s) { s.pcp_batch = 3; }, "pcp");
  refused([](Shape& s) { s.min_free_kbytes = 1 << 20; }, "min_free_kbytes");
  refused([](Shape& s) { s.stack_bytes = 12 << 10; }, "stack");
  refused([](Shape& s) { s.stack_bytes = 4 << 10, s.page_shift = 13; }, "whole pages");
  refused([](Shape& s) { s.stack_bytes = 16 << 10, s.orders = 2; }, "largest block");
  refused([](Shape& s) { s.irq_stacks = Toggle::on; }, "irqstacks");
  refused([](Shape& s) { s.stack_cache = Toggle::on; }, "stackcache");
}

TEST(Ram, PowerOnContentsAreGarbageInEveryRun) {
  Ram ram;
  for (int run = 0; run != 2; ++run) {
    ram.power_on(12, 16);
    EXPECT_EQ(ram.find_not(3, 2, Ram::power_on_byte), -1);
    ram.frame(3)[7] = std::byte{1};
    EXPECT_EQ(ram.find_not(3, 2, Ram::power_on_byte), 7);
    ram.clear_frame(4);
    EXPECT_EQ(ram.find_not(4, 1, std::byte{0}), -1);
    EXPECT_EQ(ram.find_not(3, 2, std::byte{0}), 0);
  }
}

TEST(Ram, FillCoversWholeFramesOfEitherSize) {
  Ram ram;
  ram.power_on(13, 16);
  ram.fill(2, 3, std::byte{0x5a});
  EXPECT_EQ(ram.frame(2).size(), 8192u);
  EXPECT_EQ(ram.find_not(2, 3, std::byte{0x5a}), -1);
  EXPECT_EQ(ram.find_not(2, 4, std::byte{0x5a}), 3 * 8192);
}

TEST(Ram, TheLinearMapIsAnInverse) {
  Ram ram;
  ram.power_on(12, 16);
  EXPECT_EQ(ram.address_of(0), Ram::linear_base);
  for (Pfn pfn = 0; pfn != 16; ++pfn) EXPECT_EQ(ram.pfn_of(ram.address_of(pfn)), pfn);
  EXPECT_EQ(ram.pfn_of(ram.address_of(16)), no_pfn);
  EXPECT_EQ(ram.pfn_of(0), no_pfn);
}

TEST(Ram, ATebibyteIsThereWithoutBeingTouched) {
  Ram ram;
  ram.power_on(12, static_cast<Pfn>(ram_bytes_max >> 12));
  const Pfn last = static_cast<Pfn>((ram_bytes_max >> 12) - 1);
  ram.frame(last)[4095] = std::byte{1};
  EXPECT_EQ(ram.find_not(last, 1, Ram::power_on_byte), 4095);
}

TEST(Ram, SeveralMachinesDoNotShareMemory) {
  Ram first, second;
  first.power_on(12, 16);
  second.power_on(12, 16);
  first.clear_frame(0);
  EXPECT_EQ(second.find_not(0, 1, Ram::power_on_byte), -1);
}

TEST(Site, NamesAndIndicesAgree) {
  for (unsigned i = 0; i != site_count; ++i) EXPECT_EQ(Site::named(site_table[i].name)->index(), i);
  EXPECT_EQ(Site::named("page.nowhere"), std::nullopt);
}

TEST(Report, NamesAreUnique) {
  std::set<std::string_view> names;
  for (const ReportRow& row : report_table) EXPECT_TRUE(names.insert(row.name).second) << row.name;
}

}  // namespace
}  // namespace memtorture::machine
