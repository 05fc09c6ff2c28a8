// The order of locks: what a program did wrong, what the stack did wrong, and what nobody did.
#include "model/oracle/driver_test.h"

namespace memtorture::oracle::test {
namespace {

using machine::LockClass;
using machine::LockSet;
using program::Lock;
using subject::GFP_ATOMIC;
using subject::GFP_KERNEL;
using subject::GFP_NOFS;

constexpr LockClass spin0("program.spin0"), spin1("program.spin1"), spin2("program.spin2"), mutex0("program.mutex0");
constexpr LockClass zone("zone"), list("slab.list"), chain("cache_chain"), pcp("pcp");

class Locks : public Driver {
 public:
  explicit Locks(std::size_t programs = 1) : Driver(toy(), programs) {}

  Ruling takes(LockClass lock, LockSet under, unsigned use = machine::lock_bh_on | machine::lock_irqs_on) {
    Event e = event(EventKind::locked);
    e.detail = static_cast<std::uint8_t>(lock.index());
    e.value = under;
    e.value2 = use;
    return oracle.on(e);
  }
  Ruling masked(LockClass lock, LockSet under = 0) { return takes(lock, under, 0); }
  Ruling asks(std::uint32_t gfp, LockSet held) {
    the_case.programs[who].ops.push_back(program::AllocPage{Out{0}, {gfp}});
    Event e = event(EventKind::call);
    e.held = held;
    e.value2 = task_flags;
    const Ruling ruling = oracle.on(e);
    e = event(EventKind::result);
    e.pfn = next_++;
    e.value = machine::Ram::linear_base + (std::uint64_t{e.pfn} << the_case.shape.page_shift);
    e.value2 = ~std::uint64_t{0};
    e.held = held;
    EXPECT_EQ(oracle.on(e), Ruling::fine) << oracle.finding().detail;
    return ruling;
  }

 private:
  Pfn next_ = 1024;
};

TEST(LockRules, BothOrdersAreAProgramsCrime) {
  Locks d;
  EXPECT_EQ(d.takes(spin1, spin0.bit()), Ruling::fine);
  EXPECT_EQ(d.takes(spin2, spin1.bit()), Ruling::fine);
  EXPECT_EQ(d.takes(spin2, spin0.bit()), Ruling::fine);
  EXPECT_EQ(d.takes(spin0, spin2.bit()), Ruling::crime);
  EXPECT_EQ(d.crime(), "lock-order");
  EXPECT_NE(d.oracle.crime().detail.find("program.spin2 under program.spin1"), std::string::npos)
      << d.oracle.crime().detail;
}

TEST(LockRules, TheReferencesOrderNeedsNoFirstWitness) {
  {
    Locks d;
    EXPECT_EQ(d.masked(zone, list.bit()), Ruling::fine);
    EXPECT_EQ(d.masked(zone, pcp.bit()), Ruling::fine);
  }
  for (const auto& [taken, under] : {std::pair{list, zone}, std::pair{chain, zone}, std::pair{zone, zone}}) {
    Locks d;
    EXPECT_EQ(d.masked(taken, under.bit()), Ruling::broken);
    EXPECT_EQ(d.rule(), "lock.order");
  }
}

TEST(LockRules, ARingOfTheStacksOwn) {
  Locks d;
  EXPECT_EQ(d.masked(zone, pcp.bit()), Ruling::fine);
  EXPECT_EQ(d.masked(pcp, zone.bit()), Ruling::broken);
  EXPECT_EQ(d.rule(), "lock.order");
}

TEST(LockRules, NoProgramsLockUnderTheStacks) {
  Locks d;
  EXPECT_EQ(d.masked(spin0, list.bit()), Ruling::broken);
  EXPECT_EQ(d.rule(), "lock.order");
}

TEST(LockRules, TheStacksSpinlocksAreForHandlersToo) {
  {
    Locks d;
    EXPECT_EQ(d.takes(chain, 0), Ruling::fine);  // a mutex
    EXPECT_EQ(d.masked(list), Ruling::fine);
    EXPECT_EQ(d.takes(list, 0, machine::lock_irqs_on), Ruling::broken);
    EXPECT_EQ(d.rule(), "lock.interrupts");
  }
  {
    Locks d;  // taken rightly, and then interrupts come on
    EXPECT_EQ(d.masked(zone), Ruling::fine);
    EXPECT_EQ(d.takes(zone, 0, machine::lock_irqs_on), Ruling::broken);
    EXPECT_EQ(d.rule(), "lock.interrupts");
  }
}

TEST(LockRules, AHandlersLockIsKeptFromIt) {
  {
    Locks d;
    EXPECT_EQ(d.takes(spin0, 0), Ruling::fine);
    EXPECT_EQ(d.takes(spin0, 0, machine::lock_in_hardirq), Ruling::crime);
    EXPECT_EQ(d.crime(), "lock-interrupts");
  }
  {
    Locks d;  // softirqs off are enough for a softirq's lock, and for no hardirq's
    EXPECT_EQ(d.takes(spin0, 0, machine::lock_in_softirq | machine::lock_irqs_on), Ruling::fine);
    EXPECT_EQ(d.takes(spin0, 0, machine::lock_irqs_on), Ruling::fine);
    EXPECT_EQ(d.takes(spin1, 0, machine::lock_in_hardirq), Ruling::fine);
    EXPECT_EQ(d.takes(spin1, 0, machine::lock_irqs_on), Ruling::crime);
    EXPECT_EQ(d.crime(), "lock-interrupts");
  }
  {
    Locks d;  // nobody takes spin1 in a handler, but who holds spin0 waits for it
    EXPECT_EQ(d.takes(spin0, 0, machine::lock_in_hardirq), Ruling::fine);
    EXPECT_EQ(d.takes(spin1, 0), Ruling::fine);
    EXPECT_EQ(d.masked(spin1, spin0.bit()), Ruling::crime);
    EXPECT_EQ(d.crime(), "lock-interrupts");
  }
}

TEST(LockRules, AShrinkersMutexOverARequestThatMayCallIt) {
  for (const bool registered_first : {true, false}) {
    Locks d;
    const auto registers = [&] {
      EXPECT_NE(d.call(program::RegisterShrinker{Lock{0}}), Ruling::broken);
      EXPECT_EQ(d.returned(1), Ruling::fine);
    };
    if (registered_first) registers();
    EXPECT_EQ(d.asks(GFP_NOFS, mutex0.bit()), Ruling::fine);
    EXPECT_EQ(d.asks(GFP_ATOMIC, mutex0.bit()), Ruling::fine);
    EXPECT_EQ(d.crime(), "");
    EXPECT_NE(d.asks(GFP_KERNEL, mutex0.bit()), Ruling::broken);
    if (!registered_first) registers();
    EXPECT_EQ(d.crime(), "reclaim-recursion");
  }
}

TEST(LockRules, ScopesForbidWhatTheFlagsAllow) {
  for (const auto& [flag, innocent] : {std::pair{machine::pf_nofs, true}, std::pair{machine::pf_noio, true},
                                       std::pair{machine::pf_memalloc, true}, std::pair{machine::TaskFlag{}, false}}) {
    Locks d;
    EXPECT_EQ(d.call(program::RegisterShrinker{Lock{0}}), Ruling::fine);
    EXPECT_EQ(d.returned(1), Ruling::fine);
    d.set_task_flags(flag);
    EXPECT_NE(d.asks(GFP_KERNEL, mutex0.bit()), Ruling::broken);
    EXPECT_EQ(d.crime(), innocent ? "" : "reclaim-recursion");
  }
}

TEST(LockRules, ReclaimTakesTheChainOnlyIfItDoesNotWait) {
  Locks d;
  EXPECT_EQ(d.masked(chain, LockClass("fs_reclaim").bit()), Ruling::fine);
  EXPECT_EQ(d.asks(GFP_NOFS, chain.bit()), Ruling::fine);
  Locks e;
  EXPECT_EQ(e.masked(chain, LockClass("io_reclaim").bit()), Ruling::fine);
  e.the_case.programs[0].ops.push_back(program::AllocPage{Out{0}, {GFP_KERNEL}});
  Event call = e.event(EventKind::call);
  call.held = chain.bit();
  EXPECT_EQ(e.oracle.on(call), Ruling::broken);
  EXPECT_EQ(e.rule(), "lock.order");
}

TEST(LockRules, NoPagesAreAskedForUnderAListLock) {
  machine::Shape shape = toy();
  shape.objects = machine::ObjectLayer::slab;
  for (const auto& [held, ruling] : {std::pair{chain, Ruling::fine}, std::pair{list, Ruling::broken}}) {
    Driver d(shape);
    EXPECT_EQ(d.call(program::Kmalloc{Out{0}, {100}, {GFP_KERNEL}}), Ruling::fine);
    Event e = d.event(EventKind::layer_requests);
    e.gfp = GFP_KERNEL;
    e.value = ~std::uint64_t{0};
    e.held = held.bit();
    EXPECT_EQ(d.oracle.on(e), ruling) << d.oracle.finding().detail;
    if (ruling == Ruling::broken) EXPECT_EQ(d.rule(), "lock.leaf");
  }
}

TEST(LockRules, AFunctionLeavesNoLockBehind) {
  Locks d;
  d.call(program::AllocPage{Out{0}, {GFP_KERNEL}});
  Event e = d.event(EventKind::result);
  e.value2 = ~std::uint64_t{0};
  e.pfn = 1024;
  e.value = machine::Ram::linear_base + (std::uint64_t{1024} << d.the_case.shape.page_shift);
  e.held = zone.bit();
  EXPECT_EQ(d.oracle.on(e), Ruling::broken);
  EXPECT_EQ(d.rule(), "ctx.balance");
  EXPECT_NE(d.oracle.finding().detail.find("zone is held"), std::string::npos);
}

TEST(LockRules, ReleaseByWhoHasItNot) {
  for (const bool told : {true, false}) {
    Driver d;
    EXPECT_EQ(d.call(program::SpinUnlockUnheld{Lock{1}}), Ruling::crime);
    EXPECT_EQ(d.crime(), "lock-misuse");
    if (told) EXPECT_EQ(d.report(ReportKind::lock_unowned), Ruling::fine);
    EXPECT_EQ(d.returned(), told ? Ruling::fine : Ruling::broken);
  }
}

TEST(LockRules, ExitAsItBegan) {
  {
    Driver d;
    EXPECT_EQ(d.call(program::DoExit{}), Ruling::fine);
    EXPECT_EQ(d.returned(), Ruling::fine);
  }
  {
    Driver d;
    d.call(program::PreemptDisable{});
    d.preempt_count = 1;
    EXPECT_EQ(d.returned(), Ruling::fine);
    EXPECT_EQ(d.call(program::DoExit{}), Ruling::crime);
    EXPECT_EQ(d.crime(), "unbalanced-exit");
    EXPECT_EQ(d.report(ReportKind::exit_atomic), Ruling::fine);
    d.preempt_count = 0;
    EXPECT_EQ(d.returned(), Ruling::fine);
  }
  {
    Driver d;  // and nobody told
    d.call(program::LocalIrqSave{});
    d.irqs = machine::IrqFlag::off;
    EXPECT_EQ(d.returned(), Ruling::fine);
    EXPECT_EQ(d.call(program::DoExit{}), Ruling::crime);
    EXPECT_EQ(d.returned(), Ruling::broken);
  }
}

TEST(LockRules, SoftirqsOnWhereInterruptsAreOff) {
  Driver d;
  d.call(program::LocalBhDisable{});
  d.preempt_count = machine::softirq_offset;
  EXPECT_EQ(d.returned(), Ruling::fine);
  d.call(program::LocalIrqSave{});
  d.irqs = machine::IrqFlag::off;
  EXPECT_EQ(d.returned(), Ruling::fine);
  EXPECT_EQ(d.call(program::LocalBhEnable{}), Ruling::crime);
  EXPECT_EQ(d.crime(), "bh-enable");
  EXPECT_EQ(d.report(ReportKind::bh_enable), Ruling::fine);
  d.preempt_count = 0;
  EXPECT_EQ(d.returned(), Ruling::fine);
}

}  // namespace
}  // namespace memtorture::oracle::test
