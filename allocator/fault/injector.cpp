#include "allocator/fault/injector.h"

#include <cstdlib>

namespace memtorture::fault {

using machine::Move;
using machine::Option;

void Injector::reset(std::span<const Rule> rules, Listener& listener) {
  if (rules.size() > rules_max) std::abort();  // the case language refuses such a case long before
  rules_ = rules;
  listener_ = &listener;
  for (std::size_t i = 0; i != rules.size(); ++i) counters_[i].reset(rules[i]);
}

bool Injector::visit(machine::Site site, std::uint64_t size, subject::gfp_t gfp, unsigned order) {
  const machine::Context& me = machine::current();
  const Call call{.size = size, .gfp = gfp, .order = order, .who = me.id};
  if (!injectable(call)) return false;  // not a visit either: fail-nth counts eligible points only
  const auto nth = static_cast<std::uint16_t>(machine::visit(site));
  const machine::Moment moment{.who = me.id, .op = me.op, .site = site, .visit = nth};
  if (!chosen(moment) && !ruled(site, call, moment)) return false;
  listener_->fired(site);
  return true;
}

bool Injector::chosen(const machine::Moment& moment) {
  machine::Chooser* const chooser = machine::this_machine().chooser();
  if (chooser == nullptr || !chooser->interested(moment)) return false;
  const Option options[] = {{.move = Move::go_on}, {.move = Move::fail}};
  if (chooser->choose(moment, options) == 0) return false;
  machine::this_machine().record({.at = moment, .take = options[1]});
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
