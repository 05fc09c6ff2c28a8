#include "model/program/text_fields.h"

#include <algorithm>

#include <fmt/format.h>

#include "model/program/words.h"

namespace memtorture::program {
namespace {

template <class Enum>
Enum read_word(Scanner& scanner, std::string_view what, std::span<const std::string_view> words) {
  const Token token = scanner.take();
  const auto found = std::ranges::find(words, token.text);
  if (found == words.end()) {
    scanner.refuse(token, fmt::format("{} ({})", what, fmt::join(words, ", ")), did_you_mean(token.text, words));
    return Enum{};
  }
  return static_cast<Enum>(found - words.begin());
}

std::int64_t read_signed(Scanner& scanner, std::string_view what) {
  static constexpr std::uint64_t positive_max = ~std::uint64_t{0} >> 1;
  if (!scanner.peek().text.starts_with('-'))
    return static_cast<std::int64_t>(scanner.take_number(what, {0, positive_max}));
  const Token token = scanner.take();
  return static_cast<std::int64_t>(-scanner.number_in(tail_of(token, 1), what, {0, positive_max + 1}));
}

void read(Scanner&, SlotTable&, Out&) {}
void read(Scanner& scanner, SlotTable& slots, In& in) {
  const Token token = scanner.take();
  const std::size_t plus = token.text.find('+');
  in.slot = slots.slot(scanner, {token.text.substr(0, plus), token.column});
  if (plus == std::string_view::npos) return;
  in.offset = static_cast<std::uint16_t>(scanner.number_in(tail_of(token, plus + 1), "an offset", {0, 0xffff}));
}
void read(Scanner& scanner, SlotTable& slots, Of& of) { of.slot = slots.slot(scanner, scanner.take()); }
void read(Scanner& scanner, SlotTable&, Align& align) {
  align.value = scanner.take_number("an alignment", {}, Suffix::size);
}
void read(Scanner& scanner, SlotTable&, SlabFlags& flags) { flags.bits = read_slab_flags(scanner); }
void read(Scanner& scanner, SlotTable&, Gfp& gfp) { gfp.bits = read_gfp(scanner); }
void read(Scanner& scanner, SlotTable&, Order& order) {
  order.value = static_cast<std::uint8_t>(scanner.take_number("an order", {0, 255}));
}
void read(Scanner& scanner, SlotTable&, Node& node) {
  node.value = -1;
  if (scanner.take_if("local") || scanner.take_if("-1")) return;
  node.value = static_cast<std::int8_t>(scanner.take_number("'local' or a node", {0, machine::nodes_max - 1}));
}
void read(Scanner& scanner, SlotTable&, Nodes& nodes) {
  nodes.bits = static_cast<std::uint8_t>(scanner.take_number("a mask of nodes", {0, 255}));
}
void read(Scanner& scanner, SlotTable&, Bytes& bytes) { bytes.value = scanner.take_number("a size", {}, Suffix::size); }
void read(Scanner& scanner, SlotTable&, Offset& offset) { offset.value = read_signed(scanner, "an offset in bytes"); }
void read(Scanner& scanner, SlotTable&, Byte& byte) {
  byte.value = static_cast<std::uint8_t>(scanner.take_number("a byte", {0, 255}));
}
void read(Scanner& scanner, SlotTable&, Count& count) {
  count.value = static_cast<std::uint32_t>(scanner.take_number("a count", {0, 0xffff'ffff}));
}
void read(Scanner& scanner, SlotTable&, CpuNumber& cpu) {
  cpu.value = static_cast<std::uint32_t>(scanner.take_number("the number of a CPU", {0, 0xffff'ffff}));
}
void read(Scanner& scanner, SlotTable&, Frame& frame) {
  frame.value = static_cast<machine::Pfn>(scanner.take_number("a frame number", {0, 0xffff'ffff}));
}
void read(Scanner& scanner, SlotTable&, Lock& lock) {
  const Token token = scanner.take();
  if (!token.text.starts_with('l')) return scanner.refuse(token, fmt::format("a lock l0..l{}", locks_max - 1));
  lock.value = static_cast<std::uint8_t>(scanner.number_in(tail_of(token, 1), "a lock number", {0, locks_max - 1}));
}
void read(Scanner& scanner, SlotTable&, Client& client) {
  client.value = read_word<subject::ClientKind>(scanner, "a kind of client", subject::client_names);
}
void read(Scanner& scanner, SlotTable&, Trait& trait) {
  trait.value = read_word<subject::ProcessTrait>(scanner, "a trait of a process", subject::trait_names);
}
void read(Scanner& scanner, SlotTable&, Flaw& flaw) {
  flaw.value = read_word<subject::Blemish>(scanner, "a kind of blemish", subject::blemish_names);
}

using Text = std::back_insert_iterator<std::string>;

void write(Text, const Case&, Out) {}
void write(Text out, const Case& names, In in) {
  fmt::format_to(out, " {}", names.slot_names[in.slot]);
  if (in.offset != 0) fmt::format_to(out, "+{}", in.offset);
}
void write(Text out, const Case& names, Of of) { fmt::format_to(out, " {}", names.slot_names[of.slot]); }
void write(Text out, const Case&, Align align) { fmt::format_to(out, " {}", print_size(align.value)); }
void write(Text out, const Case&, SlabFlags flags) { fmt::format_to(out, " {}", print_slab_flags(flags.bits)); }
void write(Text out, const Case&, Gfp gfp) { fmt::format_to(out, " {}", print_gfp(gfp.bits)); }
void write(Text out, const Case&, Order order) { fmt::format_to(out, " {}", order.value); }
void write(Text out, const Case&, Node node) {
  if (node.value < 0) {
    fmt::format_to(out, " local");
  } else {
    fmt::format_to(out, " {}", node.value);
  }
}
void write(Text out, const Case&, Bytes bytes) { fmt::format_to(out, " {}", print_size(bytes.value)); }
void write(Text out, const Case&, Offset offset) { fmt::format_to(out, " {}", offset.value); }
void write(Text out, const Case&, Byte byte) { fmt::format_to(out, " {:#04x}", byte.value); }
void write(Text out, const Case&, Nodes nodes) { fmt::format_to(out, " {:#04x}", nodes.bits); }
void write(Text out, const Case&, Count count) { fmt::format_to(out, " {}", count.value); }
void write(Text out, const Case&, CpuNumber cpu) { fmt::format_to(out, " {}", cpu.value); }
void write(Text out, const Case&, Frame frame) { fmt::format_to(out, " {}", frame.value); }
void write(Text out, const Case&, Lock lock) { fmt::format_to(out, " l{}", lock.value); }
void write(Text out, const Case&, Client client) {
  fmt::format_to(out, " {}", subject::client_names[static_cast<unsigned>(client.value)]);
}
void write(Text out, const Case&, Trait trait) {
  fmt::format_to(out, " {}", subject::trait_names[static_cast<unsigned>(trait.value)]);
}
void write(Text out, const Case&, Flaw flaw) {
  fmt::format_to(out, " {}", subject::blemish_names[static_cast<unsigned>(flaw.value)]);
}

std::string gfp_hint(std::string_view word) {
  std::vector<std::string_view> words;
  for (const auto& row : subject::gfp_table) words.push_back(row.name);
  return did_you_mean(word, words);
}

}  // namespace

Slot SlotTable::slot(Scanner& scanner, const Token& token) {
  if (!scanner.ok()) return 0;
  if (!is_name(token.text)) {
    scanner.refuse(token, "a slot", "slots are named [a-z][a-z0-9_]*");
    return 0;
  }
  const auto [place, is_new] = slots_.try_emplace(std::string(token.text), static_cast<Slot>(names_.size()));
  if (!is_new) return place->second;
  if (names_.size() == slots_max) {
    slots_.erase(place);
    scanner.refuse(token, fmt::format("at most {} slots", slots_max));
    return 0;
  }
  names_.emplace_back(token.text);
  return place->second;
}

void read_fields(Scanner& scanner, SlotTable& slots, Op& op) {
  for_each_field(op, [&](auto& field) {
    if (scanner.ok()) read(scanner, slots, field);
  });
}

void write_fields(std::string& text, const Op& op, const Case& names) {
  for_each_field(op, [&](const auto& field) { write(std::back_inserter(text), names, field); });
}

namespace {

// f(word) for each part of A|B|C, until the scanner has refused one.
template <class F>
void for_each_flag(Scanner& scanner, F&& f) {
  const Token token = scanner.take();
  for (std::size_t at = 0; at <= token.text.size() && scanner.ok();) {
    const std::size_t bar = std::min(token.text.find('|', at), token.text.size());
    f(Token{token.text.substr(at, bar - at), token.column + static_cast<std::uint32_t>(at)});
    at = bar + 1;
  }
}

}  // namespace

subject::gfp_t read_gfp(Scanner& scanner) {
  subject::gfp_t bits = 0;
  for_each_flag(scanner, [&](const Token& word) {
    const auto* row = std::ranges::find(subject::gfp_table, word.text, &subject::GfpRow::name);
    if (row == std::end(subject::gfp_table)) return scanner.refuse(word, "a GFP flag", gfp_hint(word.text));
    bits |= row->bits;
  });
  return bits;
}

// Bits that have no name are written as a number: to be refused is what they are for.
subject::slab_flags_t read_slab_flags(Scanner& scanner) {
  subject::slab_flags_t bits = 0;
  for_each_flag(scanner, [&](const Token& word) {
    if (!word.text.empty() && word.text.front() >= '0' && word.text.front() <= '9') {
      bits |= static_cast<subject::slab_flags_t>(scanner.number_in(word, "SLAB_ flags or a number", {0, 0xffff'ffff}));
      return;
    }
    const auto* row = std::ranges::find(subject::slab_flag_table, word.text, &subject::SlabFlagRow::name);
    if (row != std::end(subject::slab_flag_table)) {
      bits |= row->bit;
      return;
    }
    std::vector<std::string_view> words;
    for (const auto& known : subject::slab_flag_table) words.push_back(known.name);
    scanner.refuse(word, "SLAB_ flags or a number", did_you_mean(word.text, words));
  });
  return bits;
}

std::string print_slab_flags(subject::slab_flags_t flags) {
  if (flags == 0) return "0";
  std::string text;
  for (const auto& row : subject::slab_flag_table) {
    if ((flags & row.bit) == 0) continue;
    if (!text.empty()) text += '|';
    text += row.name;
  }
  const subject::slab_flags_t rest = flags & ~subject::slab_flags_known;
  if (rest != 0) text += fmt::format("{}{:#x}", text.empty() ? "" : "|", rest);
  return text;
}

// One type at most, then modifiers: GFP_ATOMIC|GFP_KERNEL is the same set of bits as GFP_KERNEL|__GFP_HIGH but does not
// say so.
std::string print_gfp(subject::gfp_t gfp) {
  if (gfp == 0) return "GFP_NOWAIT";
  std::string text;
  subject::gfp_t rest = gfp;
  bool has_type = false;
  for (const auto& row : subject::gfp_table) {
    const bool is_type = row.group == subject::GfpGroup::type;
    if (row.group == subject::GfpGroup::alias || row.bits == 0 || (rest & row.bits) != row.bits ||
        (is_type && has_type))
      continue;
    has_type = has_type || is_type;
    rest &= ~row.bits;
    if (!text.empty()) text += '|';
    text += row.name;
  }
  if (rest != 0) text += fmt::format("{}{:#x}", text.empty() ? "" : "|", rest);
  return text;
}

}  // namespace memtorture::program
