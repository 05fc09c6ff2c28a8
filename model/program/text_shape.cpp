// The machine line: a named shape and what differs from it. One table row per key says how it is read and written, so
// that print_shape() and parse_shape() cannot disagree about what exists.
#include "model/program/text_shape.h"

#include <algorithm>
#include <span>

#include <fmt/format.h>

#include "model/program/words.h"

namespace memtorture::program {
namespace {

using machine::Shape;

struct Key {
  std::string_view name;
  void (*read)(Scanner& scanner, Shape& shape);
  std::string (*write)(const Shape& shape);
};

template <auto Member>
void read_small(Scanner& scanner, Shape& shape) {
  using T = std::remove_reference_t<decltype(shape.*Member)>;
  shape.*Member = static_cast<T>(scanner.take_number("a number", {0, static_cast<T>(~T{0})}));
}
template <auto Member>
std::string write_small(const Shape& shape) {
  return fmt::format("{}", shape.*Member);
}

template <unsigned Zone>
void read_zone_end(Scanner& scanner, Shape& shape) {
  shape.zone_end_bytes[Zone] =
      scanner.take_if("none") ? machine::zone_end_none
                              : scanner.take_number("'none' or a size", {0, machine::zone_end_none - 1}, Suffix::size);
}
template <unsigned Zone>
std::string write_zone_end(const Shape& shape) {
  const std::uint64_t end = shape.zone_end_bytes[Zone];
  return end == machine::zone_end_none ? "none" : print_size(end);
}

void read_page(Scanner& scanner, Shape& shape) {
  const Token token = scanner.take();
  if (token.text != "4K" && token.text != "8K") return scanner.refuse(token, "a page size (4K, 8K)");
  shape.page_shift = token.text == "4K" ? 12 : 13;
}

void read_hole(Scanner& scanner, Shape& shape) {
  const Token token = scanner.take();
  const std::size_t dash = token.text.find('-');
  if (dash == std::string_view::npos) return scanner.refuse(token, "a range of frames START-END");
  const Bounds bounds{0, 0xffff'ffff};
  shape.hole_start = static_cast<machine::Pfn>(
      scanner.number_in({token.text.substr(0, dash), token.column}, "a frame number", bounds));
  shape.hole_end = static_cast<machine::Pfn>(scanner.number_in(tail_of(token, dash + 1), "a frame number", bounds));
}

void read_min_free(Scanner& scanner, Shape& shape) {
  shape.min_free_kbytes.reset();
  if (scanner.take_if("auto")) return;
  shape.min_free_kbytes = static_cast<std::uint32_t>(scanner.take_number("'auto' or a number", {0, 0xffff'ffff}));
}

void read_pcp(Scanner& scanner, Shape& shape) {
  shape.pcp_high.reset();
  shape.pcp_batch.reset();
  if (scanner.take_if("auto")) return;
  const Token token = scanner.take();
  const std::size_t slash = token.text.find('/');
  if (slash == std::string_view::npos) return scanner.refuse(token, "'auto' or HIGH/BATCH");
  shape.pcp_high = static_cast<std::uint16_t>(
      scanner.number_in({token.text.substr(0, slash), token.column}, "a pcp high", {0, 0xffff}));
  shape.pcp_batch =
      static_cast<std::uint16_t>(scanner.number_in(tail_of(token, slash + 1), "a pcp batch", {0, 0xffff}));
}

template <machine::Toggle Shape::* Member>
void read_toggle(Scanner& scanner, Shape& shape) {
  const Token token = scanner.take();
  if (token.text != "on" && token.text != "off") scanner.refuse(token, "'on' or 'off'");
  shape.*Member = token.text == "on" ? machine::Toggle::on : machine::Toggle::off;
}
template <machine::Toggle Shape::* Member>
std::string write_toggle(const Shape& shape) {
  return shape.*Member == machine::Toggle::on ? "on" : "off";
}

void read_objects(Scanner& scanner, Shape& shape) {
  const Token token = scanner.take();
  const auto* name = std::ranges::find(machine::object_layer_names, token.text);
  if (name == std::end(machine::object_layer_names))
    return scanner.refuse(token, fmt::format("a layer ({})", fmt::join(machine::object_layer_names, ", ")));
  shape.objects = static_cast<machine::ObjectLayer>(name - machine::object_layer_names);
}

// Letters of slab_debug_letters in their order, or '-'.
void read_slab_debug(Scanner& scanner, Shape& shape) {
  const Token token = scanner.take();
  shape.slab_debug = 0;
  if (token.text == "-") return;
  for (const char letter : token.text) {
    const std::size_t bit = machine::slab_debug_letters.find(letter);
    if (bit == std::string_view::npos)
      return scanner.refuse(token, fmt::format("'-' or letters of {}", machine::slab_debug_letters));
    shape.slab_debug = static_cast<std::uint8_t>(shape.slab_debug | 1U << bit);
  }
}
std::string write_slab_debug(const Shape& shape) {
  if (shape.slab_debug == 0) return "-";
  std::string letters;
  for (std::size_t bit = 0; bit != machine::slab_debug_letters.size(); ++bit) {
    if ((shape.slab_debug & 1U << bit) != 0) letters += machine::slab_debug_letters[bit];
  }
  return letters;
}

void read_stack(Scanner& scanner, Shape& shape) {
  shape.stack_bytes = 0;
  if (scanner.take_if("off")) return;
  shape.stack_bytes = scanner.take_number("'off' or a size", {0, machine::ram_bytes_max}, Suffix::size);
}

constexpr Key keys[] = {
    {"ram",
     [](Scanner& scanner, Shape& shape) {
       shape.ram_bytes = scanner.take_number("a size", {0, ~std::uint64_t{0}}, Suffix::size);
     },
     [](const Shape& shape) { return print_size(shape.ram_bytes); }},
    {"cpus", read_small<&Shape::cpus>, write_small<&Shape::cpus>},
    {"nodes", read_small<&Shape::nodes>, write_small<&Shape::nodes>},
    {"page", read_page, [](const Shape& shape) { return print_size(shape.page_bytes()); }},
    {"hz", read_small<&Shape::hz>, write_small<&Shape::hz>},
    {"orders", read_small<&Shape::orders>, write_small<&Shape::orders>},
    {"dma", read_zone_end<0>, write_zone_end<0>},
    {"dma32", read_zone_end<1>, write_zone_end<1>},
    {"normal", read_zone_end<2>, write_zone_end<2>},
    {"reserved", read_small<&Shape::reserved_pages>, write_small<&Shape::reserved_pages>},
    {"hole", read_hole, [](const Shape& shape) { return fmt::format("{}-{}", shape.hole_start, shape.hole_end); }},
    {"min_free_kbytes", read_min_free,
     [](const Shape& shape) {
       return shape.min_free_kbytes ? fmt::format("{}", *shape.min_free_kbytes) : std::string("auto");
     }},
    {"pcp", read_pcp,
     [](const Shape& shape) {
       return shape.pcp_high ? fmt::format("{}/{}", *shape.pcp_high, shape.pcp_batch.value_or(1)) : std::string("auto");
     }},
    {"poison", read_toggle<&Shape::poison>, write_toggle<&Shape::poison>},
    {"objects", read_objects,
     [](const Shape& shape) { return std::string(machine::object_layer_names[static_cast<unsigned>(shape.objects)]); }},
    {"slab_debug", read_slab_debug, write_slab_debug},
    {"quarantine",
     [](Scanner& scanner, Shape& shape) {
       shape.quarantine_bytes = scanner.take_number("a size", {0, machine::ram_bytes_max}, Suffix::size);
     },
     [](const Shape& shape) { return print_size(shape.quarantine_bytes); }},
    {"reap", read_toggle<&Shape::reap>, write_toggle<&Shape::reap>},
    {"stack", read_stack,
     [](const Shape& shape) { return shape.stack_bytes == 0 ? std::string("off") : print_size(shape.stack_bytes); }},
    {"irqstacks", read_toggle<&Shape::irq_stacks>, write_toggle<&Shape::irq_stacks>},
    {"stackcache", read_toggle<&Shape::stack_cache>, write_toggle<&Shape::stack_cache>},
    {"percpu", read_toggle<&Shape::percpu>, write_toggle<&Shape::percpu>},
};

constexpr auto key_names = [] {
  std::array<std::string_view, std::size(keys)> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = keys[i].name;
  return names;
}();

void read_override(Scanner& scanner, Shape& shape, std::uint32_t& keys_seen) {
  const Token token = scanner.take();
  const auto* key = std::ranges::find(keys, token.text, &Key::name);
  if (key == std::end(keys))
    return scanner.refuse(token, "a key of the machine line", did_you_mean(token.text, key_names));
  const std::uint32_t bit = 1U << (key - keys);
  if ((keys_seen & bit) != 0) return scanner.refuse(token, "each key once");
  keys_seen |= bit;
  scanner.require("=");
  if (scanner.ok()) key->read(scanner, shape);
}

}  // namespace

Shape read_shape(Scanner& scanner) {
  const Token name = scanner.take();
  std::vector<std::string_view> names;
  for (const auto& row : machine::shape_table()) names.push_back(row.name);
  const std::optional<Shape> named = machine::shape_named(name.text);
  if (!named) {
    scanner.refuse(name, fmt::format("a machine ({})", fmt::join(names, ", ")), did_you_mean(name.text, names));
    return machine::shape_table().front().shape;
  }
  Shape shape = *named;
  std::uint32_t keys_seen = 0;
  while (scanner.ok() && !scanner.at_end()) read_override(scanner, shape, keys_seen);
  if (!scanner.ok()) return shape;
  if (const auto why = machine::why_impossible(shape)) scanner.refuse(name, "a possible machine", *why);
  return shape;
}

std::string print_shape(const Shape& shape) {
  const Shape& base = machine::shape_table()[shape.base].shape;
  std::string text(machine::shape_table()[shape.base].name);
  for (const Key& key : keys) {
    const std::string value = key.write(shape);
    if (value != key.write(base)) text += fmt::format(" {}={}", key.name, value);
  }
  return text;
}

std::expected<Shape, ParseError> parse_shape(std::string_view text) {
  Scanner scanner(text, 1);
  const Shape shape = read_shape(scanner);
  if (!scanner.ok()) return std::unexpected(*scanner.error());
  return shape;
}

}  // namespace memtorture::program
