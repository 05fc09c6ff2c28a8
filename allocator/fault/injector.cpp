#include "allocator/fault/injector.h"

#include <cstdlib>

namespace memtorture::fault {

using machine::Move;
using machine::Option;

void Injector::reset(std::span<const Rule> rules, Listener& listener) {
  if (rules.size() > rules_max) std::abort();  // the case language refuses such a case long before
  rules_ = rules;
  listener_ = &listener;
  for (auto& stuck : stuck_) stuck.store(false, std::memory_order_relaxed);
  for (std::size_t i = 0; i != rules.size(); ++i) counters_[i].reset(rules[i]);
}

bool Injector::visit(machine::Site site, std::uint64_t size, subject::gfp_t gfp, unsigned order) {
  const machine::Context& me = machine::current();
  const Call call{
      .size = size, .gfp = gfp, .order = order, .who = me.id, .cpu = me.cpu, .kind = me.kind, .caller = me.caller};
  if (!injectable(call)) return false;  // not a visit either: fail-nth counts eligible points only
  const auto nth = static_cast<std::uint16_t>(machine::visit(site));
  const machine::Moment moment{.who = me.id, .op = me.op, .site = site, .visit = nth};
  const bool stuck = stuck_[site.index()].load(std::memory_order_relaxed);
  if (!stuck && !chosen(moment) && !ruled(site, call, moment)) return false;
  listener_->fired(site);
  return true;
}

bool Injector::chosen(const machine::Moment& moment) {
  machine::Chooser* const chooser = machine::this_machine().chooser();
  if (chooser == nullptr || !chooser->interested(moment)) return false;
  const Option options[] = {{.move = Move::go_on}, {.move = Move::fail}, {.move = Move::fail_from}};
  const std::uint32_t choice = chooser->choose(moment, options);
  if (choice == 0) return false;
  if (choice == 2) stuck_[moment.site.index()].store(true, std::memory_order_relaxed);
  machine::this_machine().record({.at = moment, .take = options[choice]});
  return true;
}

bool Injector::ruled(machine::Site site, const Call& call, const machine::Moment& moment) {
  machine::Chooser* const chooser = machine::this_machine().chooser();
  for (std::size_t i = 0; i != rules_.size(); ++i) {
    machine::Moment thrown_at = moment;
    thrown_at.op ^= rules_[i].seed;  // each seed is another set of dice
    const auto roll = [&](std::uint32_t percent) { return chooser != nullptr && chooser->roll(thrown_at, percent); };
    if (rules_[i].site == site && decide(rules_[i], counters_[i], call, roll)) return true;
  }
  return false;
}

}  // namespace memtorture::fault
