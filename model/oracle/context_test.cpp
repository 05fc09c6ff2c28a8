// Contexts: what a call leaves balanced, and who may sleep.
#include "model/oracle/driver_test.h"

namespace memtorture::oracle::test {
namespace {

using subject::GFP_KERNEL;

TEST(Context, BalanceAndSleep) {
  {
    Driver d;
    d.call(program::AllocPage{Out{0}, {GFP_KERNEL}});
    d.preempt_count = 1;
    EXPECT_EQ(d.granted(1024), Ruling::broken);
    EXPECT_EQ(d.rule(), "ctx.balance");
  }
  {
    Driver d;
    d.call(program::PreemptDisable{});
    d.preempt_count = 1;
    EXPECT_EQ(d.returned(), Ruling::fine);
    d.call(program::AllocPage{Out{0}, {subject::GFP_ATOMIC}});
    EXPECT_EQ(d.told(EventKind::slept), Ruling::broken);
    EXPECT_EQ(d.rule(), "gfp.sleep");
  }
}

}  // namespace
}  // namespace memtorture::oracle::test
