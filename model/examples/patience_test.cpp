// P-POOL-9: schedule() and retries in turn end with success once another task frees memory, and after a bounded number
// of attempts where nobody does.
#if MT_ENGINE_FIBER
#include "model/examples/patience.h"

#include <gtest/gtest.h>

#include "model/examples/notebook_test.h"

namespace memtorture::examples {
namespace {

using namespace subject;  // GFP names

constexpr std::uint64_t block_bytes = 64 << 10;

machine::Shape toy() {
  machine::Shape shape = machine::shape_named("toy").value();
  shape.objects = machine::ObjectLayer::slab;
  return shape;
}

// Takes blocks until there are no more.
std::vector<std::uint64_t> take_all(Objects& objects) {
  std::vector<std::uint64_t> all;
  while (const std::uint64_t block = objects.kmalloc(block_bytes, GFP_NOWAIT | gfp_nowarn)) all.push_back(block);
  return all;
}

class Patience : public testing::Test {
 protected:
  void give_way() {
    ++rounds_;
    book_.note(program::Schedule{});
    machine::schedule();
  }
  std::uint64_t ask(unsigned attempts) {
    return kmalloc_patiently(book_.objects(), block_bytes, attempts, [&] { give_way(); });
  }
  Notebook book_{toy()};
  unsigned rounds_ = 0;  // of everybody
};

TEST_F(Patience, EndsWithSuccessOnceAnotherTaskGivesBack) {
  constexpr unsigned rounds_before = 5;
  std::vector<std::uint64_t> hoard;
  unsigned rounds_of_driver = 0;
  bool done = false;
  book_.run(
      [&] {
        hoard = take_all(book_.objects());
        ASSERT_FALSE(hoard.empty());
        for (unsigned i = 0; i != rounds_before; ++i) give_way();
        while (!done) {  // a block of this size may need several
          ASSERT_FALSE(hoard.empty());
          book_.objects().kfree(hoard.back());
          hoard.pop_back();
          give_way();
        }
        for (const std::uint64_t block : hoard) book_.objects().kfree(block);
      },
      [&] {
        const unsigned before = rounds_;
        const std::uint64_t block = ask(1'000);
        rounds_of_driver = rounds_ - before;
        EXPECT_NE(block, 0u);
        done = true;
        book_.objects().kfree(block);
      });
  EXPECT_GE(rounds_of_driver, rounds_before) << "it never had to wait";
  EXPECT_GE(book_.refused(), 1 + rounds_before);
  book_.expect_sound();
}

TEST_F(Patience, EndsWithoutSuccessWhereNobodyDoes) {
  book_.run([&] {
    const std::vector<std::uint64_t> hoard = take_all(book_.objects());
    EXPECT_EQ(ask(7), 0u);
    EXPECT_EQ(rounds_, 6u) << "between two attempts, not after the last";
    for (const std::uint64_t block : hoard) book_.objects().kfree(block);
    const std::uint64_t block = ask(7);
    EXPECT_NE(block, 0u);
    EXPECT_EQ(rounds_, 6u) << "nothing to wait for";
    book_.objects().kfree(block);
  });
  EXPECT_EQ(book_.refused(), 1 + 7u);
  book_.expect_sound();
}

}  // namespace
}  // namespace memtorture::examples
#endif
