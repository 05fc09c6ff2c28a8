// The byte form. Built for byte-level mutation: every byte string means a case, small changes of bytes are small
// changes of the case, and cutting or inserting bytes cuts or inserts operations.
//
//   case      = shape item*
//   shape     = selector choice{14}              selector < 0xff: a row of the table and one choice per knob
//             | 0xff exact                       (shape_knobs.h); else every field spelt out
//   item      = kind payload                     one flat stream; what is missing at the end reads as zeros
//   kind      < op_kinds                         that operation, appended to the current program; payload = its fields
//             < kind_special                     one of the allocator's own operations again (they are worth more)
//             else by remainder:
//               program    opens the next program: context kind, CPU, task flags
//               fault      a fault rule
//               departure  from the operation just written: bytes that move keep what happened where
//               end        what follows departs from the end of the current program
//               daemon     a departure of a daemon: which, activation, then as above
//
// Numbers are one byte where the usual values are and escape to LEB128 where they are not, so every legal case can be
// written: decode(encode(c)) == c up to names, comment and expectation. encode writes the first form that fits, so
// encode(decode(bytes)) is canonical. Names and expectation are not coded; contexts are numbers, taken modulo what
// exists.
#include "model/program/codec.h"

#include <algorithm>

#include "model/program/codec_bytes.h"
#include "model/program/legal.h"
#include "model/program/shape_knobs.h"
#include "model/program/words.h"

namespace memtorture::program {
namespace {

using machine::ContextId;
using machine::ContextKind;
using machine::Departure;
using machine::Move;

constexpr std::uint8_t kind_special = 216;
constexpr std::uint8_t kinds_heavy = static_cast<std::uint8_t>(op_index<PreemptDisable>());
static_assert(op_kinds <= kind_special, "operations and special items share a byte");

enum class Special : std::uint8_t { program, fault, departure, end, daemon };
constexpr unsigned specials = 5;

constexpr std::uint8_t selector_exact = 0xff, selector_any = 0xe0;
constexpr std::uint64_t times_codes = (std::uint64_t{1} << 31) + 1;  // -1 .. 2^31 - 1
constexpr std::uint8_t context_worker = 0x80, context_daemon = 0xf0, context_none = 0xff;
static_assert(programs_max <= context_worker && context_worker + machine::cpus_max <= context_daemon);

// The fault sites, as their index among themselves: a failure can be asked for nowhere else.
constexpr auto fault_sites = [] {
  std::array<std::uint8_t, machine::site_count + 1> sites{};  // [0] = how many
  for (unsigned i = 0; i < machine::site_count; ++i) {
    if (machine::site_table[i].use == machine::SiteUse::fault) sites[++sites[0]] = static_cast<std::uint8_t>(i);
  }
  return sites;
}();

// A shape spelt out. Optional numbers are one more than their value, 0 is none.
using ShapeNumbers = std::array<std::uint64_t, 25>;

template <class T>
std::uint64_t one_more(std::optional<T> value) {
  return value ? std::uint64_t{*value} + 1 : 0;
}
template <class T>
std::optional<T> one_less(std::uint64_t number) {
  return number == 0 ? std::nullopt : std::optional<T>(static_cast<T>(number - 1));
}

ShapeNumbers numbers_of(const machine::Shape& s) {
  return {s.base,
          s.ram_bytes,
          s.page_shift,
          s.orders,
          s.cpus,
          s.nodes,
          s.hz,
          s.zone_end_bytes[0],
          s.zone_end_bytes[1],
          s.zone_end_bytes[2],
          s.reserved_pages,
          s.hole_start,
          s.hole_end,
          one_more(s.min_free_kbytes),
          one_more(s.pcp_high),
          one_more(s.pcp_batch),
          static_cast<std::uint64_t>(s.poison),
          static_cast<std::uint64_t>(s.objects),
          s.slab_debug,
          s.quarantine_bytes,
          static_cast<std::uint64_t>(s.reap),
          s.stack_bytes,
          static_cast<std::uint64_t>(s.irq_stacks),
          static_cast<std::uint64_t>(s.stack_cache),
          static_cast<std::uint64_t>(s.percpu)};
}

machine::Shape shape_of(const ShapeNumbers& n) {
  using std::uint16_t, std::uint32_t, std::uint8_t;
  return {.base = static_cast<uint8_t>(n[0]),
          .ram_bytes = n[1],
          .page_shift = static_cast<uint8_t>(n[2]),
          .orders = static_cast<uint8_t>(n[3]),
          .cpus = static_cast<uint8_t>(n[4]),
          .nodes = static_cast<uint8_t>(n[5]),
          .hz = static_cast<uint16_t>(n[6]),
          .zone_end_bytes = {n[7], n[8], n[9]},
          .reserved_pages = static_cast<uint32_t>(n[10]),
          .hole_start = static_cast<machine::Pfn>(n[11]),
          .hole_end = static_cast<machine::Pfn>(n[12]),
          .min_free_kbytes = one_less<uint32_t>(n[13]),
          .pcp_high = one_less<uint16_t>(n[14]),
          .pcp_batch = one_less<uint16_t>(n[15]),
          .poison = (n[16] & 1) != 0 ? machine::Toggle::on : machine::Toggle::off,
          .objects = static_cast<machine::ObjectLayer>(n[17] % std::size(machine::object_layer_names)),
          .slab_debug = static_cast<uint8_t>(n[18]),
          .quarantine_bytes = n[19],
          .reap = (n[20] & 1) != 0 ? machine::Toggle::on : machine::Toggle::off,
          .stack_bytes = n[21],
          .irq_stacks = (n[22] & 1) != 0 ? machine::Toggle::on : machine::Toggle::off,
          .stack_cache = (n[23] & 1) != 0 ? machine::Toggle::on : machine::Toggle::off,
          .percpu = (n[24] & 1) != 0 ? machine::Toggle::on : machine::Toggle::off};
}

class Decoder {
 public:
  explicit Decoder(std::span<const std::uint8_t> bytes) : in_(bytes) {}

  Case decode() {
    shape();
    while (!in_.at_end()) item();
    finish();
    return std::move(case_);
  }

 private:
  void shape() {
    const std::uint8_t selector = in_.byte();
    if (selector == selector_exact) return exact_shape();
    const auto rows = small_rows();
    const auto any = static_cast<std::uint8_t>((selector - selector_any) % machine::shape_table().size());
    KnobChoices choices{};
    for (std::size_t i = 0; i < knobs_count; ++i)
      choices[i] = static_cast<std::uint8_t>(in_.byte() % shape_knobs()[i].choices);
    case_.shape = shape_from(selector < selector_any ? rows[selector % rows.size()] : any, choices);
  }

  void exact_shape() {
    ShapeNumbers numbers;
    for (std::uint64_t& number : numbers) number = in_.number();
    case_.shape = shape_of(numbers);
    if (machine::why_impossible(case_.shape)) case_.shape = shape_from(small_rows().front(), {});
  }

  void item() {
    const std::uint8_t kind = in_.byte();
    if (kind < op_kinds) return operation(kind);
    if (kind < kind_special) return operation(kind % kinds_heavy);
    switch (static_cast<Special>((kind - kind_special) % specials)) {
      case Special::program: return open_program();
      case Special::fault: return fault_rule();
      case Special::departure: return departure(here());
      case Special::end: has_ended_ = true; return;
      case Special::daemon: return daemon();
    }
  }

  void operation(std::size_t kind) {
    if (case_.programs.empty()) add_program({.kind = ContextKind::task});
    Op op = default_op(kind);
    for_each_field(op, [&](auto& field) { in_.field(field); });
    has_ended_ = false;
    auto& ops = case_.programs.back().ops;
    if (ops.size() == ops_max) return;
    for_each_field(op, [&](auto& field) {
      if constexpr (requires { field.slot; }) field.slot = slot(field.slot);
    });
    ops.push_back(op);
  }

  // Slots in the order of first use: the normal form, without a pass of its own.
  Slot slot(Slot coded) {
    Slot& known = slots_[coded];  // one more than the slot's number
    if (known == 0) {
      case_.slot_names.push_back(default_slot_name(case_.slot_names.size()));
      known = static_cast<Slot>(case_.slot_names.size());
    }
    return static_cast<Slot>(known - 1);
  }

  void open_program() {
    Program program;
    const std::uint8_t kind = in_.byte() % 8;  // five of eight are tasks
    program.kind = kind < 5 ? ContextKind::task : static_cast<ContextKind>(kind - 4);
    program.cpu = static_cast<std::uint8_t>(in_.byte() % case_.shape.cpus);
    const std::uint8_t flags = in_.byte();
    if (program.kind == ContextKind::task && (flags & ~task_flags_known) == 0) program.flags = flags;
    if (case_.programs.size() < programs_max) add_program(std::move(program));
  }

  void add_program(Program program) {
    program.name = default_program_name(program.kind, case_.programs.size());
    case_.programs.push_back(std::move(program));
    has_ended_ = false;
  }

  void fault_rule() {
    fault::Rule rule;
    rule.site = machine::Site::at(fault_sites[1 + in_.byte() % fault_sites[0]]);
    const std::uint8_t ignore = in_.byte();
    rule.ignore_wait = (ignore & 1) != 0;
    rule.ignore_highmem = (ignore & 2) != 0;
    if ((ignore & 4) != 0) filters(rule);
    rule.probability = static_cast<std::uint8_t>(in_.byte() % 101);
    rule.min_order = in_.byte();
    rule.task = in_.byte();  // resolved in finish()
    rule.interval = std::max<std::uint32_t>(1, static_cast<std::uint32_t>(in_.number()));
    rule.times = static_cast<std::int32_t>(static_cast<std::int64_t>(in_.number() % times_codes) - 1);
    rule.space = static_cast<std::uint32_t>(in_.number());
    rule.seed = static_cast<std::uint32_t>(in_.number());
    if (case_.faults.size() < faults_max) case_.faults.push_back(rule);
  }

  void filters(fault::Rule& rule) {
    rule.max_order = in_.byte();
    rule.min_size = static_cast<std::uint32_t>(in_.number());
    rule.max_size = static_cast<std::uint32_t>(in_.number());
    rule.gfp = static_cast<std::uint32_t>(in_.number()) & subject::gfp_known;
    const std::uint8_t cpu = in_.byte(), kind = in_.byte();
    if (cpu != fault::any_cpu) rule.cpu = static_cast<std::uint8_t>(cpu % case_.shape.cpus);
    if (kind != fault::any_kind) rule.kind = static_cast<std::uint8_t>(kind % std::size(machine::context_kind_names));
    rule.caller = static_cast<std::uint16_t>(in_.number() % (op_kinds + 1));
  }

  machine::Moment here() {
    if (case_.programs.empty()) add_program({.kind = ContextKind::task});
    const std::size_t ops = case_.programs.back().ops.size();
    const std::size_t op = has_ended_ || ops == 0 ? ops : ops - 1;
    return {.who = static_cast<ContextId>(case_.programs.size() - 1), .op = static_cast<std::uint32_t>(op)};
  }

  void daemon() {
    machine::Moment at;
    at.who = static_cast<ContextId>(machine::kswapd_first + in_.byte() % daemons_known(case_.shape));
    at.op = static_cast<std::uint32_t>(in_.number());
    departure(at);
  }

  void departure(machine::Moment at) {
    Departure departure{.at = at};
    departure.take.move = static_cast<Move>(1 + in_.byte() % (std::size(machine::move_names) - 1));
    const std::uint8_t site = in_.byte();
    departure.at.site = machine::Site::at(
        machine::is_failure(departure.take.move) ? fault_sites[1 + site % fault_sites[0]] : site % machine::site_count);
    departure.at.visit = static_cast<std::uint16_t>(1 + in_.number() % 0xffff);
    if (!machine::is_failure(departure.take.move)) departure.take.whom = in_.byte();  // resolved in finish()
    case_.departures.push_back(departure);
  }

  ContextId context(ContextId code) const {
    if (code >= context_daemon)
      return static_cast<ContextId>(machine::kswapd_first + (code - context_daemon) % (machine::nodes_max + 1));
    if (code >= context_worker && case_.shape.reap == machine::Toggle::on)
      return static_cast<ContextId>(machine::events_first + (code - context_worker) % case_.shape.cpus);
    const std::size_t programs = case_.programs.size();
    return programs == 0 ? machine::kswapd_first : static_cast<ContextId>(code % programs);
  }

  // The code counts programs; where it does not name a handler, the next one is meant.
  ContextId handler(ContextId code) const {
    const std::size_t programs = case_.programs.size();
    for (std::size_t i = 0; i < programs; ++i) {
      const auto id = static_cast<ContextId>((code + i) % programs);
      if (case_.programs[id].kind != ContextKind::task) return id;
    }
    return machine::no_context;  // there is none: make_legal drops the departure
  }

  void finish() {
    for (fault::Rule& rule : case_.faults)
      rule.task = rule.task == context_none ? machine::no_context : context(rule.task);
    for (Departure& departure : case_.departures) {
      ContextId& whom = departure.take.whom;
      switch (departure.take.move) {
        case Move::go_on:
        case Move::fail:
        case Move::fail_from: break;
        case Move::switch_to:
        case Move::wake: whom = context(whom); break;
        case Move::deliver: whom = handler(whom); break;
        case Move::migrate: whom = static_cast<ContextId>(whom % case_.shape.cpus); break;
      }
    }
    make_legal(case_);
  }

  ByteReader in_;
  Case case_;
  std::array<Slot, slots_max> slots_{};
  bool has_ended_ = false;  // departures are from the end of the current program
};

class Encoder {
 public:
  explicit Encoder(const Case& c) : case_(c), next_(c.departures.begin()) {}

  std::vector<std::uint8_t> encode() {
    shape();
    for (const fault::Rule& rule : case_.faults) fault_rule(rule);
    for (std::size_t i = 0; i < case_.programs.size(); ++i) program(static_cast<ContextId>(i));
    for (; next_ != case_.departures.end(); ++next_) {
      special(Special::daemon);
      out_.byte(static_cast<std::uint8_t>(machine::daemon_index(next_->at.who)));
      out_.number(next_->at.op);
      departure(*next_);
    }
    return out_.take();
  }

 private:
  void shape() {
    const auto choices = choices_of(case_.shape);
    out_.byte(choices ? selector() : selector_exact);
    if (choices) return out_.bytes(*choices);
    for (const std::uint64_t number : numbers_of(case_.shape)) out_.number(number);
  }

  std::uint8_t selector() const {
    const auto rows = small_rows();
    const auto row = std::ranges::find(rows, case_.shape.base);
    return static_cast<std::uint8_t>(row == rows.end() ? selector_any + case_.shape.base : row - rows.begin());
  }

  void special(Special what) { out_.byte(static_cast<std::uint8_t>(kind_special + static_cast<unsigned>(what))); }

  void program(ContextId who) {
    const Program& program = case_.programs[who];
    special(Special::program);
    out_.byte(program.kind == ContextKind::task ? std::uint8_t{0}
                                                : static_cast<std::uint8_t>(static_cast<unsigned>(program.kind) + 4));
    out_.byte(program.cpu);
    out_.byte(static_cast<std::uint8_t>(program.flags));
    for (std::uint32_t op = 0; op < program.ops.size(); ++op) {
      out_.byte(static_cast<std::uint8_t>(program.ops[op].index()));
      for_each_field(program.ops[op], [&](const auto& field) { out_.field(field); });
      departures_at(who, op);
    }
    const auto after_last = static_cast<std::uint32_t>(program.ops.size());
    if (after_last != 0 && is_next_at(who, after_last)) special(Special::end);
    departures_at(who, after_last);
  }

  bool is_next_at(ContextId who, std::uint32_t op) const {
    return next_ != case_.departures.end() && next_->at.who == who && next_->at.op == op;
  }

  void departures_at(ContextId who, std::uint32_t op) {
    for (; is_next_at(who, op); ++next_) {
      special(Special::departure);
      departure(*next_);
    }
  }

  void departure(const Departure& departure) {
    const auto [move, whom] = departure.take;
    out_.byte(static_cast<std::uint8_t>(static_cast<unsigned>(move) - 1));
    out_.byte(machine::is_failure(move) ? fault_index(departure.at.site) : departure.at.site.index());
    out_.number(departure.at.visit - 1U);
    if (!machine::is_failure(move)) out_.byte(move == Move::migrate ? static_cast<std::uint8_t>(whom) : context(whom));
  }

  void fault_rule(const fault::Rule& rule) {
    special(Special::fault);
    out_.byte(fault_index(rule.site));
    const bool filtered = has_filters(rule);
    out_.byte(
        static_cast<std::uint8_t>((rule.ignore_wait ? 1 : 0) | (rule.ignore_highmem ? 2 : 0) | (filtered ? 4 : 0)));
    if (filtered) filters(rule);
    out_.byte(rule.probability);
    out_.byte(rule.min_order);
    out_.byte(context(rule.task));
    out_.number(rule.interval);
    out_.number(static_cast<std::uint64_t>(std::int64_t{rule.times} + 1));
    out_.number(rule.space);
    out_.number(rule.seed);
  }

  static bool has_filters(const fault::Rule& rule) {
    const fault::Rule plain;
    return rule.max_order != plain.max_order || rule.min_size != plain.min_size || rule.max_size != plain.max_size ||
           rule.gfp != plain.gfp || rule.cpu != plain.cpu || rule.kind != plain.kind || rule.caller != plain.caller;
  }

  void filters(const fault::Rule& rule) {
    out_.byte(rule.max_order);
    out_.number(rule.min_size);
    out_.number(rule.max_size);
    out_.number(rule.gfp);
    out_.byte(rule.cpu);
    out_.byte(rule.kind);
    out_.number(rule.caller);
  }

  static std::uint8_t context(ContextId id) {
    if (id == machine::no_context) return context_none;
    if (machine::is_worker(id)) return static_cast<std::uint8_t>(context_worker + (id - machine::events_first));
    if (machine::is_daemon(id)) return static_cast<std::uint8_t>(context_daemon + (id - machine::kswapd_first));
    return static_cast<std::uint8_t>(id);
  }

  static std::uint8_t fault_index(machine::Site site) {
    const auto* found = std::find(fault_sites.begin() + 1, fault_sites.begin() + 1 + fault_sites[0], site.index());
    return static_cast<std::uint8_t>(found - fault_sites.begin() - 1);
  }

  const Case& case_;
  std::vector<Departure>::const_iterator next_;
  ByteWriter out_;
};

}  // namespace

Case decode(std::span<const std::uint8_t> bytes) { return Decoder(bytes).decode(); }

std::vector<std::uint8_t> encode(const Case& the_case) { return Encoder(the_case).encode(); }

}  // namespace memtorture::program
