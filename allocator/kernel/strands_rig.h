// For tests of layers with several contexts: dice that steer the fiber engine, a witness that host threads may call at
// the same time, and strands out of callables.
//
// On fibers the dice decide at every point and a seed is a run; on threads the host decides, and the dice only seed the
// CPUs' own random numbers.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <list>
#include <vector>

#include "allocator/kernel/kernel.h"

namespace memtorture::kernel {

struct SplitMix {
  std::uint64_t state;
  std::uint64_t operator()() {
    std::uint64_t z = (state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t n) { return (*this)() % n; }
};

class Dice final : public machine::Chooser {
 public:
  explicit Dice(std::uint64_t seed) : seed_(seed), random_{seed} {}
  bool interested(const machine::Moment& moment) override { return !moment.site.is_fault() && random_.below(4) == 0; }
  std::uint32_t choose(const machine::Moment&, std::span<const machine::Option> options) override {
    return static_cast<std::uint32_t>(random_.below(options.size()));
  }
  bool roll(const machine::Moment&, std::uint32_t percent) override { return random_.below(100) < percent; }
  void restart() override { random_.state = seed_; }

 private:
  std::uint64_t seed_;
  SplitMix random_;
};

// Counts what is said, and keeps nothing that two host threads could write at once.
class Tally final : public subject::PagesTrace, public machine::Witness {
 public:
  void reported(const machine::Context&, const machine::Report& report) override {
    ++reports;
    ++kinds_[static_cast<unsigned>(report.kind)];
  }
  void slept(const machine::Context&) override { ++sleeps; }
  void parked(Pfn, unsigned) override {}
  void refilled(Pfn, unsigned) override {}
  void drained(Pfn, unsigned) override {}
  void client_granted(ClientKind, Pfn, unsigned) override {}
  void client_released(ClientKind, Pfn) override {}
  void reclaim_began(gfp_t) override {}
  void reclaim_ended(std::uint32_t) override {}
  void kswapd_woken(unsigned) override {}
  void io_started() override {}
  void fs_called() override {}
  void fault_fired(machine::Site) override { ++faults; }
  void oom_killed(std::uint32_t) override {}
  void layer_granted(Pfn pfn) override { blocks += pfn != machine::no_pfn ? 1 : 0; }
  void layer_releases(Pfn, unsigned) override { --blocks; }

  unsigned count(machine::ReportKind kind) const { return kinds_[static_cast<unsigned>(kind)]; }

  std::atomic<unsigned> reports{0}, sleeps{0}, faults{0};
  std::atomic<int> blocks{0};  // that layers above pages hold

 private:
  std::array<std::atomic<unsigned>, machine::report_kinds> kinds_{};
};

// The strands of one run. A body is what its context does, once.
class Cast {
 public:
  Cast& add(machine::ContextKind kind, unsigned cpu, std::function<void()> body, std::uint32_t flags = 0) {
    bodies_.push_back(std::move(body));
    strands_.push_back({.id = static_cast<machine::ContextId>(strands_.size()),
                        .kind = kind,
                        .cpu = static_cast<std::uint8_t>(cpu),
                        .flags = flags,
                        .body = [](void* arg) { (*static_cast<std::function<void()>*>(arg))(); },
                        .arg = &bodies_.back()});
    return *this;
  }
  Cast& task(unsigned cpu, std::function<void()> body, std::uint32_t flags = 0) {
    return add(machine::ContextKind::task, cpu, std::move(body), flags);
  }
  machine::StopReason run(Kernel& kernel, machine::Chooser& chooser) {
    return kernel.machine().run(strands_, chooser, {}).reason;
  }
  machine::StopReason run(Kernel& kernel, std::uint64_t seed) {
    Dice dice(seed);
    return run(kernel, dice);
  }
  // Each strand to its end, or until it blocks, in order.
  machine::StopReason run(Kernel& kernel) {
    struct Default final : machine::Chooser {
      bool may_depart() const override { return false; }
      bool interested(const machine::Moment&) override { return false; }
      std::uint32_t choose(const machine::Moment&, std::span<const machine::Option>) override { return 0; }
      bool roll(const machine::Moment&, std::uint32_t) override { return false; }
      void restart() override {}
    } chooser;
    return run(kernel, chooser);
  }

 private:
  std::list<std::function<void()>> bodies_;  // a list: strands point into it
  std::vector<machine::Strand> strands_;
};

}  // namespace memtorture::kernel
