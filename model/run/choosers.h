// Choosers that every front end needs. (Search strategies live in stress/explore.)
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "allocator/machine/chooser.h"
#include "model/program/edits.h"

namespace memtorture::run {

// Run to completion, no faults, no interrupts before the end.
class StraightChooser final : public machine::Chooser {
 public:
  bool may_depart() const override { return false; }
  bool interested(const machine::Moment&) override { return false; }
  std::uint32_t choose(const machine::Moment&, std::span<const machine::Option>) override { return 0; }
  bool roll(const machine::Moment&, std::uint32_t) override { return false; }
  void restart() override {}
};

// Takes exactly the departures of a schedule, where they still apply; dice are derived from the moment, so that
// deleting an operation does not change the luck of the others.
class ReplayChooser final : public machine::Chooser {
 public:
  explicit ReplayChooser(std::span<const machine::Departure> schedule);  // sorted by `at`; kept by reference
  bool may_depart() const override { return !schedule_.empty(); }
  bool interested(const machine::Moment& moment) override {
    return !schedule_.empty() && find(moment) != schedule_.size();
  }
  std::uint32_t choose(const machine::Moment& moment, std::span<const machine::Option> options) override;
  bool roll(const machine::Moment& moment, std::uint32_t percent) override;
  void restart() override;
  std::int64_t first_missed() const;  // index into the schedule of the first departure not taken; -1: all were

 private:
  std::span<const machine::Departure> schedule_;
  std::vector<std::uint8_t> taken_;
  std::size_t find(const machine::Moment& moment) const;
};

// Departs at random, on top of a schedule that is followed first. Rates differ from seed to seed: some runs hardly ever
// switch, some at every point; some inject many faults, some none (swarm).
struct RandomRates {
  std::uint32_t switch_permille = 60;
  std::uint32_t fault_permille = 0;
  bool migrations = true;                   // without them every task keeps to its CPU
  std::uint64_t sites = ~std::uint64_t{0};  // bit = Site::index(): where it departs at all (faults: everywhere)
};
class RandomChooser final : public machine::Chooser {
 public:
  RandomChooser(std::uint64_t seed, RandomRates rates, std::span<const machine::Departure> schedule = {});
  static RandomRates swarm_rates(std::uint64_t seed);
  // With rates of 0 and no schedule the run is a straight one, which takes the subject's short ways, too.
  bool may_depart() const override {
    return rates_.switch_permille != 0 || rates_.fault_permille != 0 || schedule_.may_depart();
  }
  bool interested(const machine::Moment& moment) override;
  std::uint32_t choose(const machine::Moment& moment, std::span<const machine::Option> options) override;
  bool roll(const machine::Moment& moment, std::uint32_t percent) override;
  void restart() override;

 private:
  std::uint32_t points_until(std::uint32_t permille);  // geometric: how many to let pass

  std::uint64_t seed_;
  RandomRates rates_;
  program::Random random_;
  std::uint32_t quiet_points_ = 0, quiet_faults_ = 0;
  bool scheduled_ = false;  // the answer to come is the schedule's, not ours
  ReplayChooser schedule_;
};

}  // namespace memtorture::run
