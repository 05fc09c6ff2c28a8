// The books of the checks by themselves: shadow, patterns, records, quarantine.
#include <gtest/gtest.h>

#include <vector>

#include "allocator/debug/debug.h"

namespace memtorture::debug {
namespace {

std::optional<std::uint64_t> bad_at(const Shadow& shadow, std::uint64_t offset, std::uint64_t bytes) {
  const auto bad = shadow.first_bad(offset, bytes);
  return bad ? std::optional(bad->offset) : std::nullopt;
}

// Every access to a window around every size of object against a plain list of open bytes.
TEST(Shadow, FirstBadByteIsExact) {
  Shadow shadow;
  constexpr std::uint64_t base = 4096, room = 200;
  for (std::uint64_t size = 0; size <= room; size += size < 20 ? 1 : 13) {
    shadow.fill(base - 64, 512, shadow_guard);
    shadow.open(base, size, room);
    for (std::uint64_t from = base - 16; from != base + room + 16; ++from) {
      for (std::uint64_t bytes = 1; from + bytes <= base + room + 24; bytes += bytes < 20 ? 1 : 31) {
        std::optional<std::uint64_t> expected;
        if (from < base || from >= base + size) {
          expected = from;
        } else if (from + bytes > base + size) {
          expected = base + size;
        }
        ASSERT_EQ(bad_at(shadow, from, bytes), expected) << size << " " << from - base << " " << bytes;
      }
    }
  }
}

TEST(Shadow, SaysWhatIsThere) {
  Shadow shadow;
  shadow.fill(0, 64, shadow_guard);
  shadow.open(8, 13, 24);
  EXPECT_EQ(shadow.code_at(0), shadow_guard);
  EXPECT_EQ(shadow.code_at(8), shadow_open);
  EXPECT_EQ(shadow.code_at(16), 5);
  EXPECT_EQ(shadow.code_at(24), shadow_guard);
  shadow.fill(8, 20, shadow_freed);
  EXPECT_EQ(shadow.first_bad(9, 1)->code, shadow_freed);
  EXPECT_EQ(shadow.code_at(24), shadow_freed) << "whole granules";
  EXPECT_EQ(shadow.code_at(32), shadow_guard);
}

TEST(Poison, FindsTheFirstWrongByteOfAnyLength) {
  for (std::uint64_t n = 1; n <= 70; ++n) {
    std::vector<std::byte> bytes(n);
    fill_poison(bytes.data(), n, poison_free);
    EXPECT_EQ(first_not_poison(bytes.data(), n), std::nullopt);
    EXPECT_EQ(bytes.back(), poison_end);
    for (std::uint64_t i = 0; i != n; ++i) {
      const std::byte before = bytes[i];
      bytes[i] = before ^ std::byte{1};
      EXPECT_EQ(first_not_poison(bytes.data(), n), i);
      bytes[i] = before;
    }
    fill_poison(bytes.data(), n, poison_fresh);
    EXPECT_EQ(first_not_poison(bytes.data(), n), n > 1 ? std::optional<std::uint64_t>(0) : std::nullopt);
  }
}

TEST(Records, BlocksAreDisjointAndComeBack) {
  Records records;
  const auto a = records.add_slab(7, 5), b = records.add_slab(100, 8);
  EXPECT_EQ(records.of_slab(7), a.data());
  EXPECT_EQ(records.of_slab(100), b.data());
  EXPECT_TRUE(b.data() >= a.data() + 5 || a.data() >= b.data() + 8);
  a[4].set_state(BufferState::live);
  records.remove_slab(7, 5);
  const auto c = records.add_slab(9, 7);
  EXPECT_EQ(c.data(), a.data()) << "8 records either way";
  EXPECT_EQ(c[4].state(), BufferState::fresh);
  EXPECT_EQ(records.of_slab(100), b.data());
  records.reset();
  EXPECT_EQ(records.add_slab(1, 1).data(), std::min(a.data(), b.data())) << "a new run begins at the bottom";
}

TEST(Records, OnlyOneEndsALife) {
  Record record;
  EXPECT_FALSE(record.retire(BufferState::freed)) << "a fresh buffer has no life to end";
  record.set_state(BufferState::live);
  EXPECT_TRUE(record.retire(BufferState::quarantined));
  EXPECT_FALSE(record.retire(BufferState::freed));
  EXPECT_EQ(record.state(), BufferState::quarantined);
}

class Held : public testing::Test {
 protected:
  Held() { quarantine.reset(100); }
  // Records 0, 1, ... are of the owners given, 30 bytes each.
  void own(std::initializer_list<std::uint64_t> owners) {
    all = records.add_slab(0, static_cast<std::uint32_t>(owners.size()));
    std::size_t i = 0;
    for (const std::uint64_t owner : owners) {
      all[i].owner = owner;
      all[i++].bytes = 30;
    }
  }
  std::vector<std::ptrdiff_t> listed(Record* first) {
    std::vector<std::ptrdiff_t> numbers;
    for (; first != nullptr; first = records.at(first->next)) {
      EXPECT_EQ(first->state(), BufferState::freed);
      numbers.push_back(first - all.data());
    }
    EXPECT_EQ(left, numbers.size());
    left = 0;
    return numbers;
  }
  std::vector<std::ptrdiff_t> push(std::size_t i) {
    all[i].set_state(BufferState::quarantined);
    return listed(quarantine.push(all[i], [&](const Record&) { ++left; }));
  }
  std::vector<std::ptrdiff_t> take_of(std::uint64_t owner) {
    return listed(quarantine.take_of(owner, [&](const Record&) { ++left; }));
  }

  using Numbers = std::vector<std::ptrdiff_t>;
  Records records;
  Quarantine quarantine{records};
  std::span<Record> all;
  std::size_t left = 0;
};

TEST_F(Held, TheOldestLeaveWhenTheBudgetIsExceeded) {
  own({1, 1, 1, 1, 1});
  for (const std::size_t i : {2, 0, 1}) EXPECT_TRUE(push(i).empty());
  EXPECT_EQ(quarantine.bytes(), 90u);
  EXPECT_EQ(push(3), (Numbers{2}));
  EXPECT_EQ(quarantine.bytes(), 90u);
  all[4].bytes = 95;
  EXPECT_EQ(push(4), (Numbers{0, 1, 3}));
  EXPECT_EQ(quarantine.bytes(), 95u);
  EXPECT_TRUE(quarantine.takes(100));
  EXPECT_FALSE(quarantine.takes(101));
}

TEST_F(Held, AnOwnersPartLeavesInOrderAndTheRestStays) {
  own({1, 2, 1, 2});
  quarantine.reset(200);
  for (std::size_t i = 0; i != 4; ++i) EXPECT_TRUE(push(i).empty());
  EXPECT_EQ(take_of(1), (Numbers{0, 2}));
  EXPECT_EQ(quarantine.bytes(), 60u);
  EXPECT_TRUE(take_of(1).empty());
  EXPECT_EQ(take_of(2), (Numbers{1, 3}));
  EXPECT_EQ(quarantine.bytes(), 0u);
  EXPECT_TRUE(push(3).empty()) << "usable when it was emptied";
}

}  // namespace
}  // namespace memtorture::debug
