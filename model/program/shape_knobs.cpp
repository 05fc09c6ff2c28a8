#include "model/program/shape_knobs.h"

#include <algorithm>
#include <iterator>

namespace memtorture::program {
namespace {

using machine::Shape;

std::uint64_t usual_ram(const Shape& row) { return std::min(row.ram_bytes, ram_usual_max); }
machine::Pfn usual_frames(const Shape& row) { return static_cast<machine::Pfn>(usual_ram(row) >> row.page_shift); }

void set_ram(Shape& shape, const Shape& row, unsigned choice) {
  const std::uint64_t whole = usual_ram(row), page = row.page_bytes();
  const std::uint64_t odd = whole > 64 * page ? 37 * page : page;
  const std::uint64_t sizes[] = {whole, whole / 2, whole - odd, whole / 2 + page, whole + 3 * page, 2 * whole};
  shape.ram_bytes = sizes[choice];
}

// Boundaries that lie inside a block of the largest order, and zones that are missing.
void set_zones(Shape& shape, const Shape& row, unsigned choice) {
  constexpr std::int64_t shifts[][3] = {{0, 0, 0}, {-3, -3, -3}, {5, 5, 5}, {1, 2, 3}, {-64, 0, 77}};
  constexpr unsigned shifted = std::size(shifts);
  for (unsigned zone = 0; zone < shape.zone_end_bytes.size(); ++zone) {
    const std::uint64_t end = row.zone_end_bytes[zone];
    std::uint64_t& to = shape.zone_end_bytes[zone];
    to = end;
    if (end == 0 || end == machine::zone_end_none) continue;
    if (choice < shifted) to = end + static_cast<std::uint64_t>(shifts[choice][zone]) * row.page_bytes();
    if (choice == shifted) to = zone == 0 ? 0 : end;        // no DMA
    if (choice == shifted + 1) to = row.zone_end_bytes[0];  // DMA only, the rest is HighMem
  }
}

void set_hole(Shape& shape, const Shape& row, unsigned choice) {
  const machine::Pfn n = usual_frames(row);
  const machine::Pfn ranges[][2] = {
      {row.hole_start, row.hole_end}, {n / 2 - 3, n / 2 + 4}, {n / 4 + 1, n / 4 + 2}, {n / 3, n / 3 + n / 8}};
  shape.hole_start = ranges[choice][0];
  shape.hole_end = ranges[choice][1];
}

void set_pcp(Shape& shape, const Shape& row, unsigned choice) {
  constexpr std::uint16_t sizes[][2] = {{0, 0}, {6, 2}, {0, 1}, {1, 1}, {4, 4}, {12, 3}, {42, 7}, {186, 31}};
  shape.pcp_high = choice == 0 ? row.pcp_high : sizes[choice][0];
  shape.pcp_batch = choice == 0 ? row.pcp_batch : sizes[choice][1];
}

// Without objects, without checks, with some, with all and a quarantine; the old layer; the reaper; and per-CPU
// memory.
void set_objects(Shape& shape, const Shape& row, unsigned choice) {
  using machine::ObjectLayer;
  constexpr std::uint8_t all = (1U << machine::slab_debug_letters.size()) - 1;
  constexpr struct {
    ObjectLayer layer;
    std::uint8_t debug;
    std::uint64_t quarantine;
    machine::Toggle reap = machine::Toggle::off;
    machine::Toggle percpu = machine::Toggle::off;
  } layers[] = {{},
                {ObjectLayer::slab, 0, 0},
                {ObjectLayer::slab, machine::debug_sanity, 0},
                {ObjectLayer::slab, machine::debug_redzone | machine::debug_poison, 0},
                {ObjectLayer::slab, all & ~machine::debug_shadow, 0},
                {ObjectLayer::slab, machine::debug_shadow, std::uint64_t{16} << 10},
                {ObjectLayer::slab, all, std::uint64_t{64} << 10},
                {ObjectLayer::k12, 0, 0},
                {ObjectLayer::slab, 0, 0, machine::Toggle::on},
                {ObjectLayer::slab, all & ~machine::debug_shadow, 0, machine::Toggle::on},
                {ObjectLayer::slab, all, std::uint64_t{64} << 10, machine::Toggle::on},
                {ObjectLayer::slab, 0, 0, machine::Toggle::off, machine::Toggle::on},
                {ObjectLayer::slab, 0, 0, machine::Toggle::on, machine::Toggle::on},
                {ObjectLayer::slab, all, std::uint64_t{64} << 10, machine::Toggle::off, machine::Toggle::on}};
  shape.objects = choice == 0 ? row.objects : layers[choice].layer;
  shape.slab_debug = choice == 0 ? row.slab_debug : layers[choice].debug;
  shape.quarantine_bytes = choice == 0 ? row.quarantine_bytes : layers[choice].quarantine;
  shape.reap = choice == 0 ? row.reap : layers[choice].reap;
  shape.percpu = choice == 0 ? row.percpu : layers[choice].percpu;
}

// Without stacks, of two pages and one, with those of interrupts, with some kept.
void set_stacks(Shape& shape, const Shape& row, unsigned choice) {
  using machine::Toggle;
  constexpr struct {
    std::uint64_t bytes;
    Toggle irq = Toggle::off, cache = Toggle::off;
  } stacks[] = {{},
                {8 << 10},
                {8 << 10, Toggle::on},
                {4 << 10, Toggle::on},
                {8 << 10, Toggle::off, Toggle::on},
                {16 << 10, Toggle::on, Toggle::on},
                {4 << 10}};
  shape.stack_bytes = choice == 0 ? row.stack_bytes : stacks[choice].bytes;
  shape.irq_stacks = choice == 0 ? row.irq_stacks : stacks[choice].irq;
  shape.stack_cache = choice == 0 ? row.stack_cache : stacks[choice].cache;
}

template <auto Member, auto... Values>
void set_to(Shape& shape, const Shape& row, unsigned choice) {
  using T = std::remove_reference_t<decltype(shape.*Member)>;
  const T values[] = {row.*Member, static_cast<T>(Values)...};
  shape.*Member = values[choice];
}

constexpr Knob knobs[] = {
    {"cpus", 5, set_to<&Shape::cpus, 1, 2, 3, 4>},
    {"nodes", 5, set_to<&Shape::nodes, 1, 2, 3, 4>},
    {"pcp", 8, set_pcp},
    {"poison", 3, set_to<&Shape::poison, machine::Toggle::on, machine::Toggle::off>},
    {"min_free_kbytes", 6, set_to<&Shape::min_free_kbytes, 0U, 16U, 64U, 128U, 512U>},
    {"reserved", 5, set_to<&Shape::reserved_pages, 0, 1, 17, 100>},
    {"orders", 5, set_to<&Shape::orders, 11, 4, 5, 1>},
    {"ram", 6, set_ram},
    {"zones", 7, set_zones},
    {"hole", 4, set_hole},
    {"page", 3, set_to<&Shape::page_shift, 12, 13>},
    {"hz", 4, set_to<&Shape::hz, 100, 250, 1000>},
    {"objects", 14, set_objects},
    {"stacks", 7, set_stacks},
};
static_assert(std::size(knobs) == knobs_count);

}  // namespace

std::span<const Knob> shape_knobs() { return knobs; }

std::span<const std::uint8_t> small_rows() {
  static const auto rows = [] {
    std::pair<std::array<std::uint8_t, 256>, std::size_t> found{};
    for (const auto& row : machine::shape_table()) {
      if (row.shape.ram_bytes <= ram_usual_max) found.first[found.second++] = row.shape.base;
    }
    return found;
  }();
  return std::span(rows.first).first(rows.second);
}

Shape shape_from(std::uint8_t row, const KnobChoices& choices) {
  const Shape& base = machine::shape_table()[row].shape;
  Shape shape = base;
  for (std::size_t i = 0; i < knobs_count; ++i) knobs[i].set(shape, base, choices[i]);
  if (!machine::why_impossible(shape)) return shape;
  shape = base;
  set_ram(shape, base, 0);
  for (std::size_t i = 0; i < knobs_count; ++i) {
    const Shape before = shape;
    knobs[i].set(shape, base, choices[i]);
    if (machine::why_impossible(shape)) shape = before;
  }
  return shape;
}

std::optional<KnobChoices> choices_of(const Shape& shape) {
  const Shape& base = machine::shape_table()[shape.base].shape;
  KnobChoices choices{};
  for (std::size_t i = 0; i < knobs_count; ++i) {
    const auto gives_shape = [&](unsigned choice) {
      Shape trial = shape;
      knobs[i].set(trial, base, choice);
      return trial == shape;
    };
    while (choices[i] < knobs[i].choices && !gives_shape(choices[i])) ++choices[i];
    if (choices[i] == knobs[i].choices) return std::nullopt;
  }
  return choices;
}

}  // namespace memtorture::program
