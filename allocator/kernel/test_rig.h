// For tests of the allocator layers: a booted kernel, and everything that it says about itself, counted.
#pragma once

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "allocator/kernel/kernel.h"

namespace memtorture::kernel {

class Recorder final : public subject::PagesTrace, public machine::Witness {
 public:
  void reported(const machine::Context&, const machine::Report& report) override {
    reports.push_back(report);
    details.push_back(report.object != nullptr ? *report.object : machine::ObjectDetails{});
    details.back().cache = *names.emplace(details.back().cache).first;  // of a cache that may go
    reports.back().object = nullptr;                                    // gone when we return
  }
  void slept(const machine::Context&) override { ++sleeps; }
  void parked(Pfn, unsigned) override { ++parked_pages; }
  void refilled(Pfn, unsigned) override { ++refilled_pages; }
  void drained(Pfn, unsigned) override { ++drained_pages; }
  void client_granted(ClientKind, Pfn, unsigned) override { ++granted; }
  void client_released(ClientKind, Pfn) override { ++released; }
  void reclaim_began(gfp_t gfp) override { reclaims.push_back(gfp); }
  void reclaim_ended(std::uint32_t freed) override { reclaimed += freed; }
  void kswapd_woken(unsigned node) override {
    ++kswapd_wakes;
    nodes_woken |= 1u << node;
  }
  void io_started() override { ++ios; }
  void fs_called() override { ++fs_calls; }
  void fault_fired(machine::Site site) override { faults.push_back(site); }
  void oom_chose(unsigned process) override { victims.push_back(process); }
  void oom_killed(std::uint32_t pages) override { killed += pages; }
  void client_writing(Pfn) override { ++writing; }
  void client_written(Pfn) override { ++written; }
  void zone_shown(unsigned zone, std::uint64_t free, std::uint64_t min, std::uint64_t low,
                  std::uint64_t high) override {
    shown.push_back({zone, free, min, low, high});
  }
  void layer_requests(gfp_t gfp, unsigned order, int nid, std::uint64_t) override {
    requests.push_back({gfp, order, nid});
  }
  void layer_granted(Pfn pfn) override { requests.back().granted = pfn; }
  void layer_releases(Pfn pfn, unsigned order) override { releases.emplace_back(pfn, order); }

  struct Shown {
    std::uint64_t zone, free, min, low, high;
  };
  struct LayerRequest {  // of the object layers to the page layer
    gfp_t gfp;
    unsigned order;
    int nid;
    Pfn granted = machine::no_pfn;
  };

  std::size_t count(machine::ReportKind kind) const {
    return static_cast<std::size_t>(std::ranges::count(reports, kind, &machine::Report::kind));
  }

  std::vector<machine::Report> reports;
  std::vector<machine::ObjectDetails> details;  // of each report
  std::set<std::string> names;
  std::vector<gfp_t> reclaims;
  std::vector<machine::Site> faults;
  std::vector<LayerRequest> requests;
  std::vector<std::pair<Pfn, unsigned>> releases;
  std::vector<unsigned> victims;
  std::vector<Shown> shown;
  unsigned writing = 0, written = 0;
  unsigned sleeps = 0, parked_pages = 0, refilled_pages = 0, drained_pages = 0, granted = 0, released = 0;
  unsigned reclaimed = 0, kswapd_wakes = 0, nodes_woken = 0, ios = 0, fs_calls = 0, killed = 0;
};

class Rig {
 public:
  explicit Rig(const machine::Shape& shape, std::vector<fault::Rule> rules = {}) : rules_(std::move(rules)) {
    kernel.boot(shape, rules_, said, said);
  }
  explicit Rig(std::string_view shape) : Rig(machine::shape_named(shape).value()) {}

  // Runs f() on the machine as the only task, on CPU 0.
  template <class F>
  void alone(F f) {
    kernel.machine().run_alone([](void* arg) { (*static_cast<F*>(arg))(); }, &f);
  }

  std::uint64_t free_in(machine::ZoneKind kind) {
    std::uint64_t pages = 0;
    for (const auto& zone : kernel.zones()) pages += zone.kind == kind ? zone.nr_free_pages : 0;
    return pages;
  }
  machine::ZoneKind kind_of(Pfn pfn) { return kernel.allocator().zone_of(pfn).kind; }

  // The free lists as a sorted multiset of (first frame, order), implicit blocks spelled out.
  using FreeSet = std::multiset<std::pair<Pfn, unsigned>>;
  FreeSet free_set() {
    struct Collect {
      FreeSet set;
      unsigned order;
    } collect{{}, 0};
    const auto add = [](void* arg, Pfn first, std::uint64_t blocks) {
      auto& [set, order] = *static_cast<Collect*>(arg);
      for (std::uint64_t i = 0; i != blocks; ++i) set.emplace(static_cast<Pfn>(first + (i << order)), order);
    };
    for (unsigned zone = 0; zone != kernel.zones().size(); ++zone) {
      for (collect.order = 0; collect.order != kernel.machine().shape().orders; ++collect.order) {
        kernel.for_each_free(zone, collect.order, add, &collect);
      }
    }
    return collect.set;
  }

  Recorder said;
  Kernel kernel;

 private:
  std::vector<fault::Rule> rules_;
};

}  // namespace memtorture::kernel
