// Where a run could be steered, and where it was: every site, by what may happen there.
//
// At a site a task may be preempted by another one of its CPU, move to another CPU, or be interrupted by a handler of
// each kind; or another CPU may move. What was offered was possible there at least once; what was taken was tried.
// A site that offers nothing is one whose surroundings forbid it (interrupts off, a lock held), or one that the cases
// never reached with somebody there to take the offer.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "allocator/machine/machine.h"
#include "model/program/case.h"

namespace memtorture::run {

enum class Way : std::uint8_t { other_cpu, preempt, migrate, softirq, hardirq, nmi };
inline constexpr unsigned ways = static_cast<unsigned>(Way::nmi) + 1;
inline constexpr std::string_view way_names[ways] = {"other cpu", "preempt", "migrate", "softirq", "hardirq", "nmi"};

struct PointCoverage {
  using Counts = std::array<std::array<std::uint64_t, ways>, machine::site_count>;
  Counts offered{}, taken{};
};

// Asks another chooser and keeps the books. Fiber engine only: threads do not ask.
class CoverageChooser final : public machine::Chooser {
 public:
  CoverageChooser(machine::Chooser& inner, const program::Case& the_case, PointCoverage& coverage)
      : inner_(inner), case_(the_case), coverage_(coverage) {}

  bool interested(const machine::Moment& moment) override;
  std::uint32_t choose(const machine::Moment& moment, std::span<const machine::Option> options) override;
  bool roll(const machine::Moment& moment, std::uint32_t percent) override { return inner_.roll(moment, percent); }
  void restart() override { inner_.restart(); }

 private:
  void count(PointCoverage::Counts& counts, machine::Site site, const machine::Option& option) const;

  machine::Chooser& inner_;
  const program::Case& case_;
  PointCoverage& coverage_;
  bool asked_ = false;  // the inner one wants to choose
};

// Why nothing of a kind can happen at a site, whatever the case. Empty: it can.
std::string_view why_never(machine::Site site, Way way);

}  // namespace memtorture::run
