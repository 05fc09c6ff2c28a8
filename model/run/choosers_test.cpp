// The random chooser departs where its rates say, and nowhere else.
#include "model/run/choosers.h"

#include <gtest/gtest.h>

#include <set>

namespace memtorture::run {
namespace {

using machine::Moment;
using machine::Move;
using machine::Option;
using machine::Site;

constexpr std::uint32_t always = 1000;

Moment at(Site site, std::uint16_t visit) { return {.who = 0, .op = 0, .site = site, .visit = visit}; }

TEST(RandomChooser, DepartsOnlyAtItsSites) {
  const Site chosen = "slab.lock", other = "op";
  RandomChooser chooser(1, {.switch_permille = always, .sites = std::uint64_t{1} << chosen.index()});
  unsigned there = 0;
  for (std::uint16_t visit = 1; visit != 100; ++visit) {
    EXPECT_FALSE(chooser.interested(at(other, visit)));
    there += chooser.interested(at(chosen, visit)) ? 1 : 0;
  }
  EXPECT_GT(there, 30U);
}

TEST(RandomChooser, FaultsAreEverywhere) {
  RandomChooser chooser(1, {.switch_permille = 0, .fault_permille = always, .sites = 0});
  unsigned fired = 0;
  for (std::uint16_t visit = 1; visit != 100; ++visit) fired += chooser.interested(at("page.alloc", visit)) ? 1 : 0;
  EXPECT_GT(fired, 30U);
}

std::set<Move> moves_taken(bool migrations, std::span<const Option> options) {
  RandomChooser chooser(1, {.switch_permille = always, .migrations = migrations});
  std::set<Move> taken;
  for (std::uint16_t visit = 1; visit != 200; ++visit) {
    if (chooser.interested(at("op", visit))) taken.insert(options[chooser.choose(at("op", visit), options)].move);
  }
  return taken;
}

TEST(RandomChooser, KeepsTasksToTheirCpus) {
  const Option options[] = {{}, {Move::migrate, 1}, {Move::switch_to, 1}, {Move::migrate, 2}, {Move::deliver, 2}};
  EXPECT_EQ(moves_taken(false, options), (std::set{Move::switch_to, Move::deliver}));
  EXPECT_EQ(moves_taken(true, options), (std::set{Move::switch_to, Move::deliver, Move::migrate}));
  EXPECT_EQ(moves_taken(false, std::span(options).first(2)), std::set{Move::go_on}) << "nothing else is possible";
}

TEST(RandomChooser, TheSwarmHasEveryTaste) {
  std::set<std::uint64_t> sites;
  std::set<bool> migrations;
  for (std::uint64_t seed = 0; seed != 100; ++seed) {
    const RandomRates rates = RandomChooser::swarm_rates(seed);
    sites.insert(rates.sites);
    migrations.insert(rates.migrations);
    EXPECT_NE(rates.sites & std::uint64_t{1} << Site("slab.lock").index(), 0U);
  }
  EXPECT_EQ(sites.size(), 3U);
  EXPECT_EQ(migrations.size(), 2U);
}

}  // namespace
}  // namespace memtorture::run
