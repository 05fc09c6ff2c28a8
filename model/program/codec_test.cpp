// The byte form: total, canonical, and nothing that can be said in text is lost.
#include "model/program/codec.h"

#include <gtest/gtest.h>

#include "model/program/edits.h"
#include "model/program/generate.h"
#include "model/program/legal.h"
#include "model/program/op_table.h"
#include "model/program/random_parts.h"
#include "model/program/text.h"

namespace memtorture::program {
namespace {

constexpr GenerateOptions everything{.crimes = 50, .faults = 80, .departures = 80, .contexts = 90};

// What bytes keep: all but names, comment and expectation.
Case coded_part(Case c) {
  c = normal(std::move(c));
  c.comment.clear();
  c.expect = {};
  for (std::size_t i = 0; i < c.programs.size(); ++i) c.programs[i].name = default_program_name(c.programs[i].kind, i);
  for (std::size_t i = 0; i < c.slot_names.size(); ++i) c.slot_names[i] = default_slot_name(i);
  return c;
}

void expect_round_trip(const Case& c) {
  ASSERT_EQ(why_illegal(c), std::nullopt);
  const Case back = decode(encode(c));
  ASSERT_EQ(back, coded_part(c)) << print(c) << "\nbecame\n" << print(back);
}

std::vector<std::uint8_t> noise(Random& random, std::size_t size) {
  std::vector<std::uint8_t> bytes(size);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random.next());
  return bytes;
}

TEST(Codec, GeneratedCasesRoundTrip) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) expect_round_trip(generate(seed, everything));
}

TEST(Codec, EveryOperationRoundTripsWithAnyValues) {
  Case c{.shape = machine::shape_table()[4].shape, .programs = {{.name = "a"}}};
  for (std::size_t i = 0; i < slots_max; ++i) c.slot_names.push_back(default_slot_name(i));
  Random random(5);
  for (std::size_t kind = 0; kind < op_kinds; ++kind) {
    for (unsigned i = 0; i < 200; ++i) {
      Op op = default_op(kind);
      randomise_fields(c, op, random);
      c.programs[0].ops.push_back(op);
    }
  }
  expect_round_trip(c);
}

TEST(Codec, ExtremesRoundTrip) {
  Case c{.shape = machine::shape_table()[1].shape, .slot_names = {"p"}, .programs = {{.name = "a"}}};
  auto& ops = c.programs[0].ops;
  for (unsigned order = 0; order < 256; ++order) ops.push_back(FreeNull{{static_cast<std::uint8_t>(order)}});
  for (unsigned bit = 0; bit < 64; ++bit) {
    for (std::uint64_t value : {std::uint64_t{1} << bit, (std::uint64_t{1} << bit) - 1, ~(std::uint64_t{1} << bit)}) {
      ops.push_back(AllocPagesExact{{0}, {value}, {0}});
      ops.push_back(Poke{{0}, {static_cast<std::int64_t>(value)}, {static_cast<std::uint8_t>(value)}});
      ops.push_back(FreePageOf{{0, static_cast<std::uint16_t>(value)}});
      ops.push_back(Msleep{{static_cast<std::uint32_t>(value)}});
      ops.push_back(WildPage{{0}, {static_cast<machine::Pfn>(value)}});
      ops.push_back(AllocPage{{0}, {static_cast<subject::gfp_t>(value) & subject::gfp_known}});
    }
  }
  for (std::uint64_t page = 0; page < 70 * 4096; page += 4096) {
    for (std::uint64_t delta : {0, 1, 2, 4095}) ops.push_back(AllocPagesExact{{0}, {page + delta}, {0}});
  }
  c.faults = {{.probability = 0,
               .seed = ~0U,
               .interval = ~0U,
               .times = 0x7fff'ffff,
               .space = ~0U,
               .min_order = 255,
               .max_order = 0,
               .min_size = ~0U,
               .max_size = 0,
               .gfp = subject::GFP_KERNEL,
               .task = machine::kswapd_first + 3,
               .cpu = 0,
               .kind = 3,
               .caller = op_kinds},
              {}};
  c.departures = {{{0, static_cast<std::uint32_t>(ops.size()), "zone.lock", 65535},
                   {machine::Move::switch_to, machine::kswapd_first + 3}},
                  {{machine::kswapd_first, ~0U, "op", 1}, {machine::Move::wake, 0}},
                  {{machine::kswapd_first, ~0U, "reclaim.progress", 1}, {machine::Move::fail_from}}};
  expect_round_trip(c);
}

TEST(Codec, EveryShapeRoundTrips) {
  Random random(17);
  for (const auto& row : machine::shape_table()) expect_round_trip({.shape = row.shape});
  for (unsigned i = 0; i < 2000; ++i) expect_round_trip({.shape = random_shape(random)});
  const auto odd = parse_shape(
      "x86-64 ram=1T cpus=64 nodes=4 hz=250 dma=12K dma32=24K normal=36K reserved=3 hole=77-78 min_free_kbytes=77 "
      "pcp=77/7 poison=on objects=slab slab_debug=ZK quarantine=12345 stack=16K "
      "irqstacks=on");
  ASSERT_TRUE(odd.has_value()) << odd.error().message("shape");
  expect_round_trip({.shape = *odd});
}

TEST(Codec, AnyBytesDecodeToALegalCase) {
  Random random(1);
  for (unsigned i = 0; i < 20000; ++i) {
    const auto bytes = noise(random, random.below(300));
    const Case c = decode(bytes);
    ASSERT_EQ(why_illegal(c), std::nullopt) << i;
    ASSERT_EQ(normal(c), c) << i;
    const auto canonical = encode(c);
    ASSERT_EQ(decode(canonical), c) << i;
    ASSERT_EQ(encode(decode(canonical)), canonical) << i;
  }
}

TEST(Codec, RandomBytesAreMostlySmallMachines) {
  Random random(2);
  unsigned small = 0;
  for (unsigned i = 0; i < 2000; ++i) small += decode(noise(random, 64)).shape.ram_bytes <= (32U << 20) ? 1 : 0;
  EXPECT_GT(small, 1950U);
}

TEST(Codec, CuttingBytesCutsOperations) {
  const Case whole = generate(12, {.contexts = 0});
  const auto bytes = encode(whole);
  std::size_t ops_before = 0;
  for (std::size_t size = 20; size <= bytes.size(); ++size) {
    const Case cut = decode(std::span(bytes).first(size));
    std::size_t ops = 0;
    for (const Program& program : cut.programs) ops += program.ops.size();
    EXPECT_GE(ops, ops_before);  // longer never means less
    EXPECT_LE(ops, ops_before + 1);
    ops_before = ops;
  }
  EXPECT_GT(ops_before, 3U);
}

}  // namespace
}  // namespace memtorture::program
