// A device that is opened has everything; one that is not holds nothing, whichever allocation failed.
#if MT_ENGINE_FIBER
#include "model/examples/open_device.h"

#include <gtest/gtest.h>

#include <set>

#include "model/examples/notebook_test.h"

namespace memtorture::examples {
namespace {

machine::Shape shape_of(std::string_view name, std::uint8_t checks = 0) {
  machine::Shape shape = machine::shape_named(name).value();
  shape.objects = machine::ObjectLayer::slab;
  shape.slab_debug = checks;
  return shape;
}

void expect_complete(Notebook& book, const Device& device) {
  std::set<std::uint64_t> pieces = {device.control(), device.ring(), device.command_table()};
  for (std::size_t i = 0; i != Device::requests; ++i) pieces.insert(device.request(i));
  EXPECT_FALSE(pieces.contains(0));
  EXPECT_EQ(pieces.size(), 3 + Device::requests) << "something was given twice";
  EXPECT_EQ(book.held(), pieces.size() + 1) << "the cache is held, too";
  machine::Ram& ram = book.kernel().machine().ram();
  const auto zeroed = [&](std::uint64_t address, std::uint64_t bytes) {
    return std::all_of(ram.at(address), ram.at(address) + bytes, [](std::byte b) { return b == std::byte{0}; });
  };
  EXPECT_TRUE(zeroed(device.control(), Device::control_bytes));
  EXPECT_TRUE(zeroed(device.command_table(), Device::commands * Device::command_bytes));
}

void expect_nothing(Notebook& book, const Device& device) {
  EXPECT_EQ(book.held(), 0u);
  EXPECT_EQ(device.control() | device.ring() | device.command_table(), 0u);
  for (std::size_t i = 0; i != Device::requests; ++i) EXPECT_EQ(device.request(i), 0u);
}

unsigned fail_everywhere(const machine::Shape& shape) {
  return with_every_failure([&](std::vector<fault::Rule> faults) {
    Notebook book(shape, std::move(faults));
    book.run([&] {
      Device device(book.objects(), book.pages());
      if (!device.open()) {
        EXPECT_NE(book.faults_fired(), 0u);
        expect_nothing(book, device);
        EXPECT_TRUE(device.open()) << "the fault is over: the same device opens";
      }
      expect_complete(book, device);
      device.close();
      expect_nothing(book, device);
    });
    book.expect_sound();
    return book.faults_fired() != 0;
  });
}

// At the least: control block, struct of the cache, its array and list, each request, ring, table.
constexpr unsigned failures_min = 6 + Device::requests;

TEST(OpenDevice, HoldsEverythingOrNothingWhicheverAllocationFails) {
  EXPECT_GE(fail_everywhere(shape_of("toy")), failures_min);
  EXPECT_GE(fail_everywhere(shape_of("x86-64")), failures_min);
}

TEST(OpenDevice, TheSameWithAllChecks) {
  const auto all = static_cast<std::uint8_t>((1u << machine::slab_debug_letters.size()) - 1);
  EXPECT_GE(fail_everywhere(shape_of("toy", all)), failures_min);
}

TEST(OpenDevice, UnwindsInTheReverseOrder) {
  Notebook book(shape_of("toy"));
  book.run([&] {
    Device device(book.objects(), book.pages());
    EXPECT_TRUE(device.open());
  });
  const auto& ops = book.the_case().programs.at(0).ops;
  std::vector<program::Slot> got, given;
  for (const program::Op& op : ops) {
    std::visit(
        [&]<class T>(const T& o) {
          if constexpr (requires { o.out; }) got.push_back(o.out.slot);
          if constexpr (requires { o.in; }) given.push_back(o.in.slot);
          if constexpr (std::is_same_v<T, program::CacheDestroy>) given.push_back(o.cache.slot);
        },
        op);
  }
  std::ranges::reverse(given);
  EXPECT_EQ(got.size(), 4 + Device::requests);
  EXPECT_EQ(got, given);
  book.expect_sound();
}

}  // namespace
}  // namespace memtorture::examples
#endif
