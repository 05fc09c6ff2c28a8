// P-POOL-8: pieces of a caller's block are disjoint, aligned, inside the block, and vanish with it.
#if MT_ENGINE_FIBER
#include "model/examples/parcel.h"

#include <gtest/gtest.h>

#include "model/examples/notebook_test.h"
#include "model/program/edits.h"

namespace memtorture::examples {
namespace {

using subject::GFP_KERNEL;

machine::Shape shape_of(std::string_view name) {
  machine::Shape shape = machine::shape_named(name).value();
  shape.objects = machine::ObjectLayer::slab;
  return shape;
}

struct Piece {
  std::uint64_t start, bytes;
};

// Cuts the arena up at random until nothing fits, then once more byte by byte to the end of the page.
std::vector<Piece> cut_up(Parcel& parcel, std::uint64_t seed) {
  program::Random random(seed);
  std::vector<Piece> pieces;
  for (unsigned refused = 0; refused != 8;) {
    const std::uint64_t bytes = 1 + random.below(300), align = std::uint64_t{1} << random.below(8);
    const std::uint64_t piece = parcel.carve(bytes, align);
    if (piece == 0) {
      ++refused;
      continue;
    }
    EXPECT_EQ(piece % align, 0u);
    pieces.push_back({piece, bytes});
  }
  while (const std::uint64_t piece = parcel.carve(1, 1)) pieces.push_back({piece, 1});
  return pieces;
}

// The arena cuts upwards, so neighbours in the list are neighbours in memory.
void expect_disjoint_and_inside(const std::vector<Piece>& pieces, std::uint64_t base, std::uint64_t page_bytes) {
  ASSERT_FALSE(pieces.empty());
  EXPECT_GE(pieces.front().start, base);
  for (std::size_t i = 1; i != pieces.size(); ++i)
    EXPECT_LE(pieces[i - 1].start + pieces[i - 1].bytes, pieces[i].start);
  EXPECT_EQ(pieces.back().start + pieces.back().bytes, base + page_bytes) << "the last byte can be had too";
}

TEST(Parcel, PiecesAreDisjointAlignedAndInside) {
  for (const char* name : {"toy", "x86-64"}) {
    for (std::uint64_t seed = 1; seed != 20; ++seed) {
      Notebook book(shape_of(name));
      book.run([&] {
        Parcel parcel(book.pages(), 4096);
        ASSERT_TRUE(parcel.open(GFP_KERNEL));
        expect_disjoint_and_inside(cut_up(parcel, seed), parcel.base(), 4096);
      });
      book.expect_sound();
    }
  }
}

TEST(Parcel, WhatDoesNotFitIsRefusedAndChangesNothing) {
  Notebook book(shape_of("toy"));
  book.run([&] {
    Parcel parcel(book.pages(), 4096);
    EXPECT_EQ(parcel.carve(1, 1), 0u) << "not open";
    ASSERT_TRUE(parcel.open(GFP_KERNEL));
    EXPECT_EQ(parcel.carve(1, 1), parcel.base());
    for (const std::uint64_t bytes :
         {std::uint64_t{0}, std::uint64_t{4096}, ~std::uint64_t{0}, ~std::uint64_t{0} - 4094})
      EXPECT_EQ(parcel.carve(bytes, 1), 0u) << bytes;
    EXPECT_EQ(parcel.carve(1, 4096), 0u);
    EXPECT_EQ(parcel.carve(4095, 1), parcel.base() + 1);
    EXPECT_EQ(parcel.carve(1, 1), 0u);
  });
  book.expect_sound();
}

// One release ends them all: no byte of any may be touched any more, and the arena gives nothing.
TEST(Parcel, PiecesVanishWithThePage) {
  machine::Shape shape = shape_of("toy");
  shape.slab_debug = machine::debug_shadow;
  Notebook book(shape);
  std::vector<Piece> pieces;
  book.run([&] {
    Parcel parcel(book.pages(), 4096);
    ASSERT_TRUE(parcel.open(GFP_KERNEL));
    pieces = cut_up(parcel, 1);
    for (const Piece& piece : pieces)
      EXPECT_TRUE(book.kernel().check_access(piece.start, piece.bytes, subject::Access::write));
    parcel.close();
    EXPECT_EQ(parcel.carve(1, 1), 0u);
    EXPECT_EQ(book.reports(), 0u);
    EXPECT_EQ(book.held(), 0u);
    EXPECT_FALSE(book.kernel().check_access(pieces.front().start, 1, subject::Access::read));
    EXPECT_FALSE(book.kernel().check_access(pieces.back().start, 1, subject::Access::write));
  });
  EXPECT_EQ(book.reports(), 2u);
}

TEST(Parcel, ComesToGriefOnlyWhereItIsEasy) {
  const unsigned failures = with_every_failure([](std::vector<fault::Rule> faults) {
    Notebook book(shape_of("toy"), std::move(faults));
    book.run([&] {
      Parcel parcel(book.pages(), 4096);
      const bool open = parcel.open(GFP_KERNEL);
      EXPECT_EQ(open, book.faults_fired() == 0);
      EXPECT_EQ(parcel.carve(100, 8) != 0, open);
      EXPECT_EQ(parcel.carve(100, 8) != 0, open);
      EXPECT_TRUE(parcel.open(GFP_KERNEL)) << "the fault is over";
    });
    book.expect_sound();
    return book.faults_fired() != 0;
  });
  EXPECT_EQ(failures, 1u) << "it asks once";
}

}  // namespace
}  // namespace memtorture::examples
#endif
