#include "model/program/random_parts.h"

#include <algorithm>
#include <bit>

#include "model/program/codec_bytes.h"
#include "model/program/legal.h"

namespace memtorture::program {
namespace {

using machine::ContextId;
using machine::ContextKind;
using machine::Departure;
using machine::Move;
using machine::Site;

// Numbers where arithmetic goes wrong: powers of two and their neighbours, up to the whole range of the type.
std::uint64_t edgy_number(Random& random, unsigned bits) {
  const std::uint64_t power = std::uint64_t{1} << random.below(bits);
  return power + random.below(3) - 1;
}

Slot some_slot(Case& c, Random& random) {
  if (c.slot_names.empty() || random.percent(10)) return add_slot(c);
  return static_cast<Slot>(random.below(static_cast<std::uint32_t>(c.slot_names.size())));
}

void randomise(Case& c, Random& random, Out& out) { out.slot = some_slot(c, random); }
void randomise(Case& c, Random& random, In& in) {
  in.slot = some_slot(c, random);
  in.offset = random.percent(85)
                  ? 0
                  : static_cast<std::uint16_t>(random.percent(80) ? random.below(8) : edgy_number(random, 16));
}
void randomise(Case&, Random& random, Gfp& gfp) {
  gfp.bits = one_of(gfp_usual, random);
  if (random.percent(25)) gfp.bits ^= one_of(subject::gfp_table, random).bits;
  if (random.percent(2)) gfp.bits = static_cast<subject::gfp_t>(random.next()) & subject::gfp_known;
}
void randomise(Case& c, Random& random, Of& of) { of.slot = some_slot(c, random); }
void randomise(Case&, Random& random, Align& align) {
  align.value = random.percent(50) ? 0 : std::uint64_t{1} << random.below(random.percent(90) ? 9 : 24);
  if (random.percent(4)) align.value = edgy_number(random, 64);
}
void randomise(Case&, Random& random, SlabFlags& flags) {
  flags.bits = one_of(slab_flags_usual, random);
  if (random.percent(10)) flags.bits |= one_of(slab_flags_usual, random);
}
void randomise(Case&, Random& random, Order& order) {
  const std::uint32_t dice = random.below(100);
  order.value = static_cast<std::uint8_t>(dice < 50   ? random.below(3)
                                          : dice < 98 ? random.below(machine::orders_max + 1)
                                                      : random.below(256));
}
void randomise(Case& c, Random& random, Node& node) {
  node.value = static_cast<std::int8_t>(static_cast<int>(random.below(c.shape.nodes + 1U)) - 1);
}
void randomise(Case& c, Random& random, Bytes& bytes) {
  const std::uint64_t page = c.shape.page_bytes();
  const std::uint32_t dice = random.below(100);
  bytes.value = dice < 45   ? page * (1 + random.below(40)) + random.below(3) - 1
                : dice < 60 ? random.below(300)
                : dice < 90 ? edgy_number(random, 23)
                            : edgy_number(random, 64);
}
void randomise(Case& c, Random& random, Offset& offset) {
  const auto page = static_cast<std::int64_t>(c.shape.page_bytes());
  offset.value = page * random.below(9) + random.below(5) - 2;
  if (random.percent(30)) offset.value = random.below(static_cast<std::uint32_t>(page));
}
void randomise(Case&, Random& random, Byte& byte) { byte.value = static_cast<std::uint8_t>(random.next()); }
void randomise(Case& c, Random& random, Nodes& nodes) {
  nodes.bits = static_cast<std::uint8_t>(random.percent(95) ? random.below(1u << c.shape.nodes) : random.next());
}
void randomise(Case&, Random& random, Count& count) {
  count.value = random.percent(90) ? random.below(65) : static_cast<std::uint32_t>(edgy_number(random, 12));
}
void randomise(Case& c, Random& random, CpuNumber& cpu) {
  cpu.value = random.percent(95) ? random.below(c.shape.cpus) : static_cast<std::uint32_t>(edgy_number(random, 8));
}
void randomise(Case& c, Random& random, Frame& frame) {
  frame.value =
      random.percent(90) ? random.below(c.shape.frames()) : static_cast<machine::Pfn>(edgy_number(random, 32));
}
void randomise(Case&, Random& random, Lock& lock) { lock.value = static_cast<std::uint8_t>(random.below(locks_max)); }
void randomise(Case&, Random& random, Client& client) {
  client.value = static_cast<subject::ClientKind>(random.below(subject::client_kinds));
}
void randomise(Case&, Random& random, Trait& trait) {
  trait.value = static_cast<subject::ProcessTrait>(random.below(subject::process_traits));
}
void randomise(Case&, Random& random, Flaw& flaw) {
  flaw.value = static_cast<subject::Blemish>(random.below(std::size(subject::blemish_names)));
}

// What can be done to a block, with the values of its allocation.
Op object_op_on(Case& c, const Op& allocation, Random& random) {
  static constexpr std::size_t with_cache[] = {
      op_index<CacheAlloc>(),  op_index<CacheAlloc>(),   op_index<CacheAllocNode>(), op_index<CacheZalloc>(),
      op_index<CacheShrink>(), op_index<CacheDestroy>(), op_index<CacheSize>(),      op_index<CacheFree>()};
  static constexpr std::size_t with_object[] = {
      op_index<Kfree>(),  op_index<Kfree>(),    op_index<Kfree>(), op_index<CacheFree>(), op_index<CacheFree>(),
      op_index<Kzfree>(), op_index<Krealloc>(), op_index<Ksize>(), op_index<Fill>(),      op_index<CheckContents>(),
      op_index<Poke>(),   op_index<Peek>(),     op_index<Link>(),  op_index<Forget>()};
  static constexpr std::size_t with_pool[] = {op_index<PoolAlloc>(),  op_index<PoolAlloc>(),   op_index<PoolAlloc>(),
                                              op_index<PoolResize>(), op_index<PoolDestroy>(), op_index<PoolFree>()};
  static constexpr std::size_t with_element[] = {op_index<PoolFree>(), op_index<PoolFree>(), op_index<PoolFree>(),
                                                 op_index<PoolFree>(), op_index<Fill>(),     op_index<CheckContents>(),
                                                 op_index<Peek>(),     op_index<Poke>(),     op_index<Ksize>(),
                                                 op_index<Kfree>(),    op_index<Forget>()};
  const bool pool = makes_pool(allocation);
  const bool cache = pool || std::holds_alternative<CacheCreate>(allocation);  // the slot is what it is done with
  Op op = default_op(pool                                            ? one_of(with_pool, random)
                     : cache                                         ? one_of(with_cache, random)
                     : std::holds_alternative<PoolAlloc>(allocation) ? one_of(with_element, random)
                                                                     : one_of(with_object, random));
  randomise_fields(c, op, random);
  const Slot slot = field_of<Out>(allocation)->slot;
  if (In* in = field_of<In>(op); in != nullptr && !cache)
    *in = {slot, static_cast<std::uint16_t>(random.percent(92) ? 0 : in->offset)};
  if (Of* of = field_of<Of>(op)) {
    if (cache) of->slot = slot;
    if (const Of* its_own = field_of<Of>(allocation); its_own != nullptr && !cache) of->slot = its_own->slot;
  }
  if (Out* out = field_of<Out>(op)) out->slot = cache ? add_slot(c) : slot;
  return op;
}

Op percpu_op_on(Case& c, const Op& maker, Random& random) {
  static constexpr std::size_t with_area[] = {op_index<FreePercpu>(), op_index<FreePercpu>(), op_index<GetCpuPtr>(),
                                              op_index<PutCpuPtr>(),  op_index<ThisCpuPtr>(), op_index<PerCpuPtr>(),
                                              op_index<ThisCpuAdd>(), op_index<ThisCpuAdd>(), op_index<RawCpuAdd>(),
                                              op_index<RawCpuAdd>(),  op_index<PerCpuSum>()};
  const Slot slot = field_of<Out>(maker)->slot;
  Op op = default_op(makes_copy(maker)                       ? op_index<PtrAdd>()
                     : std::holds_alternative<GetCpu>(maker) ? op_index<PerCpuAdd>()
                                                             : one_of(with_area, random));
  randomise_fields(c, op, random);
  if (In* in = field_of<In>(op)) *in = {slot, static_cast<std::uint16_t>(random.percent(95) ? 0 : in->offset)};
  if (Of* of = field_of<Of>(op); of != nullptr && makes_percpu(maker)) of->slot = slot;
  if (Out* out = field_of<Out>(op)) out->slot = add_slot(c);
  return op;
}

Op op_on(Case& c, const Op& allocation, Random& random) {
  if (is_for_percpu(allocation)) return percpu_op_on(c, allocation, random);
  if (is_for_objects(allocation)) return object_op_on(c, allocation, random);
  if (is_for_stacks(allocation)) return ExitTask{{field_of<Out>(allocation)->slot}};
  static constexpr std::size_t kinds[] = {
      op_index<FreePagesOf>(),    op_index<FreePagesOf>(), op_index<FreePages>(),     op_index<FreePages>(),
      op_index<FreePagesExact>(), op_index<Fill>(),        op_index<CheckContents>(), op_index<GetPage>(),
      op_index<PutPage>(),        op_index<PutPage>(),     op_index<SplitPage>(),     op_index<PageCount>(),
      op_index<PageAddress>(),    op_index<Poke>(),        op_index<BlemishPage>(),   op_index<Forget>()};
  Op op = default_op(one_of(kinds, random));
  randomise_fields(c, op, random);
  if (In* in = field_of<In>(op))
    *in = {field_of<Out>(allocation)->slot, static_cast<std::uint16_t>(random.percent(90) ? 0 : in->offset)};
  if (Order* order = field_of<Order>(op); order && random.percent(95)) {
    const Order* allocated = field_of<Order>(allocation);
    order->value = allocated ? allocated->value : 0;
  }
  if (const Bytes* bytes = field_of<Bytes>(allocation); bytes && field_of<Bytes>(op)) *field_of<Bytes>(op) = *bytes;
  return op;
}

std::optional<ContextId> some_context(const Case& c, Random& random, bool handlers_only) {
  std::vector<ContextId> candidates;
  for (std::size_t i = 0; i < c.programs.size(); ++i) {
    if (!handlers_only || c.programs[i].kind != ContextKind::task) candidates.push_back(static_cast<ContextId>(i));
  }
  if (!handlers_only) candidates.push_back(machine::kswapd_first);
  if (!handlers_only && c.shape.reap == machine::Toggle::on)
    candidates.push_back(static_cast<ContextId>(machine::events_first + random.below(c.shape.cpus)));
  if (candidates.empty()) return std::nullopt;
  return one_of(candidates, random);
}

Site likely_site(const Op& op, Random& random) {
  static constexpr Site any[] = {"op",           "preempt.enable", "irq.enable", "bh.enable", "sched.resched",
                                 "lock.acquire", "mutex.acquire"};
  static constexpr Site alloc[] = {"page.alloc",  "page.watermark", "zone.lock",   "zone.unlock",
                                   "pcp.alloc",   "pcp.refill",     "page.expand", "page.prep",
                                   "kswapd.wake", "reclaim.enter",  "irq.enable",  "preempt.enable"};
  static constexpr Site release[] = {"page.put",  "page.free",  "pcp.free",    "pcp.drain",
                                     "zone.lock", "page.merge", "zone.unlock", "irq.enable"};
  static constexpr Site objects[] = {"slab.alloc", "slab.lock",  "slab.unlock",    "slab.refill", "slab.grow",
                                     "slab.flush", "irq.enable", "preempt.enable", "page.alloc",  "zone.unlock"};
  if (random.percent(30)) return "op";
  static constexpr Site pools[] = {"mempool.lock", "mempool.lock", "mempool.unlock", "slab.alloc", "page.alloc"};
  if (is_for_pools(op) && random.percent(60)) return one_of(pools, random);
  static constexpr Site percpu[] = {"percpu.lock",   "percpu.unlock", "percpu.rmw",     "percpu.rmw",
                                    "mutex.acquire", "irq.enable",    "preempt.enable", "slab.lock"};
  const bool adds = op.index() >= op_index<PtrAdd>() && op.index() <= op_index<RawCpuAdd>();
  if (adds && random.percent(60)) return "percpu.rmw";
  if (is_for_percpu(op)) return one_of(percpu, random);
  if (is_for_objects(op)) return one_of(objects, random);
  static constexpr Site stacks[] = {"kstack.push", "kstack.push", "irq.enable", "page.alloc", "zone.unlock"};
  if (is_for_stacks(op)) return one_of(stacks, random);
  static constexpr Site hotplug[] = {"mutex.acquire", "sched.resched", "slab.lock", "zone.lock", "irq.enable"};
  if (std::holds_alternative<CpuDown>(op)) return one_of(hotplug, random);
  if (field_of<Gfp>(op)) return one_of(alloc, random);
  if (field_of<In>(op)) return one_of(release, random);
  return one_of(any, random);
}

// May somebody sleep until it is done? Per-CPU memory has a mutex of its own.
bool wakes(const Op& op) {
  return std::holds_alternative<MutexUnlockOp>(op) || std::holds_alternative<WakeUp>(op) ||
         std::holds_alternative<PoolFree>(op) || std::holds_alternative<CpuDown>(op) ||
         (makes_percpu(op) && !std::holds_alternative<PerCpuVar>(op));
}

KnobChoices random_choices(Random& random) {
  KnobChoices choices{};
  for (std::size_t i = 0; i < knobs_count; ++i) {
    if (random.percent(35)) choices[i] = static_cast<std::uint8_t>(random.below(shape_knobs()[i].choices));
  }
  return choices;
}

}  // namespace

Slot add_slot(Case& c) {
  if (c.slot_names.size() == slots_max) return slots_max - 1;
  std::size_t number = c.slot_names.size();
  std::string name = default_slot_name(number);
  while (std::ranges::find(c.slot_names, name) != c.slot_names.end()) name = default_slot_name(++number);
  c.slot_names.push_back(std::move(name));
  return static_cast<Slot>(c.slot_names.size() - 1);
}

void randomise_fields(Case& c, Op& op, Random& random) {
  for_each_field(op, [&](auto& field) { randomise(c, random, field); });
  if (Bytes* bytes = field_of<Bytes>(op); bytes != nullptr && is_for_stacks(op) && random.percent(85))
    bytes->value = random.below(400);
}

Op random_op(Case& c, std::size_t program, std::size_t at, Random& random) {
  const auto& ops = c.programs[program].ops;
  const std::uint32_t dice = random.below(100);
  if (dice < 45 && at > 0) {
    // A few looks back for an allocation: recent ones are likelier to be live.
    for (unsigned tries = 0; tries < 4; ++tries) {
      const std::size_t back = 1 + random.below(static_cast<std::uint32_t>(std::min<std::size_t>(at, 24)));
      const Op earlier = ops[at - back];
      if (field_of<Out>(earlier)) return op_on(c, earlier, random);
    }
  }
  const bool has_objects = c.shape.objects != machine::ObjectLayer::none;
  static constexpr std::size_t makers[] = {
      op_index<Kmalloc>(),    op_index<Kmalloc>(),           op_index<Kzalloc>(),
      op_index<CacheAlloc>(), op_index<CacheCreate>(),       op_index<Kcalloc>(),
      op_index<PoolAlloc>(),  op_index<PoolCreateKmalloc>(), op_index<PoolCreatePages>()};
  if (c.shape.stack_bytes != 0 && random.percent(15)) {
    Op on_stack = default_op(op_index<ForkTask>() + random.below(op_index<StackNotUsed>() - op_index<ForkTask>() + 1));
    randomise_fields(c, on_stack, random);
    return on_stack;
  }
  static constexpr std::size_t of_percpu[] = {op_index<PerCpuVar>(),           op_index<PerCpuVar>(),
                                              op_index<AllocPercpu>(),         op_index<AllocPercpuGfp>(),
                                              op_index<AllocPercpuReserved>(), op_index<GetCpu>()};
  if (c.shape.percpu == machine::Toggle::on && random.percent(35)) {
    Op op = default_op(one_of(of_percpu, random));
    randomise_fields(c, op, random);
    if (Out* out = field_of<Out>(op)) out->slot = add_slot(c);
    return op;
  }
  const std::size_t kinds = dice < 75 ? op_index<FreePagesOf>() : op_kinds;  // allocations come first in the variant
  Op op = default_op(has_objects && random.percent(55) ? one_of(makers, random)
                                                       : random.below(static_cast<std::uint32_t>(kinds)));
  randomise_fields(c, op, random);
  if (Out* out = field_of<Out>(op); out && random.percent(50)) out->slot = add_slot(c);
  return op;
}

std::uint64_t class_end(std::uint64_t bytes) {
  if (bytes > 128 && bytes <= 192) return 192;  // with lines of 64 bytes there is none of 96
  return std::bit_ceil(std::max<std::uint64_t>(bytes, 32));
}

machine::Shape random_shape(Random& random) {
  const KnobChoices choices = random_choices(random);
  return shape_from(one_of(small_rows(), random), choices);
}

machine::Shape random_object_shape(Random& random) {
  KnobChoices choices = random_choices(random);
  constexpr std::uint8_t from_one_cpu = 1, none_of_its_own = 1;  // choices 0 leave it to the row
  for (std::size_t i = 0; i < knobs_count; ++i) {
    const Knob& knob = shape_knobs()[i];
    const auto but = [&](std::uint8_t first) {
      return static_cast<std::uint8_t>(first + random.below(knob.choices - first));
    };
    if (knob.name == "cpus") choices[i] = but(random.percent(15) ? from_one_cpu : from_one_cpu + 1);
    if (knob.name == "objects") choices[i] = random.percent(35) ? none_of_its_own : but(none_of_its_own);
  }
  return shape_from(one_of(small_rows(), random), choices);
}

fault::Rule random_rule(const Case& c, Random& random) {
  fault::Rule rule;
  rule.site = random.percent(75) ? Site("page.alloc") : Site("reclaim.progress");
  static constexpr Site devices[] = {"reclaim.slow", "reclaim.swap", "reclaim.writeback", "oom.exit"};
  if (random.percent(25)) rule.site = one_of(devices, random);
  if (c.shape.objects != machine::ObjectLayer::none && random.percent(40)) rule.site = "slab.alloc";
  if (c.shape.stack_bytes != 0 && random.percent(20)) rule.site = "kstack.charge";
  static constexpr Site of_percpu[] = {"percpu.chunk", "percpu.map", "percpu.populate"};
  if (c.shape.percpu == machine::Toggle::on && random.percent(30)) rule.site = one_of(of_percpu, random);
  const auto is_handler = [](const Program& program) { return program.kind != ContextKind::task; };
  const bool of_the_machine = random.percent(20);  // who waits or is interrupted asks for nothing
  if (of_the_machine)
    rule.site =
        std::ranges::any_of(c.programs, is_handler) && random.percent(60) ? Site("irq.storm") : Site("wake.lost");
  static constexpr std::uint8_t probabilities[] = {1, 5, 10, 20, 50, 90, 100};
  rule.probability = one_of(probabilities, random);
  if (rule.probability % 100 != 0) rule.seed = random.below(1000);
  if (random.percent(40)) rule.interval = 1 + random.below(7);
  if (random.percent(70)) rule.times = static_cast<std::int32_t>(random.below(6));
  if (of_the_machine) {
    if (const auto task = some_context(c, random, false); task && random.percent(25)) rule.task = *task;
    return rule;
  }
  if (random.percent(20)) rule.space = random.below(64);
  if (random.percent(20)) rule.min_order = static_cast<std::uint8_t>(random.below(5));
  if (random.percent(10)) rule.max_order = static_cast<std::uint8_t>(random.below(4));
  if (random.percent(10)) rule.min_size = random.below(300);
  if (random.percent(10)) rule.max_size = 8 + random.below(600);
  static constexpr subject::gfp_t flags[] = {subject::gfp_wait, subject::gfp_high, subject::gfp_zero};
  if (random.percent(10)) rule.gfp = one_of(flags, random);
  if (random.percent(10)) rule.cpu = static_cast<std::uint8_t>(random.below(c.shape.cpus));
  if (random.percent(10)) rule.kind = static_cast<std::uint8_t>(random.below(4));
  if (random.percent(5)) rule.caller = static_cast<std::uint16_t>(random.below(op_kinds + 1));
  rule.ignore_wait = random.percent(25);
  rule.ignore_highmem = random.percent(10);
  if (const auto task = some_context(c, random, false); task && random.percent(25)) rule.task = *task;
  return rule;
}

// A reaper in the middle of its pass lets somebody else have a go.
std::optional<Departure> departure_of_reaper(const Case& c, Random& random) {
  static constexpr Site sites[] = {"slab.reap", "slab.lock", "slab.unlock", "irq.enable",
                                   "page.free", "pcp.free",  "zone.lock",   "mutex.release"};
  Departure d{.at = {.who = static_cast<ContextId>(machine::events_first + random.below(c.shape.cpus)),
                     .op = random.below(4),
                     .site = one_of(sites, random),
                     .visit = static_cast<std::uint16_t>(1 + random.below(random.percent(50) ? 8 : 80))}};
  const bool interrupt = random.percent(25);
  const auto whom = some_context(c, random, interrupt);
  if (!whom || *whom == d.at.who) return std::nullopt;
  d.take = {.move = interrupt ? Move::deliver : Move::switch_to, .whom = *whom};
  return d;
}

std::optional<Departure> random_departure(const Case& c, Random& random) {
  if (c.programs.empty()) return std::nullopt;
  if (c.shape.reap == machine::Toggle::on && random.percent(30)) return departure_of_reaper(c, random);
  const auto who = static_cast<ContextId>(random.below(static_cast<std::uint32_t>(c.programs.size())));
  const auto& ops = c.programs[who].ops;
  if (ops.empty()) return std::nullopt;
  Departure d{.at = {.who = who, .op = random.below(static_cast<std::uint32_t>(ops.size()))}};
  d.at.site = likely_site(ops[d.at.op], random);
  d.at.visit = static_cast<std::uint16_t>(1 + (random.percent(75) ? 0 : random.below(4)));
  const std::uint32_t dice = random.below(100);
  d.take.move = dice < 45   ? Move::switch_to
                : dice < 75 ? Move::deliver
                : dice < 85 ? Move::migrate
                : dice < 94 ? Move::fail
                : dice < 96 ? Move::fail_from
                            : Move::wake;
  if (machine::is_failure(d.take.move)) {
    if (std::holds_alternative<ForkTask>(ops[d.at.op]) && random.percent(50)) {
      d.at.site = "kstack.charge";
      return d;
    }
    if (wakes(ops[d.at.op]) && random.percent(60)) {
      d.at.site = "wake.lost";
      return d;
    }
    if (some_context(c, random, true) && random.percent(30)) {
      d.at.site = "irq.storm";
      return d;
    }
    static constexpr Site of_percpu[] = {"percpu.chunk", "percpu.map", "percpu.populate", "slab.alloc", "page.alloc"};
    if (is_for_percpu(ops[d.at.op])) {
      d.at.site = one_of(of_percpu, random);
      return d;
    }
    d.at.site = is_for_objects(ops[d.at.op]) && random.percent(50) ? Site("slab.alloc") : Site("page.alloc");
    return d;
  }
  if (d.take.move == Move::migrate) {
    d.take.whom = static_cast<ContextId>(random.below(c.shape.cpus));
    return d;
  }
  const auto whom = some_context(c, random, d.take.move == Move::deliver);
  if (!whom) return std::nullopt;
  d.take.whom = *whom;
  return d;
}

}  // namespace memtorture::program
