// Clients, kills and kswapd: what is told must be what was moved, and the refusal that ends an add must be legal.
#include "model/oracle/driver_test.h"

namespace memtorture::oracle::test {
namespace {

using enum EventKind;
using program::ClientAdd;
using program::ClientDrop;
using subject::ClientKind;
using subject::GFP_KERNEL;
using subject::GFP_NOWAIT;

// A client of `kind` gets `pages` frames from `first` on, and asked for `asked`. The result is left to the test.
Ruling add(Driver& d, ClientKind kind, std::uint32_t gfp, unsigned asked, machine::Pfn first, unsigned pages) {
  EXPECT_EQ(d.call(ClientAdd{{kind}, {asked}, {gfp}}), Ruling::fine);
  Ruling ruling = Ruling::fine;
  for (unsigned i = 0; i != pages && ruling == Ruling::fine; ++i)
    ruling = d.told(client_granted, 0, static_cast<std::uint8_t>(kind), first + i);
  return ruling;
}

void add_to_process(Driver& d, unsigned process, machine::Pfn first, unsigned pages) {
  EXPECT_EQ(d.call(ClientAdd{{ClientKind::process}, {pages}, {GFP_KERNEL}}), Ruling::fine);
  for (unsigned i = 0; i != pages; ++i)
    EXPECT_EQ(d.told(client_granted, process, static_cast<std::uint8_t>(ClientKind::process), first + i), Ruling::fine);
  EXPECT_EQ(d.returned(pages), Ruling::fine);
}

TEST(Clients, AnAddThatEndsEarlyWasRefusedLegally) {
  {
    Driver d;
    EXPECT_EQ(add(d, ClientKind::clean, GFP_NOWAIT, 10, 1024, 4), Ruling::fine);
    EXPECT_EQ(d.returned(4), Ruling::broken);
    EXPECT_EQ(d.rule(), "page.fail.spurious");
  }
  for (const bool reported : {true, false}) {
    Driver d;
    d.fill(1024, 2952, kernel_noretry);
    d.fill(0, 972, kernel_noretry);
    d.hungry = true;
    d.fill(3976, 24, GFP_NOWAIT);
    // 8 pages are left of DMA; each request wakes kswapd.
    EXPECT_EQ(d.call(ClientAdd{{ClientKind::clean}, {10}, {GFP_NOWAIT}}), Ruling::fine);
    for (unsigned i = 0; i != 8; ++i) {
      d.told(kswapd_woken, 0);
      EXPECT_EQ(d.told(client_granted, 0, 0, 972 + i), Ruling::fine) << d.oracle.finding().detail;
    }
    d.told(kswapd_woken, 0);
    if (reported) d.report(ReportKind::allocation_failure);
    EXPECT_EQ(d.returned(8), reported ? Ruling::fine : Ruling::broken) << d.oracle.finding().detail;
    if (!reported) EXPECT_EQ(d.rule(), "page.report.missing");
  }
  {
    Driver d;  // a failure report belongs to the refusal that ends the operation
    EXPECT_EQ(d.call(ClientAdd{{ClientKind::clean}, {2}, {GFP_NOWAIT}}), Ruling::fine);
    d.report(ReportKind::allocation_failure);
    EXPECT_EQ(d.told(client_granted, 0, 0, 1024), Ruling::broken);
    EXPECT_EQ(d.rule(), "page.report.spurious");
  }
  for (const bool faulted : {true, false}) {
    Driver d;
    EXPECT_EQ(add(d, ClientKind::anon, GFP_KERNEL, 3, 1024, 2), Ruling::fine);
    if (faulted) d.told(EventKind::faulted, 0, machine::Site("page.alloc").index());
    EXPECT_EQ(d.returned(2), faulted ? Ruling::fine : Ruling::broken);
    if (!faulted) EXPECT_EQ(d.rule(), "page.fail.spurious");
  }
}

TEST(Clients, CountsAreWhatWasMoved) {
  for (const unsigned told : {3u, 4u, 5u}) {
    Driver d;
    EXPECT_EQ(add(d, ClientKind::dirty, GFP_KERNEL, 4, 1024, 4), Ruling::fine);
    EXPECT_EQ(d.returned(told), told == 4 ? Ruling::fine : Ruling::broken) << told;
    if (told != 4) EXPECT_EQ(d.rule(), "client.count");
  }
  struct Row {
    unsigned asked, given, told;
    bool right;
  };
  for (const Row& row : {Row{2, 2, 2, true}, Row{9, 4, 4, true}, Row{2, 1, 1, false}, Row{9, 3, 3, false},
                         Row{2, 2, 1, false}, Row{1, 2, 2, false}, Row{0, 0, 0, true}}) {
    Driver d;
    add(d, ClientKind::clean, GFP_KERNEL, 4, 1024, 4);
    d.returned(4);
    d.call(ClientDrop{{ClientKind::clean}, {row.asked}});
    for (unsigned i = 0; i != row.given; ++i) EXPECT_EQ(d.told(client_released, 0, 0, 1024 + i), Ruling::fine);
    EXPECT_EQ(d.returned(row.told), row.right ? Ruling::fine : Ruling::broken) << row.asked << row.given << row.told;
    if (!row.right) EXPECT_EQ(d.rule(), "client.count");
  }
}

TEST(Clients, ADropTakesTheKindItNames) {
  Driver d;
  add(d, ClientKind::anon, GFP_KERNEL, 1, 1024, 1);
  d.returned(1);
  d.call(ClientDrop{{ClientKind::clean}, {1}});
  EXPECT_EQ(d.told(client_released, 0, static_cast<std::uint8_t>(ClientKind::anon), 1024), Ruling::broken);
  EXPECT_EQ(d.rule(), "reclaim.owner");
}

TEST(Clients, ReclaimStaysInTheZonesOfTheRequest) {
  for (const std::uint32_t zone : {0u, static_cast<std::uint32_t>(subject::gfp_dma)}) {
    Driver d;
    add(d, ClientKind::clean, GFP_KERNEL, 1, 1024, 1);
    d.returned(1);
    const std::uint32_t gfp = kernel_noretry | zone;
    d.call(program::AllocPage{Out{0}, {gfp}});
    d.told(reclaim_began, 0, 0, no_pfn, gfp);
    EXPECT_EQ(d.told(client_released, 0, 0, 1024), zone == 0 ? Ruling::fine : Ruling::broken);
    if (zone != 0) EXPECT_EQ(d.rule(), "reclaim.owner");
  }
}

// A round that frees nothing leaves nothing that it may take, but what a device refused.
TEST(Clients, NoRoundIsInVainBesideThem) {
  struct Row {
    ClientKind kind;
    std::uint32_t gfp;
    unsigned fault;  // index of the site
    bool right;
  };
  constexpr unsigned none = machine::site_count, swap = machine::Site("reclaim.swap").index(),
                     progress = machine::Site("reclaim.progress").index(),
                     writeback = machine::Site("reclaim.writeback").index();
  for (const Row& row :
       {Row{ClientKind::clean, subject::GFP_NOIO, none, false}, Row{ClientKind::clean, GFP_KERNEL, swap, false},
        Row{ClientKind::clean, GFP_KERNEL, progress, true}, Row{ClientKind::dirty, GFP_KERNEL, none, false},
        Row{ClientKind::dirty, subject::GFP_NOFS, none, true}, Row{ClientKind::dirty, GFP_KERNEL, swap, false},
        Row{ClientKind::dirty, GFP_KERNEL, writeback, true}, Row{ClientKind::anon, GFP_KERNEL, none, false},
        Row{ClientKind::anon, subject::GFP_NOIO, none, true}, Row{ClientKind::anon, GFP_KERNEL, swap, true},
        Row{ClientKind::anon, GFP_KERNEL, writeback, false}, Row{ClientKind::process, GFP_KERNEL, none, true}}) {
    Driver d;
    add(d, row.kind, GFP_KERNEL, 2, 1024, 2);
    d.returned(2);
    d.call(program::AllocPage{Out{0}, {row.gfp}});
    d.told(reclaim_began, 0, 0, no_pfn, row.gfp);
    if (row.fault != none) d.told(faulted, 0, static_cast<std::uint8_t>(row.fault));
    EXPECT_EQ(d.told(reclaim_ended, 0), row.right ? Ruling::fine : Ruling::broken)
        << static_cast<int>(row.kind) << " " << row.gfp << " " << row.fault;
    if (!row.right) EXPECT_EQ(d.rule(), "reclaim.clients");
  }
}

// One kill after each round that freed nothing, one report a kill, and as many pages as the victim gave up.
TEST(Clients, OneKillARound) {
  struct Row {
    std::string_view rule;
    unsigned rounds, kills, told, reports;
  };
  for (const Row& row : {Row{"", 1, 1, 1, 1}, Row{"", 2, 2, 1, 2}, Row{"oom.condition", 0, 1, 1, 1},
                         Row{"oom.condition", 1, 2, 1, 2}, Row{"client.count", 1, 1, 2, 1},
                         Row{"page.report.missing", 1, 1, 1, 0}, Row{"page.report.spurious", 1, 1, 1, 2}}) {
    Driver d;
    constexpr auto process = static_cast<std::uint8_t>(ClientKind::process);
    for (unsigned i = 0; i != 2; ++i) add_to_process(d, i, 1024 + i, 1);
    d.call(program::AllocPage{Out{0}, {GFP_KERNEL}});
    Ruling ruling = Ruling::fine;
    for (unsigned i = 0; i != row.kills && ruling == Ruling::fine; ++i) {
      if (i < row.rounds) {
        d.told(reclaim_began, 0, 0, no_pfn, GFP_KERNEL);
        d.told(reclaim_ended, 0);
      }
      ruling = d.told(oom_chose, i);
      if (ruling == Ruling::fine) ruling = d.told(client_released, 0, process, 1024 + i);
      if (ruling == Ruling::fine) ruling = d.told(oom_exited, i);
      if (ruling == Ruling::fine) ruling = d.told(oom_killed, row.told);
    }
    for (unsigned i = 0; i != row.reports && ruling == Ruling::fine; ++i) ruling = d.report(ReportKind::oom_kill);
    if (ruling == Ruling::fine) ruling = d.granted(1024);
    EXPECT_EQ(ruling, row.rule.empty() ? Ruling::fine : Ruling::broken) << row.rule;
    EXPECT_EQ(d.rule(), row.rule) << d.oracle.finding().detail;
  }
}

// Normal's high mark is 144. `before` and `after` are the pages taken from it before and after the wake; 10 are a
// client's.
TEST(Kswapd, LeavesZonesAboveHigh) {
  struct Row {
    const char* what;
    unsigned before, after;
    bool woken, reclaimable, faulted, right;
  };
  const Row rows[] = {
      {"left at the low mark", 2942, 0, true, true, false, false},
      {"left at the high mark", 2918, 0, true, true, false, false},
      {"above the high mark", 2917, 0, true, true, false, true},
      {"used up again", 2900, 42, true, true, false, true},
      {"not woken", 2942, 0, false, true, false, true},
      {"nothing to reclaim", 2942, 0, true, false, false, true},
      {"its reclaim was made to fail", 2942, 0, true, true, true, true},
  };
  for (const Row& row : rows) {
    Driver d;
    add(d, row.reclaimable ? ClientKind::clean : ClientKind::process, GFP_KERNEL, 10, 1024, 10);
    d.returned(10);
    d.fill(1034, row.before, kernel_noretry);
    if (row.woken) EXPECT_EQ(d.told(kswapd_woken, 0), Ruling::fine);
    d.hungry = false;
    d.fill(1034 + row.before, row.after, kernel_noretry);
    if (row.faulted) {
      Event e = d.event(faulted);
      e.who = machine::kswapd_first;
      e.detail = machine::Site("reclaim.progress").index();
      EXPECT_EQ(d.oracle.on(e), Ruling::fine);
    }
    EXPECT_EQ(d.told(quiet), row.right ? Ruling::fine : Ruling::broken) << row.what;
    if (!row.right) EXPECT_EQ(d.rule(), "kswapd.high") << row.what;
  }
}

TEST(Kswapd, BalancesForTheOrderThatWokeIt) {
  for (const std::uint8_t order : {std::uint8_t{0}, std::uint8_t{4}}) {
    Driver d;
    add(d, ClientKind::clean, GFP_KERNEL, 10, 1024, 10);
    d.returned(10);
    d.take_everything(1034);
    for (std::uint16_t frame = 1034; frame != 1834; frame += 2) d.free(frame);  // 400 single pages
    d.call(program::AllocPages{Out{5000}, {subject::GFP_ATOMIC | subject::gfp_nowarn}, {order}});
    d.told(kswapd_woken, 0);
    EXPECT_EQ(d.refused(), order == 0 ? Ruling::broken : Ruling::fine) << d.oracle.finding().detail;
    if (order == 0) continue;  // a refusal of order 0 would be spurious
    EXPECT_EQ(d.told(quiet), Ruling::broken);
    EXPECT_EQ(d.rule(), "kswapd.high");
  }
}

}  // namespace
}  // namespace memtorture::oracle::test
