// White box: what the view shows of kernel stacks, against what happened.
#include "model/oracle/kstack_driver_test.h"

namespace memtorture::oracle::test::kstacks {
namespace {

TEST(StackAudit, FindsThemWhereTheyAre) {
  Stacks d(with_stacks(false, true));
  d.fork(0, 1028);
  EXPECT_EQ(d.oracle.audit_stacks(d.view), Ruling::fine) << d.why();
  (void)d.call(program::ExitTask{Of{0}});
  (void)d.returned();
  d.view.of(at(1028)) = {.at = at(1028), .use = StackUse::cached};
  EXPECT_EQ(d.oracle.audit_stacks(d.view), Ruling::fine) << d.why();
}

TEST(StackAudit, SeesWhatIsLost) {
  const auto audit = [](std::string_view id, auto&& change) {
    Stacks d(with_stacks(false, true));
    d.fork(0, 1028);
    change(d);
    d.breaks(d.oracle.audit_stacks(d.view), id);
  };
  const auto ended = [](Stacks& d) {
    (void)d.call(program::ExitTask{Of{0}});
    (void)d.returned();
    d.view.of(at(1028)).use = StackUse::cached;
  };
  audit("stack.lost", [&](Stacks& d) { ended(d); });  // and not listed
  audit("stack.lost", [](Stacks& d) { d.view.of(at(1026)).listed = false; });
  audit("stack.lost", [](Stacks& d) { d.view.of(at(1026)).number = 5; });
  audit("stack.lost", [](Stacks& d) { d.view.of(at(1026)).use = StackUse::dead; });
  audit("stack.lost", [](Stacks& d) { d.view.of(at(1028)) = {.at = at(1028), .use = StackUse::cached}; });
  audit("stack.lost", [&](Stacks& d) {
    ended(d);
    d.view.of(at(1028)) = {.at = at(1028), .use = StackUse::dead};  // nobody ran on it
  });
  audit("stack.lost", [](Stacks& d) { d.view.stacks.push_back(d.view.of(at(1026))); });
  audit("stack.info", [](Stacks& d) { d.view.of(at(1026)).magic = 0; });
  audit("stack.info", [](Stacks& d) { d.view.of(at(1028)).self = 0; });
}

TEST(StackAudit, CountsThoseThatAreKept) {
  Stacks d(with_stacks(false, true));
  for (std::uint16_t i = 0; i != 3; ++i) d.fork(i, static_cast<machine::Pfn>(1028 + 2 * i));
  for (std::uint16_t i = 0; i != 3; ++i) {
    EXPECT_EQ(d.oracle.audit_stacks(d.view), Ruling::fine) << d.why();
    (void)d.call(program::ExitTask{Of{i}});
    (void)d.returned();
    const std::uint64_t where = at(static_cast<machine::Pfn>(1028 + 2 * i));
    d.view.of(where) = {.at = where, .use = StackUse::cached};
  }
  d.breaks(d.oracle.audit_stacks(d.view), "stack.lost");

  Stacks none;
  none.fork(0, 1028);
  (void)none.call(program::ExitTask{Of{0}});
  (void)none.returned();
  none.view.of(at(1028)) = {.at = at(1028), .use = StackUse::cached};
  none.breaks(none.oracle.audit_stacks(none.view), "stack.lost");
}

}  // namespace
}  // namespace memtorture::oracle::test::kstacks
