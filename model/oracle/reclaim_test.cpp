// Reclaim: what it may do for whom, and whose pages it may take.
#include "model/oracle/driver_test.h"

namespace memtorture::oracle::test {
namespace {

using subject::GFP_KERNEL;

TEST(Reclaim, FlagsBindIt) {
  using enum EventKind;
  struct Row {
    std::string_view rule;
    std::uint32_t gfp, reclaim_gfp;
    EventKind then;
  };
  const Row rows[] = {
      {"", GFP_KERNEL, GFP_KERNEL, io_started},
      {"", GFP_KERNEL, GFP_KERNEL, fs_called},
      {"gfp.reclaim", 0, 0, io_started},
      {"gfp.scope", subject::GFP_NOIO, GFP_KERNEL, io_started},
      {"gfp.io", subject::GFP_NOIO, subject::GFP_NOIO, io_started},
      {"gfp.fs", subject::GFP_NOFS, subject::GFP_NOFS, fs_called},
      {"reclaim.nested", GFP_KERNEL, GFP_KERNEL, reclaim_began},
      {"oom.condition", GFP_KERNEL, GFP_KERNEL, oom_killed},
      {"oom.panic", subject::GFP_NOFS, subject::GFP_NOFS, panicked},
  };
  for (const Row& row : rows) {
    Driver d;
    d.call(program::AllocPage{Out{0}, {row.gfp}});
    Ruling ruling = d.told(reclaim_began, 0, 0, no_pfn, row.reclaim_gfp);
    if (ruling == Ruling::fine) ruling = d.told(row.then, 0, 0, no_pfn, row.reclaim_gfp);
    EXPECT_EQ(ruling, row.rule.empty() ? Ruling::fine : Ruling::broken) << row.rule;
    EXPECT_EQ(d.rule(), row.rule);
  }
}

TEST(Reclaim, ClientsHoldAndLoseTheirPages) {
  Driver d;
  d.call(program::ClientAdd{{subject::ClientKind::clean}, {2}, {GFP_KERNEL}});
  EXPECT_EQ(d.told(EventKind::client_granted, 0, 0, 1024), Ruling::fine);
  EXPECT_EQ(d.told(EventKind::client_granted, 0, 0, 1025), Ruling::fine);
  EXPECT_EQ(d.returned(2), Ruling::fine);
  d.call(program::ClientDrop{{subject::ClientKind::clean}, {1}});
  EXPECT_EQ(d.told(EventKind::client_released, 0, 0, 1024), Ruling::fine);
  EXPECT_EQ(d.returned(1), Ruling::fine);
  d.alloc(0, 1024);
  d.call(program::ClientDrop{{subject::ClientKind::clean}, {1}});
  EXPECT_EQ(d.told(EventKind::client_released, 0, 0, 1024), Ruling::broken);
  EXPECT_EQ(d.rule(), "reclaim.owner");
}

}  // namespace
}  // namespace memtorture::oracle::test
