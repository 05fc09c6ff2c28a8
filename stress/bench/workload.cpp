#include "stress/bench/workload.h"

#include <string>

#include "model/program/edits.h"

namespace memtorture::bench {

using namespace program;

machine::Shape shape(std::string_view name, unsigned cpus) {
  machine::Shape shape = *machine::shape_named(name);
  shape.cpus = static_cast<std::uint8_t>(cpus);
  return shape;
}

namespace {

Program mixed_program(std::uint32_t task, const Mix& mix, Slot first_slot) {
  Program program{.name = "t" + std::to_string(task), .cpu = static_cast<std::uint8_t>(task), .ops = {}};
  program.ops.reserve(mix.operations);
  Random random(task + 1);
  std::vector<int> order_of(mix.live, -1);  // -1: empty
  for (std::uint32_t i = 0; i != mix.operations; ++i) {
    const auto at = static_cast<Slot>(random.below(mix.live));
    const auto slot = static_cast<Slot>(first_slot + at);
    if (order_of[at] >= 0) {
      program.ops.push_back(FreePagesOf{{slot, 0}, {static_cast<std::uint8_t>(order_of[at])}});
      order_of[at] = -1;
      continue;
    }
    order_of[at] = mix.orders && random.percent(20) ? static_cast<int>(1 + random.below(3)) : 0;
    program.ops.push_back(
        AllocPages{{slot}, {subject::GFP_KERNEL | subject::gfp_noretry}, {static_cast<std::uint8_t>(order_of[at])}});
  }
  return program;
}

}  // namespace

Case mixed_case(const machine::Shape& shape, const Mix& mix) {
  Case the_case;
  the_case.shape = shape;
  for (std::uint32_t slot = 0; slot != mix.tasks * mix.live; ++slot)
    the_case.slot_names.push_back("s" + std::to_string(slot));
  for (std::uint32_t task = 0; task != mix.tasks; ++task) {
    the_case.programs.push_back(mixed_program(task, mix, static_cast<Slot>(task * mix.live)));
  }
  return the_case;
}

Case six_operations() {
  return mixed_case(shape("tiny-32", 2), {.operations = 3, .live = 2, .tasks = 2, .orders = true});
}

Case fifty_operations() {
  Case the_case = mixed_case(shape("tiny-32", 2), {.operations = 23, .live = 8, .tasks = 2, .orders = true});
  Program handler =
      mixed_program(0, {.operations = 4, .live = 1, .orders = false}, static_cast<Slot>(the_case.slot_names.size()));
  the_case.slot_names.push_back("h");
  handler.name = "h";
  handler.kind = machine::ContextKind::hardirq;
  for (Op& op : handler.ops) {
    if (auto* allocation = std::get_if<AllocPages>(&op)) allocation->gfp.bits = subject::GFP_ATOMIC;
  }
  the_case.programs.push_back(std::move(handler));
  return the_case;
}

}  // namespace memtorture::bench
