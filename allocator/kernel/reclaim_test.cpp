// The slow path with clients to reclaim from: what frees what, who may, retries, kswapd, OOM (domain.md section 9).
#include <gtest/gtest.h>

#include "allocator/kernel/test_rig.h"

namespace memtorture::kernel {
namespace {

using machine::no_pfn;
using machine::Pfn;
using machine::ReportKind;
using machine::StopReason;
using page::Zone;
using namespace subject;  // GFP names

class NoDepartures final : public machine::Chooser {
 public:
  bool interested(const machine::Moment&) override { return false; }
  std::uint32_t choose(const machine::Moment&, std::span<const machine::Option>) override { return 0; }
  bool roll(const machine::Moment&, std::uint32_t) override { return false; }
  void restart() override {}
};

// Runs f() as task 0 on CPU 0, with kswapd beside it.
template <class F>
machine::RunResult run_task(Rig& rig, F f, std::uint32_t flags = 0) {
  NoDepartures chooser;
  const machine::Strand strand{.id = 0,
                               .kind = machine::ContextKind::task,
                               .cpu = 0,
                               .flags = flags,
                               .body = [](void* arg) { (*static_cast<F*>(arg))(); },
                               .arg = &f};
  return rig.kernel.machine().run({&strand, 1}, chooser, {.steps_budget = 2'000'000});
}

void fill(Rig& rig, ClientKind kind) { rig.kernel.client_add(kind, 100'000, GFP_ATOMIC | gfp_nowarn); }

struct Row {
  ClientKind kind;
  gfp_t gfp;
  std::uint32_t task_flags;
  bool progress;
};

// domain.md 9.3 and 7.5: what each kind of page needs. NORETRY: one round, then the answer.
TEST(Reclaim, FreesWhatTheMaskedFlagsAllow) {
  const Row rows[] = {{ClientKind::clean, GFP_NOIO, 0, true},
                      {ClientKind::dirty, GFP_NOIO, 0, false},
                      {ClientKind::dirty, GFP_NOFS, 0, false},
                      {ClientKind::dirty, GFP_KERNEL, 0, true},
                      {ClientKind::dirty, GFP_KERNEL, machine::pf_nofs, false},
                      {ClientKind::dirty, GFP_KERNEL, machine::pf_noio, false},
                      {ClientKind::anon, GFP_NOIO, 0, false},
                      {ClientKind::anon, GFP_NOFS, 0, true},
                      {ClientKind::anon, GFP_KERNEL, machine::pf_nofs, true},
                      {ClientKind::anon, GFP_KERNEL, machine::pf_noio, false},
                      {ClientKind::process, GFP_KERNEL, 0, false}};
  for (std::size_t i = 0; i != std::size(rows); ++i) {
    const Row& row = rows[i];
    Rig rig("toy");
    rig.alone([&] {
      fill(rig, row.kind);
      machine::current().flags |= row.task_flags;
      // ATOMIC took its share of the reserve: at least two rounds are needed before an ordinary request passes MIN.
      rig.kernel.alloc_pages(row.gfp | gfp_noretry | gfp_nowarn, 0);
      EXPECT_EQ(machine::current().flags, row.task_flags) << "PF_MEMALLOC was for the time of reclaim";
    });
    EXPECT_EQ(rig.said.reclaims.size(), 1u) << i;
    EXPECT_EQ(rig.said.reclaimed, row.progress ? 32u : 0u) << i;
    EXPECT_EQ(rig.said.fs_calls, row.progress && row.kind == ClientKind::dirty ? 32u : 0u) << i;
    EXPECT_EQ(rig.said.ios, row.progress && row.kind == ClientKind::anon ? 32u : 0u) << i;
    EXPECT_EQ(rig.said.released, rig.said.reclaimed) << i;
    EXPECT_EQ(rig.said.killed, 0u);
  }
}

TEST(Reclaim, SmallBlockingRequestsSucceedWhilePagesAreReclaimable) {  // 9.4
  Rig rig("toy");
  EXPECT_EQ(run_task(rig,
                     [&] {
                       fill(rig, ClientKind::dirty);
                       for (int i = 0; i != 500; ++i) ASSERT_NE(rig.kernel.alloc_pages(GFP_KERNEL, 0), no_pfn);
                     })
                .reason,
            StopReason::finished);
  EXPECT_TRUE(rig.said.reports.empty());
  EXPECT_GE(rig.said.released, 500u);
}

TEST(Reclaim, KswapdRestoresHigh) {  // P-RECLAIM-6
  Rig rig("toy");
  rig.alone([&] { fill(rig, ClientKind::clean); });
  // Once: who goes on beside kswapd may rightly leave less, as long as that is not below LOW.
  run_task(rig, [&] { (void)rig.kernel.alloc_pages(GFP_ATOMIC | gfp_nowarn, 0); });
  EXPECT_GT(rig.said.kswapd_wakes, 0u);
  EXPECT_TRUE(rig.said.reclaims.empty()) << "ATOMIC requests reclaim nothing themselves";
  for (const auto& zone : rig.kernel.zones()) EXPECT_GT(zone.nr_free_pages, zone.mark_high);
}

TEST(Reclaim, InjectedStandstillFreesNothing) {
  Rig rig(machine::shape_named("toy").value(), {{.site = "reclaim.progress"}});
  rig.alone([&] {
    fill(rig, ClientKind::clean);
    EXPECT_EQ(rig.kernel.alloc_pages(GFP_KERNEL | gfp_noretry | gfp_nowarn, 0), no_pfn);
  });
  EXPECT_EQ(rig.said.reclaimed, 0u);
  EXPECT_EQ(rig.said.faults.size(), 1u);
}

// What was used lately goes last, but it goes.
TEST(Reclaim, UsedPagesAreSparedForAsLongAsThereAreOthers) {
  Rig rig("toy");
  rig.alone([&] {
    fill(rig, ClientKind::clean);
    const auto pages = static_cast<std::uint32_t>(rig.kernel.client_pages(ClientKind::clean));
    Pfn oldest = no_pfn;
    for (const Zone& zone : rig.kernel.allocator().zones()) {
      if (zone.kind == machine::ZoneKind::normal) oldest = zone.lru[0].inactive.last;
    }
    EXPECT_EQ(rig.kernel.client_touch(ClientKind::clean, pages / 2), pages / 2);
    rig.kernel.alloc_pages(GFP_KERNEL | gfp_noretry | gfp_nowarn, 0);
    EXPECT_EQ(rig.said.reclaimed, 32u);
    EXPECT_NE(rig.kernel.page(oldest).flags & pg_lru, 0u);
    while (rig.kernel.client_pages(ClientKind::clean) != 0) {
      const unsigned before = rig.said.reclaimed;
      rig.kernel.client_touch(ClientKind::clean, 100'000);
      rig.kernel.alloc_pages(GFP_KERNEL | gfp_noretry | gfp_nowarn, 0);
      if (rig.said.reclaimed == before) break;
    }
  });
  EXPECT_EQ(rig.said.killed, 0u);
}

TEST(Reclaim, EvenTheLastPageIsFound) {
  for (const ClientKind kind : {ClientKind::clean, ClientKind::dirty, ClientKind::anon}) {
    for (const std::uint32_t pages : {1u, 2u, 3u, 31u, 33u}) {
      Rig rig("toy");
      rig.alone([&] {
        rig.kernel.client_add(kind, pages, GFP_KERNEL);
        while (rig.kernel.alloc_pages(GFP_ATOMIC | gfp_nowarn, 0) != no_pfn) {
        }
        EXPECT_EQ(rig.kernel.client_touch(kind, pages), pages);
        rig.kernel.alloc_pages(GFP_KERNEL | gfp_noretry | gfp_nowarn, 0);
        EXPECT_EQ(rig.said.reclaimed, std::min(pages, 32u));
      });
    }
  }
}

// 64 pages that a device takes its time with: nothing is freed before it is done, and the round waits for that.
TEST(Reclaim, ASlowDeviceIsWaitedFor) {
  for (const ClientKind kind : {ClientKind::dirty, ClientKind::anon}) {
    Rig rig(machine::shape_named("toy").value(), {{.site = "reclaim.slow"}});
    EXPECT_EQ(run_task(rig,
                       [&] {
                         rig.kernel.client_add(kind, 64, GFP_KERNEL);
                         while (rig.kernel.alloc_pages(GFP_ATOMIC | gfp_nowarn, 0) != no_pfn) {
                         }
                         const machine::Jiffies before = machine::jiffies_now();
                         EXPECT_NE(rig.kernel.alloc_pages(GFP_KERNEL, 0), no_pfn);
                         EXPECT_GE(machine::jiffies_now() - before, rig.kernel.machine().shape().hz / 10u);
                       })
                  .reason,
              StopReason::finished);
    EXPECT_GE(rig.said.writing, 32u);
    EXPECT_GE(rig.said.written, 32u);
    EXPECT_EQ(rig.said.killed, 0u);
    EXPECT_TRUE(rig.said.reports.empty());
    rig.alone([&] { rig.kernel.client_drop(ClientKind::clean, 100); });
    rig.alone([&] { rig.kernel.client_drop(kind, 100); });
    EXPECT_EQ(rig.said.released, 64u) << "what is being written can be dropped, too";
  }
}

TEST(Retry, HighOrdersMayFailAndSayWhy) {
  Rig rig("toy");
  rig.alone([&] {
    fill(rig, ClientKind::clean);
    EXPECT_EQ(rig.kernel.alloc_pages(GFP_KERNEL, 9), no_pfn);
  });
  EXPECT_EQ(rig.said.count(ReportKind::allocation_failure), 1u);
  EXPECT_EQ(rig.said.reclaims.size(), 1u);
  const std::span<const ZoneInfo> zones = rig.kernel.zones();
  ASSERT_EQ(rig.said.shown.size(), zones.size()) << "9.7: the report shows the zones";
  for (std::size_t i = 0; i != zones.size(); ++i) {
    EXPECT_EQ(rig.said.shown[i].zone, i);
    EXPECT_EQ(rig.said.shown[i].free, zones[i].nr_free_pages);
    EXPECT_EQ(rig.said.shown[i].min, zones[i].mark_min);
    EXPECT_EQ(rig.said.shown[i].high, zones[i].mark_high);
  }
}

TEST(Retry, RepeatGoesOnUntilItsOrderIsReclaimed) {
  Rig rig("toy");
  rig.alone([&] {
    rig.kernel.client_add(ClientKind::process, 1, GFP_KERNEL);
    fill(rig, ClientKind::clean);
    rig.kernel.alloc_pages(GFP_KERNEL | gfp_repeat | gfp_nowarn, 10);
  });
  EXPECT_GE(rig.said.reclaimed, 1024u);
  EXPECT_EQ(rig.said.reclaims.size(), 32u);
}

TEST(Retry, NofailGetsAnyOrder) {
  Rig rig("toy");
  EXPECT_EQ(run_task(rig,
                     [&] {
                       fill(rig, ClientKind::clean);
                       EXPECT_NE(rig.kernel.alloc_pages(GFP_KERNEL | gfp_nofail | gfp_noretry, 10), no_pfn);
                     })
                .reason,
            StopReason::finished);
  EXPECT_EQ(rig.said.killed, 0u);
}

TEST(Retry, NoioWithNobodyToFreeIsALivelock) {  // 9.1: loops without OOM
  Rig rig("toy");
  EXPECT_EQ(run_task(rig,
                     [&] {
                       fill(rig, ClientKind::process);
                       rig.kernel.alloc_pages(GFP_NOIO, 0);
                       FAIL() << "small blocking requests never fail";
                     })
                .reason,
            StopReason::livelock);
  EXPECT_EQ(rig.said.killed, 0u);
}

TEST(Oom, KillsTheLargestProcessAndGoesOn) {  // 9.5
  Rig rig("toy");
  EXPECT_EQ(run_task(rig,
                     [&] {
                       rig.kernel.client_add(ClientKind::process, 1000, GFP_ATOMIC);
                       rig.kernel.client_add(ClientKind::process, 2000, GFP_ATOMIC);
                       while (rig.kernel.alloc_pages(GFP_ATOMIC | gfp_nowarn, 0) != no_pfn) {
                       }
                       EXPECT_NE(rig.kernel.alloc_pages(GFP_KERNEL, 0), no_pfn);
                     })
                .reason,
            StopReason::finished);
  EXPECT_EQ(rig.said.killed, 2000u);
  EXPECT_EQ(rig.said.count(ReportKind::oom_kill), 1u);
  EXPECT_EQ(rig.said.reports.size(), 1u);
  EXPECT_EQ(rig.kernel.client_pages(ClientKind::process), 1000u);
}

// Three processes of 1000, 900 and 100 pages: who dies, and who then.
TEST(Oom, ChoosesByBadness) {
  using enum ProcessTrait;
  struct Said {
    std::uint32_t process;
    ProcessTrait trait;
    std::int64_t value;
  };
  struct Row {
    std::vector<Said> said;
    unsigned victim;
  };
  const Row rows[] = {
      {{}, 0},
      {{{0, oom_adj, -17}}, 1},
      {{{0, oom_adj, -17}, {1, oom_adj, -17}}, 2},
      {{{0, oom_adj, -1}}, 1},
      {{{2, oom_adj, 4}}, 2},                    // 1600 points
      {{{1, nice, 1}}, 1},                       // 1800
      {{{1, nice, -5}}, 0},                      // nothing is taken off for that
      {{{0, caps, 1}}, 1},                       // 250
      {{{0, cpu_seconds, 32}}, 1},               // 500
      {{{0, cpu_seconds, 31}}, 0},               // 1000: the root of 3 is 1
      {{{0, run_seconds, 16 * 1024}}, 1},        // 500
      {{{0, run_seconds, 15 * 1024}}, 0},        // the fourth root of 15 is 1
      {{{2, parent, 1}}, 0},                     // 951
      {{{2, parent, 1}, {1, nice, 1}}, 2},       // 1902, and its child goes first
      {{{0, parent, 1}}, 0},                     // 1401: the child
      {{{2, parent, 0}, {2, oom_adj, -17}}, 0},  // a child that may not be killed
      {{{0, caps, 3}, {1, caps, 3}, {2, nice, 1}}, 2},
  };
  for (std::size_t i = 0; i != std::size(rows); ++i) {
    Rig rig("toy");
    EXPECT_EQ(run_task(rig,
                       [&] {
                         for (const std::uint32_t pages : {1000u, 900u, 100u})
                           rig.kernel.client_add(ClientKind::process, pages, GFP_ATOMIC);
                         for (const Said& said : rows[i].said)
                           EXPECT_TRUE(rig.kernel.set_process(said.process, said.trait, said.value));
                         while (rig.kernel.alloc_pages(GFP_ATOMIC | gfp_nowarn, 0) != no_pfn) {
                         }
                         EXPECT_NE(rig.kernel.alloc_pages(GFP_KERNEL, 0), no_pfn);
                       })
                  .reason,
              StopReason::finished);
    EXPECT_EQ(rig.said.victims, std::vector<unsigned>{rows[i].victim}) << "row " << i;
  }
}

TEST(Oom, WhatIsNoTraitIsRefused) {
  using enum ProcessTrait;
  Rig rig("toy");
  rig.alone([&] {
    EXPECT_FALSE(rig.kernel.set_process(8, nice, 0));
    EXPECT_FALSE(rig.kernel.set_process(0, nice, 20));
    EXPECT_FALSE(rig.kernel.set_process(0, oom_adj, -18));
    EXPECT_FALSE(rig.kernel.set_process(0, oom_adj, 16));
    EXPECT_FALSE(rig.kernel.set_process(0, caps, 4));
    EXPECT_FALSE(rig.kernel.set_process(0, parent, 8));
    EXPECT_FALSE(rig.kernel.set_process(0, run_seconds, -1));
    EXPECT_TRUE(rig.kernel.set_process(7, parent, -1));
  });
}

// The victim goes a tenth of a second after it was killed; nobody else is killed in the meantime.
TEST(Oom, WaitsForASlowVictim) {
  Rig rig(machine::shape_named("toy").value(), {{.site = "oom.exit"}});
  EXPECT_EQ(run_task(rig,
                     [&] {
                       rig.kernel.client_add(ClientKind::process, 1000, GFP_ATOMIC);
                       rig.kernel.client_add(ClientKind::process, 2000, GFP_ATOMIC);
                       while (rig.kernel.alloc_pages(GFP_ATOMIC | gfp_nowarn, 0) != no_pfn) {
                       }
                       const machine::Jiffies before = machine::jiffies_now();
                       EXPECT_NE(rig.kernel.alloc_pages(GFP_KERNEL, 0), no_pfn);
                       EXPECT_GE(machine::jiffies_now() - before, rig.kernel.machine().shape().hz / 10u);
                     })
                .reason,
            StopReason::finished);
  EXPECT_EQ(rig.said.victims, std::vector<unsigned>{1});
  EXPECT_EQ(rig.said.released, 2000u);
  EXPECT_EQ(rig.kernel.client_pages(ClientKind::process), 1000u);
}

TEST(Oom, NobodyToKillIsAPanic) {  // P-OOM-5
  Rig rig("toy");
  const auto result = run_task(rig, [&] {
    while (rig.kernel.alloc_pages(GFP_ATOMIC | gfp_nowarn, 0) != no_pfn) {
    }
    rig.kernel.alloc_pages(GFP_KERNEL, 0);
  });
  EXPECT_EQ(result.reason, StopReason::panic);
  EXPECT_EQ(result.panic, machine::PanicKind::out_of_memory);
}

TEST(Oom, NeverForNoretryNoFsOrHighOrders) {  // P-OOM-3
  for (const auto& [gfp, order] :
       {std::pair{GFP_KERNEL | gfp_noretry, 0u}, std::pair{GFP_KERNEL, 4u}, std::pair{GFP_ATOMIC, 0u}}) {
    Rig rig("toy");
    rig.alone([&] {
      fill(rig, ClientKind::process);
      rig.kernel.alloc_pages(gfp | gfp_nowarn, order);
    });
    EXPECT_EQ(rig.said.killed, 0u);
  }
}

TEST(Clients, DropGivesEverythingBack) {
  Rig rig("tiny-all");
  const auto before = rig.free_set();
  rig.alone([&] {
    for (const ClientKind kind : {ClientKind::clean, ClientKind::dirty, ClientKind::anon, ClientKind::process}) {
      EXPECT_EQ(rig.kernel.client_add(kind, 50, GFP_HIGHUSER), 50u);
    }
    for (const ClientKind kind : {ClientKind::clean, ClientKind::dirty, ClientKind::anon, ClientKind::process}) {
      EXPECT_EQ(rig.kernel.client_pages(kind), 50u);
      EXPECT_EQ(rig.kernel.client_drop(kind, 60), 50u);
    }
  });
  EXPECT_EQ(rig.said.granted, 200u);
  EXPECT_EQ(rig.said.released, 200u);
  EXPECT_EQ(rig.free_set(), before);
}

}  // namespace
}  // namespace memtorture::kernel
