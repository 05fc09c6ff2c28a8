// What to do next, and the books of what the program owns. What each action writes is in author_actions.cpp.
#include "model/program/author.h"

#include <algorithm>

#include "model/program/random_parts.h"

namespace memtorture::program {
namespace {

using namespace subject;

constexpr std::uint32_t default_weights[actions] = {
    /*alloc*/ 30,
    /*alloc_large*/ 12,
    /*alloc_node*/ 6,
    /*alloc_address*/ 10,
    /*alloc_exact*/ 6,
    /*alloc_too_big*/ 2,
    /*release*/ 34,
    /*references*/ 8,
    /*split*/ 5,
    /*contents*/ 12,
    /*look*/ 6,
    /*burst*/ 3,
    /*drain*/ 3,
    /*min_free*/ 2,
    /*clients*/ 6,
    /*whole_again*/ 2,
    /*section*/ 8,
    /*scope*/ 4,
    /*mutex*/ 3,
    /*sleep*/ 4,
    /*stack*/ 24,
    /*cpus*/ 2,
    /*object*/ 40,
    /*object_burst*/ 5,
    /*object_release*/ 40,
    /*object_use*/ 16,
    /*object_move*/ 8,
    /*object_hand_over*/ 5,
    /*object_odd*/ 3,
    /*cache*/ 12,
    /*pool*/ 10,
    /*percpu*/ 40};

std::uint64_t pages_of(std::uint8_t order) {
  return std::uint64_t{1} << std::min<unsigned>(order, machine::orders_max);
}

}  // namespace

Style random_style(Random& random, const machine::Shape& shape) {
  const bool has_objects = shape.objects != machine::ObjectLayer::none;
  // Where there are objects, pages are often only what they are made of.
  const bool pages_too = !has_objects || random.percent(60);
  Style style;
  for (std::size_t i = 0; i < actions; ++i) {
    style.weights[i] = default_weights[i];
    if (random.percent(30)) style.weights[i] = 0;
    if (random.percent(20)) style.weights[i] *= 6;
    if (i >= first_object_action && !has_objects) style.weights[i] = 0;
    if (i == static_cast<std::size_t>(Action::percpu) && shape.percpu == machine::Toggle::off) style.weights[i] = 0;
    if (i < static_cast<unsigned>(Action::clients) && !pages_too) style.weights[i] = 0;
  }
  if (shape.cpus == 1) style.weights[static_cast<unsigned>(Action::cpus)] = 0;
  if (shape.stack_bytes == 0) style.weights[static_cast<unsigned>(Action::stack)] = 0;
  if (has_objects) style.weights[first_object_action] += default_weights[first_object_action] / 4;
  if (shape.reap == machine::Toggle::on) style.weights[static_cast<unsigned>(Action::sleep)] += 12;
  // Something must be allocated, or nothing is ever tried.
  if (pages_too &&
      style.weights[static_cast<unsigned>(Action::alloc)] + style.weights[static_cast<unsigned>(Action::alloc_large)] ==
          0) {
    style.weights[static_cast<unsigned>(Action::alloc)] = default_weights[0];
  }
  style.burst_max = random.percent(25) ? 300 : 48;
  return style;
}

void Author::act() {
  std::uint32_t sum = 0;
  for (const std::uint32_t weight : style_.weights) sum += weight;
  for (unsigned tries = 0; tries < 8; ++tries) {
    std::uint32_t dice = random_.below(sum);
    std::size_t chosen = 0;
    while (dice >= style_.weights[chosen]) dice -= style_.weights[chosen++];
    if (perform(static_cast<Action>(chosen))) return;
  }
  if (has_objects()) return own_object(some_size(), false);
  alloc(0);
}

bool Author::perform(Action action) {
  const bool owns = !owned_.empty();
  switch (action) {
    case Action::alloc: alloc(small_order()); return true;
    case Action::alloc_large: alloc(static_cast<std::uint8_t>(random_.below(case_.shape.orders))); return true;
    case Action::alloc_node: alloc_node(); return true;
    case Action::alloc_address: alloc_address(); return true;
    case Action::alloc_exact: alloc_exact(); return true;
    case Action::alloc_too_big: alloc_too_big(); return true;
    case Action::release:
      if (owns) release_one();
      return owns;
    case Action::references:
      if (owns) references();
      return owns;
    case Action::split:
      if (owns) split();
      return owns;
    case Action::contents:
      if (owns) contents();
      return owns;
    case Action::look: look(); return true;
    case Action::burst:
      if (is_task() && sections_ == 0) burst();
      return is_task() && sections_ == 0;
    case Action::drain: drain(); return true;
    case Action::min_free:
      if (is_sleepable()) min_free();
      return is_sleepable();
    case Action::clients:
      if (is_sleepable()) clients();
      return is_sleepable();
    case Action::whole_again:
      if (is_sleepable()) whole_again();
      return is_sleepable();
    case Action::section:
      if (sections_ < 3) section();
      return sections_ < 3;
    case Action::scope:
      if (is_task() && sections_ < 3) scope();
      return is_task() && sections_ < 3;
    case Action::mutex:
      if (is_sleepable()) mutex();
      return is_sleepable();
    case Action::sleep:
      if (is_sleepable()) sleep();
      return is_sleepable();
    case Action::cpus:
      if (is_sleepable()) cpus();
      return is_sleepable();
    case Action::stack: return perform_on_stacks();
    case Action::percpu: return perform_on_percpu();
    default: return perform_on_objects(action);
  }
}

Slot Author::fresh() { return add_slot(case_); }

Slot Author::granted(std::uint8_t order, gfp_t gfp) {
  const Slot slot = fresh();
  emit(AllocPages{{slot}, {gfp}, {order}});
  return slot;
}

void Author::own(Block block) {
  style_.pages_taken += pages_of(block.order);
  owned_.push_back(block);
}

Author::Block Author::disown(std::size_t index) {
  const Block block = owned_[index];
  owned_.erase(owned_.begin() + static_cast<std::ptrdiff_t>(index));
  style_.pages_taken -= std::min(style_.pages_taken, pages_of(block.order));
  return block;
}

// One reference less, by a call that fits the block.
void Author::drop(const Block& block) {
  const std::uint32_t dice = random_.below(10);
  if (block.form == Form::exact) return emit(FreePagesExact{block.in, {block.bytes}});
  const bool is_unit = block.order == 0 || block.is_compound;  // put_page frees all of it
  if (is_unit && dice < 2) return emit(PutPage{block.in});
  if (block.order == 0 && dice < 4) return emit(FreePageOf{block.in});
  if (block.order == 0 && block.is_low && dice < 6) return emit(FreePage{block.in});
  if (block.is_low && dice < 8) return emit(FreePages{block.in, {block.order}});
  emit(FreePagesOf{block.in, {block.order}});
}

void Author::free_all_parts(Block block) {
  for (; block.references > 0; --block.references) drop(block);
}

void Author::settle() {
  const std::uint32_t kept = random_.percent(60) ? 0 : 50;
  while (!owned_.empty()) {
    const Block block = disown(random_.percent(50) ? owned_.size() - 1 : some_block());
    if (!random_.percent(kept)) free_all_parts(block);
  }
  settle_stacks();
  for (std::size_t i = areas_.size(); i-- != 0;) {
    if (!random_.percent(kept)) give_back_area(i);
  }
  while (!objects_.empty()) {
    const std::size_t index = random_.percent(50) ? objects_.size() - 1 : some_object();
    const OwnObject object = objects_[index];
    objects_.erase(objects_.begin() + static_cast<std::ptrdiff_t>(index));
    if (!random_.percent(kept)) give_back(object);
  }
}

}  // namespace memtorture::program
