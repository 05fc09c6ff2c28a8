// Every function in every context: the cell's case gives the cell's answer; the table is complete and in the README.
#include "model/run/context_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>

#include "model/program/op_table.h"
#include "model/program/text.h"
#include "model/run/run.h"

namespace memtorture::run {
using machine::ReportKind;

namespace {

bool told(const Outcome& outcome, ReportKind kind) {
  return std::ranges::any_of(outcome.history, [&](const Event& event) {
    return event.kind == oracle::EventKind::reported && event.detail == static_cast<std::uint8_t>(kind);
  });
}

TEST(ContextTable, EveryCellIsProved) {
  if (machine::Machine::concurrent()) GTEST_SKIP() << "schedules are for the deterministic engine";
  Runner runner;
  unsigned cells = 0;
  for (const CallRow& row : call_table()) {
    for (unsigned i = 0; i != places; ++i) {
      const auto place = static_cast<Place>(i);
      const Answer due = answer(row, place);
      const std::string text = cell_text(row, place);
      const auto parsed = program::parse(text);
      ASSERT_TRUE(parsed.has_value()) << parsed.error().message("cell") << "\n" << text;
      const Outcome& outcome = runner.replay(*parsed, {.keep = Keep::history, .audit_every = 1});
      const bool called = std::ranges::any_of(
          outcome.history, [&](const Event& event) { return event.kind == oracle::EventKind::skipped; });
      EXPECT_FALSE(called) << "something was skipped\n" << text;
      EXPECT_TRUE(as_expected(parsed->expect, outcome))
          << place_name(place) << ": " << outcome.finding.rule << " (" << outcome.finding.detail << ")\n"
          << text;
      // Whoever enters the allocator from NMI is told so, and nothing else; K26's caches have a word for interrupts.
      const bool machines = row.function == "smp_processor_id" || row.function == "spin_lock_bh";
      if (due == Answer::bug && !machines && place == Place::nmi) EXPECT_EQ(outcome.finding.rule, "nmi-entry") << text;
      if (due == Answer::bug && row.function.starts_with("kmem_cache_") && place != Place::nmi)
        EXPECT_TRUE(told(outcome, ReportKind::bad_cache)) << text;
      ++cells;
    }
  }
  EXPECT_GT(cells, 700u);
}

TEST(ContextTable, EveryOperationDeclares) {
  constexpr std::string_view not_functions[] = {
      // what a case has in place of a kernel function
      "wild_page", "fill", "check", "peek", "poke", "blemish", "forget", "link", "free_null", "kfree_null",
      "free_percpu_null", "per_cpu_var", "ptr_add", "per_cpu_add", "kfree_s", "client_add", "client_drop",
      "client_touch", "set_process", "set_min_free_kbytes", "do_exit", "irq_exit", "spin_unlock_unheld",
      "mutex_unlock_unheld",
      // the other half of a pair
      "preempt_disable", "preempt_enable", "local_irq_save", "local_irq_restore", "local_bh_disable", "local_bh_enable",
      "rcu_read_lock", "rcu_read_unlock", "spin_unlock", "spin_unlock_irqrestore", "spin_unlock_bh", "mutex_unlock",
      "memalloc_noio_save", "memalloc_noio_restore", "memalloc_nofs_save", "memalloc_nofs_restore",
      "memalloc_noreclaim_save", "memalloc_noreclaim_restore"};
  std::set<std::string_view> declared(std::begin(not_functions), std::end(not_functions));
  for (const CallRow& row : call_table()) {
    const auto parsed = program::parse(cell_text(row, Place::process));
    ASSERT_TRUE(parsed.has_value()) << row.function;
    for (const program::Op& op : parsed->programs[0].ops) declared.insert(program::name_of(op));
  }
  for (const std::string_view name : program::op_names)
    EXPECT_TRUE(declared.contains(name)) << name << ": say in context_table.cpp where it may be called";
}

TEST(ContextTable, TheReadmeHasIt) {
  std::ifstream file(std::string(MT_SOURCE_DIR) + "/model/README.md");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  EXPECT_NE(text.find(call_table_text()), std::string::npos) << "memtorture list contexts --markdown prints it";
}

}  // namespace
}  // namespace memtorture::run
