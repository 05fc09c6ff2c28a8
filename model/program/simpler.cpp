// Simpler values, for shrinking. Every candidate has a smaller weight than what it replaces (complexity() in
// simpler.h), so taking candidates one after another ends.
#include "model/program/simpler.h"

#include <algorithm>
#include <bit>

#include "model/program/edits.h"
#include "model/program/op_table.h"
#include "model/program/shape_knobs.h"

namespace memtorture::program {
namespace {

using machine::Shape;

// --- weight of a field value: 0 for the simplest
std::uint64_t weight(Out) { return 0; }
std::uint64_t weight(In in) { return in.offset; }
std::uint64_t weight(Of) { return 0; }
std::uint64_t weight(Align align) { return align.value; }
std::uint64_t weight(SlabFlags flags) { return static_cast<std::uint64_t>(std::popcount(flags.bits)); }
std::uint64_t weight(Order order) { return order.value; }
std::uint64_t weight(Node node) { return static_cast<std::uint64_t>(node.value + 1); }
std::uint64_t weight(Bytes bytes) {
  return bytes.value == 0 ? 2 : bytes.value - 1;
}  // 1 is simplest: 0 is a question of its own
std::uint64_t weight(Offset offset) {
  const auto bits = static_cast<std::uint64_t>(offset.value);
  return offset.value < 0 ? 2 * (0 - bits) - 1 : 2 * bits;
}
std::uint64_t weight(Byte byte) { return byte.value; }
std::uint64_t weight(Nodes nodes) { return nodes.bits; }
std::uint64_t weight(Count count) { return count.value == 0 ? 2 : count.value - 1; }
std::uint64_t weight(CpuNumber cpu) { return cpu.value == 0 ? 2 : cpu.value - 1; }
std::uint64_t weight(Frame frame) { return frame.value; }
std::uint64_t weight(Lock lock) { return lock.value; }
std::uint64_t weight(Client client) { return static_cast<std::uint64_t>(client.value); }
std::uint64_t weight(Trait trait) { return static_cast<std::uint64_t>(trait.value); }
std::uint64_t weight(Flaw flaw) { return static_cast<std::uint64_t>(flaw.value); }

// GFP_KERNEL, then the other plain types, then whatever has fewer words to be written.
std::uint64_t weight(Gfp gfp) {
  static constexpr subject::gfp_t plain[] = {subject::GFP_KERNEL, subject::GFP_ATOMIC, subject::GFP_NOWAIT};
  const auto* found = std::ranges::find(plain, gfp.bits);
  if (found != std::end(plain)) return static_cast<std::uint64_t>(found - plain);
  return 16 + static_cast<std::uint64_t>(std::popcount(gfp.bits));
}

// --- candidates, simplest first; those that are not lighter are dropped by the caller
std::vector<Out> candidates(Out) { return {}; }
std::vector<Of> candidates(Of) { return {}; }
std::vector<SlabFlags> candidates(SlabFlags flags) {
  std::vector<SlabFlags> all = {{0}};
  for (const auto& row : subject::slab_flag_table) {
    if ((flags.bits & row.bit) != 0) all.push_back({flags.bits & ~row.bit});
  }
  return all;
}
std::vector<In> candidates(In in) {
  return {{in.slot, 0},
          {in.slot, 1},
          {in.slot, static_cast<std::uint16_t>(in.offset / 2)},
          {in.slot, static_cast<std::uint16_t>(in.offset - 1)}};
}
std::vector<Nodes> candidates(Nodes nodes) {
  std::vector<Nodes> all = {{1}, {2}};
  for (unsigned bits = nodes.bits; bits != 0; bits &= bits - 1)
    all.push_back({static_cast<std::uint8_t>(nodes.bits & ~(bits & (0 - bits)))});
  return all;
}
template <class Field>
std::vector<Field> candidates(Field field) {
  using T = decltype(field.value);
  if constexpr (std::is_enum_v<T>) {
    return {{T{}}};
  } else {
    // Down to a half, or by a quarter, an eighth ... of itself, or by one: the smallest value that still shows a bug is
    // found in a logarithmic number of steps, and its being the smallest takes as many refusals.
    std::vector<Field> all = {{T(0)}, {T(1)}, {static_cast<T>(-1)}};
    for (T step = static_cast<T>(field.value / 2); step != 0; step = static_cast<T>(step / 2)) {
      all.push_back({static_cast<T>(field.value - step)});
    }
    return all;
  }
}
std::vector<Gfp> candidates(Gfp gfp) {
  std::vector<Gfp> all = {{subject::GFP_KERNEL}, {subject::GFP_ATOMIC}, {subject::GFP_NOWAIT}};
  for (unsigned bit = 0; bit < 32; ++bit) {
    if ((gfp.bits >> bit & 1U) != 0) all.push_back({gfp.bits & ~(subject::gfp_t{1} << bit)});
  }
  return all;
}

std::uint64_t shape_distance(const Shape& shape, const Shape& row) {
  std::uint64_t distance = 0;
  for (const Knob& knob : shape_knobs()) {
    Shape plain = shape;
    knob.set(plain, row, 0);
    distance += plain == shape ? 0 : 1;
  }
  return distance;
}

// Rows that stand for the same thing on less memory.
void add_smaller_rows(std::vector<Shape>& out, const Shape& shape) {
  for (const std::uint8_t row : small_rows()) {
    Shape smaller = machine::shape_table()[row].shape;
    smaller.cpus = shape.cpus;
    smaller.nodes = shape.nodes;
    smaller.min_free_kbytes = shape.min_free_kbytes;
    smaller.pcp_high = shape.pcp_high;
    smaller.pcp_batch = shape.pcp_batch;
    smaller.poison = shape.poison;
    smaller.objects = shape.objects;
    smaller.slab_debug = shape.slab_debug;
    smaller.quarantine_bytes = shape.quarantine_bytes;
    smaller.reap = shape.reap;
    smaller.stack_bytes = shape.stack_bytes;
    smaller.irq_stacks = shape.irq_stacks;
    smaller.stack_cache = shape.stack_cache;
    smaller.percpu = shape.percpu;
    out.push_back(smaller);
  }
}

}  // namespace

std::uint64_t complexity(const Op& op) {
  std::uint64_t sum = 0;
  for_each_field(op, [&](const auto& field) {
    if (__builtin_add_overflow(sum, weight(field), &sum)) sum = ~std::uint64_t{0};
  });
  return sum;
}

ShapeComplexity complexity(const Shape& shape) {
  return {shape.cpus, shape.nodes, shape.ram_bytes, shape_distance(shape, machine::shape_table()[shape.base].shape),
          shape.base};
}

std::vector<Op> simpler(const Op& op) {
  std::vector<Op> all;
  const auto add = [&]<class Field>(const Field& field) {
    for (const Field& candidate : candidates(field)) {
      if (weight(candidate) >= weight(field)) continue;
      Op lighter = op;
      *field_of<Field>(lighter) = candidate;
      if (std::ranges::find(all, lighter) == all.end()) all.push_back(lighter);
    }
  };
  for_each_field(op, add);
  return all;
}

std::vector<Shape> simpler(const Shape& shape) {
  const Shape& row = machine::shape_table()[shape.base].shape;
  std::vector<Shape> all;
  const auto vary = [&](auto change) {
    Shape changed = shape;
    change(changed);
    all.push_back(changed);
  };
  vary([&](Shape& s) {
    s = row;
    s.cpus = shape.cpus;
  });
  add_smaller_rows(all, shape);
  vary([](Shape& s) { s.cpus = 1; });
  vary([](Shape& s) { s.nodes = 1; });
  vary([](Shape& s) { --s.cpus; });
  vary([](Shape& s) { --s.nodes; });
  for (const Knob& knob : shape_knobs()) vary([&](Shape& s) { knob.set(s, row, 0); });
  vary([](Shape& s) { s.ram_bytes = s.ram_bytes / 2 & ~(s.page_bytes() - 1); });

  std::vector<Shape> kept;
  for (const Shape& candidate : all) {
    const bool is_new = std::ranges::find(kept, candidate) == kept.end();
    if (is_new && !machine::why_impossible(candidate) && complexity(candidate) < complexity(shape))
      kept.push_back(candidate);
  }
  std::ranges::sort(kept, {}, [](const Shape& s) { return complexity(s); });
  return kept;
}

}  // namespace memtorture::program
