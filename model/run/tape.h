// The tape: where events go. On fibers every event is judged as it happens; on threads each context writes a log of its
// own, stamped with a relaxed ticket, and the logs are merged and judged after the join. A lock here would order
// exactly the accesses whose races the thread engine is there to find.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "allocator/subject/objects.h"
#include "allocator/subject/pages.h"
#include "model/oracle/oracle.h"
#include "model/run/run.h"

namespace memtorture::run {

using machine::Pfn;

class Tape final : public machine::Witness, public subject::PagesTrace {
 public:
  explicit Tape(oracle::Oracle& oracle) : oracle_(oracle) {}

  void start(const Case& the_case, const Options& options, Outcome& outcome, machine::Machine& machine);
  // From here on requests of the object layer for pages tell what it had left. Not where CPUs are host threads: nobody
  // may look at structures that others are changing.
  void look_at(subject::ObjectsView* view) { objects_view_ = machine::Machine::concurrent() ? nullptr : view; }
  void begin_programs() { logging_ = machine::Machine::concurrent(); }  // after judge_logs()
  void judge_logs();                                                    // threads: after the join

  // An event of the running context with its place filled in.
  static Event here(oracle::EventKind kind);
  void emit(const Event& event);
  bool is_over() const { return over_; }
  // The oracle or the harness has ruled: sets the verdict (the first one counts) and ends the run.
  void conclude(oracle::Ruling ruling);

  // machine::Witness
  void reported(const machine::Context& context, const machine::Report& report) override;
  void slept(const machine::Context& context) override;
  void panicked(const machine::Context& context, machine::PanicKind kind) override;
  void locked(const machine::Context& context, machine::LockClass taken, machine::LockSet under,
              std::uint8_t use) override;
  // subject::PagesTrace
  void parked(Pfn page, unsigned cpu) override { placed(oracle::EventKind::parked, page, cpu); }
  void refilled(Pfn page, unsigned cpu) override { placed(oracle::EventKind::refilled, page, cpu); }
  void drained(Pfn page, unsigned cpu) override { placed(oracle::EventKind::drained, page, cpu); }
  void client_granted(subject::ClientKind kind, Pfn page, unsigned process) override {
    client(oracle::EventKind::client_granted, kind, page, process);
  }
  void client_released(subject::ClientKind kind, Pfn page) override {
    client(oracle::EventKind::client_released, kind, page);
  }
  void client_writing(Pfn page) override { client(oracle::EventKind::client_writing, {}, page); }
  void client_written(Pfn page) override { client(oracle::EventKind::client_written, {}, page); }
  void reclaim_began(subject::gfp_t gfp) override;
  void reclaim_ended(std::uint32_t freed) override;
  void kswapd_woken(unsigned node) override { valued(oracle::EventKind::kswapd_woken, node); }
  void io_started() override { valued(oracle::EventKind::io_started, 0); }
  void fs_called() override { valued(oracle::EventKind::fs_called, 0); }
  void fault_fired(machine::Site site) override;
  void oom_chose(unsigned process) override { valued(oracle::EventKind::oom_chose, process); }
  void oom_exited(unsigned process) override { valued(oracle::EventKind::oom_exited, process); }
  void oom_killed(std::uint32_t pages) override { valued(oracle::EventKind::oom_killed, pages); }
  void zone_shown(unsigned zone, std::uint64_t free, std::uint64_t min, std::uint64_t low, std::uint64_t high) override;
  void layer_requests(subject::gfp_t gfp, unsigned order, int nid, std::uint64_t cache) override;
  void layer_granted(Pfn first) override;
  void layer_releases(Pfn first, unsigned order) override;
  void layer_released() override { emit(here(oracle::EventKind::layer_released)); }
  void shrink_began(subject::gfp_t gfp) override;
  void shrink_ended(std::uint32_t freed) override { valued(oracle::EventKind::shrink_ended, freed); }
  void work_began() override;
  void work_ended() override { emit(here(oracle::EventKind::work_ended)); }

 private:
  struct Logged {
    std::uint64_t ticket;
    Event event;
  };
  struct Growth {  // a cache is asking for pages
    subject::CacheHandle cache = subject::no_cache;
    int nid = -1;
    bool anywhere = false;  // not on that node alone
    bool refused = false;
  };
  std::uint8_t in_reach(const Growth& growth) const;
  void placed(oracle::EventKind kind, Pfn page, unsigned cpu);
  void client(oracle::EventKind kind, subject::ClientKind client, Pfn page, unsigned process = 0);
  void valued(oracle::EventKind kind, std::uint64_t value);
  void judge(const Event& event);
  void count(const Event& event);
  std::vector<Logged>& log_of(ContextId who);

  oracle::Oracle& oracle_;
  const Case* case_ = nullptr;
  Outcome* outcome_ = nullptr;
  machine::Machine* machine_ = nullptr;
  subject::ObjectsView* objects_view_ = nullptr;
  std::array<Growth, program::programs_max + 1> growths_{};  // by program; the harness's last
  Options options_;
  bool over_ = false;
  bool logging_ = false;
  std::vector<std::vector<Logged>> logs_;
  std::atomic<std::uint64_t> tickets_{0};
};

}  // namespace memtorture::run
