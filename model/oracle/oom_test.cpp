// Who may be the victim, when, and what a failure report has to show.
#include "model/oracle/driver_test.h"

namespace memtorture::oracle::test {
namespace {

using enum EventKind;
using program::SetProcess;
using subject::ClientKind;
using subject::GFP_KERNEL;
using subject::ProcessTrait;

constexpr auto process_kind = static_cast<std::uint8_t>(ClientKind::process);

class Killer : public Driver {
 public:
  // Processes 0, 1 ... have so many pages, from frame 1024 on.
  explicit Killer(std::initializer_list<unsigned> pages) {
    machine::Pfn next = 1024;
    unsigned process = 0;
    for (const unsigned n : pages) {
      EXPECT_EQ(call(program::ClientAdd{{ClientKind::process}, {n}, {GFP_KERNEL}}), Ruling::fine);
      firsts.push_back(next);
      for (unsigned i = 0; i != n; ++i) EXPECT_EQ(told(client_granted, process, process_kind, next++), Ruling::fine);
      EXPECT_EQ(returned(n), Ruling::fine);
      counts.push_back(n);
      ++process;
    }
  }
  void say(std::uint32_t process, ProcessTrait trait, std::int64_t value, bool accepted = true) {
    EXPECT_EQ(call(SetProcess{{process}, {trait}, {value}}), Ruling::fine);
    EXPECT_EQ(returned(accepted ? 1 : 0), Ruling::fine) << why();
  }
  // A request for which reclaim finds nothing.
  void ask() {
    EXPECT_EQ(call(program::AllocPage{Out{0}, {GFP_KERNEL}}), Ruling::fine);
    round();
  }
  void round() {
    EXPECT_EQ(told(reclaim_began, 0, 0, no_pfn, GFP_KERNEL), Ruling::fine);
    EXPECT_EQ(told(reclaim_ended, 0), Ruling::fine) << why();
  }
  Ruling gives_up(unsigned process, unsigned pages) {
    Ruling ruling = Ruling::fine;
    for (unsigned i = 0; i != pages && ruling == Ruling::fine; ++i)
      ruling = told(client_released, 0, process_kind, firsts[process] + i);
    return ruling;
  }

  std::vector<machine::Pfn> firsts;
  std::vector<unsigned> counts;
};

TEST(OomRules, TheVictimHasMostPoints) {
  using enum ProcessTrait;
  struct Row {
    const char* what;
    std::vector<std::tuple<std::uint32_t, ProcessTrait, std::int64_t>> said;
    std::vector<unsigned> right;
  };
  const Row rows[] = {
      {"the largest", {}, {0}},
      {"not the immune one", {{0, oom_adj, -17}}, {1}},
      {"niced down", {{1, nice, 19}}, {1}},
      {"a negative nice helps nobody", {{0, nice, -20}}, {0}},
      {"old and busy", {{0, cpu_seconds, 32}}, {1}},
      {"nearly as busy", {{0, cpu_seconds, 31}}, {0}},
      {"old", {{0, run_seconds, 16 << 10}}, {1}},
      {"trusted", {{0, caps, 2}}, {1}},
      {"both: a tie is decided either way", {{0, oom_adj, -17}, {1, oom_adj, -6}, {2, oom_adj, -3}}, {1, 2}},
      {"adjusted up", {{2, oom_adj, 5}}, {2}},
      {"a child before its parent", {{2, parent, 0}}, {2}},
      {"but not one that is immune", {{2, parent, 0}, {2, oom_adj, -17}}, {0}},
      {"half of a child counts", {{2, parent, 1}, {0, oom_adj, -1}}, {2}},
  };
  for (const Row& row : rows) {
    for (unsigned victim = 0; victim != 3; ++victim) {
      Killer d({16, 12, 3});
      for (const auto& [process, trait, value] : row.said) d.say(process, trait, value);
      d.ask();
      const bool right = std::ranges::find(row.right, victim) != row.right.end();
      EXPECT_EQ(d.told(oom_chose, victim), right ? Ruling::fine : Ruling::broken) << row.what << " " << victim;
      if (!right) EXPECT_EQ(d.rule(), "oom.victim") << row.what;
    }
  }
}

TEST(OomRules, WhoHasNothingIsNoVictim) {
  Killer d({3});
  d.ask();
  EXPECT_EQ(d.told(oom_chose, 1), Ruling::broken);
  EXPECT_EQ(d.rule(), "oom.victim");
}

TEST(OomRules, TraitsAreAcceptedWhenThereAreSuch) {
  using enum ProcessTrait;
  const std::tuple<std::uint32_t, ProcessTrait, std::int64_t, bool> rows[] = {
      {7, oom_adj, -17, true}, {8, oom_adj, 0, false}, {0, oom_adj, -18, false},  {0, oom_adj, 16, false},
      {0, nice, 19, true},     {0, nice, 20, false},   {0, caps, 3, true},        {0, caps, 4, false},
      {0, parent, 7, true},    {0, parent, 8, false},  {0, run_seconds, 0, true}, {0, cpu_seconds, -1, false}};
  for (const auto& [process, trait, value, right] : rows) {
    Killer d({1});
    d.say(process, trait, value, right);
    Killer wrong({1});
    EXPECT_EQ(wrong.call(SetProcess{{process}, {trait}, {value}}), Ruling::fine);
    EXPECT_EQ(wrong.returned(right ? 0 : 1), Ruling::broken);
    EXPECT_EQ(wrong.rule(), "oom.trait");
  }
}

TEST(OomRules, OneDiesAtATime) {
  Killer d({5, 3});
  d.ask();
  EXPECT_EQ(d.told(faulted, 0, machine::Site("oom.exit").index()), Ruling::fine);
  EXPECT_EQ(d.told(oom_chose, 0), Ruling::fine);
  EXPECT_EQ(d.told(faulted, 0, machine::Site("oom.exit").index()), Ruling::fine);
  EXPECT_EQ(d.told(oom_killed, 0), Ruling::fine) << d.why();
  EXPECT_EQ(d.report(ReportKind::oom_kill), Ruling::fine);
  d.round();
  EXPECT_EQ(d.told(oom_chose, 1), Ruling::broken);
  EXPECT_EQ(d.rule(), "oom.condition");
}

TEST(OomRules, AVictimThatWasNotHeldUpGoesAtOnce) {
  Killer d({5});
  d.ask();
  EXPECT_EQ(d.told(oom_chose, 0), Ruling::fine);
  EXPECT_EQ(d.told(oom_killed, 0), Ruling::broken);
  EXPECT_EQ(d.rule(), "client.count");
}

TEST(OomRules, WhoIsGoneHoldsNothing) {
  for (const unsigned given : {2u, 3u}) {
    Killer d({3});
    d.ask();
    EXPECT_EQ(d.told(oom_chose, 0), Ruling::fine);
    EXPECT_EQ(d.gives_up(0, given), Ruling::fine);
    EXPECT_EQ(d.told(oom_exited, 0), given == 3 ? Ruling::fine : Ruling::broken);
    if (given == 3) EXPECT_EQ(d.told(oom_exited, 0), Ruling::broken) << "once";
    EXPECT_EQ(d.rule(), "oom.exit");
  }
}

TEST(OomRules, OnlyTheVictimGivesUpItsPages) {
  Killer d({5, 3});
  d.ask();
  EXPECT_EQ(d.told(oom_chose, 0), Ruling::fine);
  EXPECT_EQ(d.gives_up(1, 1), Ruling::broken);
  EXPECT_EQ(d.rule(), "reclaim.owner");
}

TEST(OomRules, APanicNeedsThatNobodyMayBeKilled) {
  for (const bool immune : {true, false}) {
    Killer d({5});
    if (immune) d.say(0, ProcessTrait::oom_adj, -17);
    d.ask();
    EXPECT_EQ(d.told(panicked, 0, static_cast<std::uint8_t>(machine::PanicKind::out_of_memory)),
              immune ? Ruling::fine : Ruling::broken);
    if (!immune) EXPECT_EQ(d.rule(), "oom.panic");
  }
}

// --- rounds and devices ----------------------------------------------------------------------------------------------

TEST(IdleRounds, LeaveNothingThatTheirFlagsMayTake) {
  struct Row {
    ClientKind kind;
    std::uint32_t gfp;
    bool right;
  };
  for (const Row& row :
       {Row{ClientKind::clean, subject::GFP_NOIO, false}, Row{ClientKind::dirty, GFP_KERNEL, false},
        Row{ClientKind::dirty, subject::GFP_NOFS, true}, Row{ClientKind::anon, subject::GFP_NOFS, false},
        Row{ClientKind::anon, subject::GFP_NOIO, true}, Row{ClientKind::process, GFP_KERNEL, true}}) {
    for (const bool failed : {false, true}) {
      Driver d;
      EXPECT_EQ(d.call(program::ClientAdd{{row.kind}, {2}, {GFP_KERNEL}}), Ruling::fine);
      for (machine::Pfn frame : {1024u, 1025u})
        EXPECT_EQ(d.told(client_granted, 0, static_cast<std::uint8_t>(row.kind), frame), Ruling::fine);
      d.returned(2);
      d.call(program::AllocPage{Out{0}, {row.gfp}});
      d.told(reclaim_began, 0, 0, no_pfn, row.gfp);
      if (failed) d.told(faulted, 0, machine::Site("reclaim.progress").index());
      EXPECT_EQ(d.told(reclaim_ended, 0), row.right || failed ? Ruling::fine : Ruling::broken);
      if (!row.right && !failed) EXPECT_EQ(d.rule(), "reclaim.clients");
    }
  }
}

TEST(SlowDevices, KeepThePageForItsClientUntilItIsClean) {
  enum class Then { written, released, written_twice };
  for (const Then then : {Then::written, Then::released, Then::written_twice}) {
    Driver d;
    EXPECT_EQ(d.call(program::ClientAdd{{ClientKind::dirty}, {1}, {GFP_KERNEL}}), Ruling::fine);
    EXPECT_EQ(d.told(client_granted, 0, 1, 1024), Ruling::fine);
    d.returned(1);
    d.call(program::AllocPage{Out{0}, {GFP_KERNEL}});
    d.told(reclaim_began, 0, 0, no_pfn, GFP_KERNEL);
    EXPECT_EQ(d.told(client_writing, 0, 0, 1024), Ruling::fine);
    if (then == Then::released) {
      EXPECT_EQ(d.told(client_released, 0, 1, 1024), Ruling::broken);
      EXPECT_EQ(d.rule(), "reclaim.writing");
      continue;
    }
    EXPECT_EQ(d.told(client_written, 0, 0, 1024), Ruling::fine);
    if (then == Then::written_twice) {
      EXPECT_EQ(d.told(client_written, 0, 0, 1024), Ruling::broken);
      EXPECT_EQ(d.rule(), "reclaim.writing");
      continue;
    }
    EXPECT_EQ(d.told(client_released, 0, 0, 1024), Ruling::fine) << "it is clean now: " << d.why();
    EXPECT_EQ(d.told(reclaim_ended, 1), Ruling::fine) << d.why();
  }
}

TEST(SlowDevices, WriteOnlyWhatIsDirty) {
  Driver d;
  EXPECT_EQ(d.call(program::ClientAdd{{ClientKind::clean}, {1}, {GFP_KERNEL}}), Ruling::fine);
  EXPECT_EQ(d.told(client_granted, 0, 0, 1024), Ruling::fine);
  d.returned(1);
  EXPECT_EQ(d.told(client_writing, 0, 0, 1024), Ruling::broken);
  EXPECT_EQ(d.rule(), "reclaim.writing");
}

// --- what a failure report shows
// --------------------------------------------------------------------------------------

TEST(FailureReports, ShowEveryZoneOnce) {
  enum class Wrong { nothing, none, one_missing, order, free, mark, uncalled };
  for (const Wrong wrong :
       {Wrong::nothing, Wrong::none, Wrong::one_missing, Wrong::order, Wrong::free, Wrong::mark, Wrong::uncalled}) {
    Driver d;
    d.shows_zones = false;
    d.take_everything();
    d.call(program::AllocPage{Out{63}, {subject::GFP_NOWAIT}});
    ASSERT_EQ(d.zones.size(), 2u);
    Ruling ruling = wrong == Wrong::uncalled ? Ruling::fine : d.report(ReportKind::allocation_failure);
    const auto show = [&](unsigned zone, std::uint64_t free) {
      if (ruling == Ruling::fine) ruling = d.show_zone(zone, free);
    };
    if (wrong == Wrong::order) show(1, d.oracle.free_pages(1));
    if (wrong == Wrong::mark) ++d.zones[0].mark_low;
    if (wrong != Wrong::none) show(0, d.oracle.free_pages(0) + (wrong == Wrong::free));
    if (wrong != Wrong::none && wrong != Wrong::one_missing) show(1, d.oracle.free_pages(1));
    if (ruling == Ruling::fine) ruling = d.refused();
    EXPECT_EQ(ruling, wrong == Wrong::nothing ? Ruling::fine : Ruling::broken) << static_cast<int>(wrong) << d.why();
    if (wrong != Wrong::nothing) EXPECT_EQ(d.rule(), "page.report.zones") << static_cast<int>(wrong);
  }
}

}  // namespace
}  // namespace memtorture::oracle::test
