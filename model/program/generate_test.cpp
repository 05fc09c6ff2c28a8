// The generator: the same case for the same seed, everything comes up, and the innocent are innocent.
#include "model/program/generate.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "model/program/legal.h"
#include "model/program/op_table.h"
#include "model/program/random_parts.h"
#include "model/program/text.h"

namespace memtorture::program {
namespace {

using machine::ContextKind;

TEST(Generate, SameSeedSameCase) {
  const GenerateOptions options{.crimes = 30, .departures = 30};
  for (std::uint64_t seed = 0; seed < 50; ++seed) EXPECT_EQ(generate(seed, options), generate(seed, options));
  EXPECT_NE(generate(1, options), generate(2, options));
}

TEST(Generate, EveryKindOfEverythingComesUp) {
  std::set<std::string_view> ops, kinds, moves, shapes;
  unsigned with_faults = 0, with_hole = 0, with_poison = 0, with_pcp = 0, with_cpus = 0, with_nodes = 0,
           with_beyond = 0;
  const GenerateOptions options{.crimes = 50, .faults = 50, .departures = 50, .contexts = 80};
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    const Case c = generate(seed, options);
    ASSERT_EQ(why_illegal(c), std::nullopt) << seed;
    for (const Program& program : c.programs) {
      kinds.insert(machine::context_kind_names[static_cast<unsigned>(program.kind)]);
      for (const Op& op : program.ops) {
        ops.insert(name_of(op));
        const Order* order = field_of<Order>(op);
        with_beyond += order != nullptr && order->value >= c.shape.orders ? 1 : 0;
      }
    }
    for (const auto& departure : c.departures)
      moves.insert(machine::move_names[static_cast<unsigned>(departure.take.move)]);
    shapes.insert(c.shape.name());
    with_faults += c.faults.empty() ? 0 : 1;
    with_hole += c.shape.hole_end > c.shape.hole_start ? 1 : 0;
    with_poison += c.shape.poison == machine::Toggle::on ? 1 : 0;
    with_pcp += c.shape.pcp_high ? 1 : 0;
    with_cpus += c.shape.cpus > 1 ? 1 : 0;
    with_nodes += c.shape.nodes > 1 ? 1 : 0;
  }
  for (const std::string_view name : op_names) EXPECT_TRUE(ops.contains(name)) << name << " never comes up";
  EXPECT_EQ(kinds.size(), 4U);
  EXPECT_EQ(moves.size(), std::size(machine::move_names) - 1);
  EXPECT_GE(shapes.size(), 5U);
  for (const unsigned count : {with_faults, with_hole, with_poison, with_pcp, with_cpus, with_nodes, with_beyond})
    EXPECT_GT(count, 50U);
}

TEST(Generate, OptionsAreKept) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Case c =
        generate(seed, {.crimes = 0, .faults = 0, .departures = 0, .contexts = 0, .cpus_max = 1, .nodes_max = 1});
    EXPECT_TRUE(c.faults.empty() && c.departures.empty());
    EXPECT_EQ(c.shape.cpus, 1);
    EXPECT_EQ(c.shape.nodes, 1);
    for (const Program& program : c.programs) EXPECT_EQ(program.kind, ContextKind::task);
  }
}

// A second, simpler set of books: follows each program and counts its crimes, taking every allocation for granted.
class Judge {
 public:
  explicit Judge(const Case& c) : case_(c) {}

  unsigned crimes() {
    // Who waits at its start may be given blocks by the others, never the other way round.
    const auto waits = [](const Program& p) {
      return !p.ops.empty() && std::holds_alternative<WaitEvent>(p.ops.front());
    };
    for (const Program& program : case_.programs)
      if (!waits(program)) judge(program);
    for (const Program& program : case_.programs)
      if (waits(program)) judge(program);
    return crimes_;
  }

 private:
  struct Unit {  // frames that are freed together
    unsigned order = 0, references = 1;
    bool is_compound = false, is_high = false, is_exact = false, is_part = false;
    std::uint64_t bytes = 0;
  };
  using Place = std::pair<Slot, std::uint16_t>;

  void blame(bool is_crime) { crimes_ += is_crime ? 1 : 0; }

  void judge(const Program& program) {
    depth_ = masked_ = bh_off_ = 0;
    spins_.clear();
    mutexes_.clear();
    kind_ = program.kind;
    const bool is_task = program.kind == ContextKind::task;
    for (const Op& op : program.ops) {
      const In* const on = field_of<In>(op);
      if (is_for_stacks(op)) continue;  // author_stacks_test.cpp
      if (std::holds_alternative<GetCpu>(op) || std::holds_alternative<GetCpuPtr>(op)) ++depth_;
      if (std::holds_alternative<PutCpu>(op) || std::holds_alternative<PutCpuPtr>(op)) --depth_;
      if (is_for_percpu(op)) continue;  // PercpuJudge's business
      if (is_for_objects(op) || (on != nullptr && about_objects_.contains(on->slot))) {
        if (const Out* out = field_of<Out>(op)) about_objects_.insert(out->slot);
        continue;
      }
      if (const Out* out = field_of<Out>(op)) {
        allocate(op, *out, is_task);
        blame(program.kind == ContextKind::nmi);
      }
      if (const In* in = field_of<In>(op)) use(op, *in);
      context(op, is_task);
    }
    blame(depth_ != 0);
  }

  void allocate(const Op& op, Out out, bool is_task) {
    const Gfp* gfp = field_of<Gfp>(op);
    blame(gfp == nullptr);                      // wild_page
    blame(!assigned_.insert(out.slot).second);  // a refusal would leave the old, freed block in the slot
    if (gfp == nullptr) return;
    const subject::gfp_t bits = gfp->bits | (std::holds_alternative<GetDmaPages>(op) ? subject::gfp_dma : 0);
    const unsigned zones = bits & (subject::gfp_dma | subject::gfp_dma32 | subject::gfp_highmem);
    const bool by_page = std::holds_alternative<AllocPages>(op) || std::holds_alternative<AllocPage>(op) ||
                         std::holds_alternative<AllocPagesNode>(op);
    blame((bits & subject::gfp_wait) != 0 && (!is_task || depth_ > 0));
    blame((bits & subject::gfp_nofail) != 0 && ((bits & subject::gfp_wait) == 0 || (bits & subject::gfp_noretry) != 0));
    blame((bits & subject::gfp_movable) != 0 && (bits & subject::gfp_reclaimable) != 0);
    blame((zones & (zones - 1)) != 0);
    blame(zones == subject::gfp_highmem && !by_page);
    Unit unit{.is_compound = (bits & subject::gfp_comp) != 0, .is_high = (bits & subject::gfp_highmem) != 0};
    if (const Order* order = field_of<Order>(op)) unit.order = order->value;
    if (const Bytes* bytes = field_of<Bytes>(op)) {
      unit.is_exact = true;
      unit.bytes = bytes->value;
      blame(unit.is_compound || bytes->value == 0);
    }
    if (unit.order >= case_.shape.orders) return;
    units_[{out.slot, 0}] = unit;
  }

  void use(const Op& op, In in) {
    auto found = units_.find({in.slot, in.offset});
    if (found == units_.end() && by_any_frame(op)) found = compound_of(in);
    blame(found == units_.end());
    if (found == units_.end()) return;
    Unit& unit = found->second;
    const bool is_unit = unit.order == 0 || unit.is_compound;
    const Order* order = field_of<Order>(op);
    const bool by_address = std::holds_alternative<FreePages>(op) || std::holds_alternative<FreePage>(op);
    if (std::holds_alternative<FreePagesExact>(op)) {
      blame(!unit.is_exact || field_of<Bytes>(op)->value != unit.bytes);
      units_.erase(found);
    } else if (std::holds_alternative<SplitPage>(op)) {
      blame(unit.is_exact || unit.is_compound || order->value != unit.order || unit.references != 1);
      const Unit part{.is_high = unit.is_high, .is_part = true};
      const unsigned parts = 1U << unit.order;
      units_.erase(found);
      for (unsigned i = 0; i < parts; ++i) units_[{in.slot, static_cast<std::uint16_t>(in.offset + i)}] = part;
    } else if (std::holds_alternative<GetPage>(op)) {
      blame(unit.is_exact);
      ++unit.references;
    } else if (std::holds_alternative<PutPage>(op)) {
      blame(unit.is_exact || (!is_unit && unit.references == 1));
      if (--unit.references == 0) units_.erase(found);
    } else if (std::holds_alternative<FreePagesOf>(op) || std::holds_alternative<FreePageOf>(op) || by_address) {
      blame(unit.is_exact || (order ? order->value : 0U) != unit.order || (by_address && unit.is_high) ||
            (!is_unit && unit.references > 1));
      if (--unit.references == 0) units_.erase(found);
    } else if (const Offset* offset = field_of<Offset>(op)) {
      const std::uint64_t bytes = unit.is_exact ? unit.bytes : case_.shape.page_bytes() << unit.order;
      blame(offset->value < 0 || static_cast<std::uint64_t>(offset->value) >= bytes);
    } else {
      blame(unit.is_part && (std::holds_alternative<Fill>(op) || std::holds_alternative<CheckContents>(op)));
      blame(std::holds_alternative<Forget>(op) || std::holds_alternative<BlemishPage>(op));
    }
  }

  static bool by_any_frame(const Op& op) {
    return std::holds_alternative<GetPage>(op) || std::holds_alternative<PutPage>(op) ||
           std::holds_alternative<PageCount>(op);
  }
  std::map<Place, Unit>::iterator compound_of(In in) {
    const auto head = units_.find({in.slot, 0});
    const bool covers = head != units_.end() && head->second.is_compound && in.offset < 1U << head->second.order;
    return covers ? head : units_.end();
  }

  void context(const Op& op, bool is_task) {
    const auto is = [&]<class... T>() { return (std::holds_alternative<T>(op) || ...); };
    const bool is_atomic = depth_ > 0 || !is_task;
    const Gfp* gfp = std::holds_alternative<ClientAdd>(op) ? field_of<Gfp>(op) : nullptr;
    blame(is_atomic && gfp != nullptr && (gfp->bits & subject::gfp_wait) != 0);
    blame(is_atomic && is.operator()<MightSleep, Schedule, CondResched, Msleep, DrainAllPages, WaitEvent, MutexLockOp,
                                     MutexTrylock, RegisterShrinker, UnregisterShrinker>());
    blame(!is_atomic && is.operator()<SmpProcessorId>());
    blame(is.operator()<DoExit, SpinUnlockUnheld, MutexUnlockUnheld>());
    const bool masks = is.operator()<LocalIrqSave, SpinLockIrqsave>(), bh = is.operator()<LocalBhDisable, SpinLockBh>();
    const bool unmasks = is.operator()<LocalIrqRestore, SpinUnlockIrqrestore>(),
               no_bh = is.operator()<LocalBhEnable, SpinUnlockBh>();
    if (masks) ++masked_;
    if (bh) ++bh_off_;
    if (is.operator()<SpinLockOp, SpinLockIrqsave, SpinLockBh, SpinTrylock>()) spin(field_of<Lock>(op)->value, is_task);
    if (is.operator()<SpinUnlockOp, SpinUnlockIrqrestore, SpinUnlockBh>()) release(spins_, op);
    if (is.operator()<MutexLockOp, MutexTrylock>()) nest(mutexes_, field_of<Lock>(op)->value);
    if (is.operator()<MutexUnlockOp>()) release(mutexes_, op);
    if (unmasks) --masked_;
    if (no_bh) {
      blame(masked_ != 0);
      --bh_off_;
    }
    if (masks || bh || is.operator()<PreemptDisable, SpinLockOp, SpinTrylock, RcuReadLock>()) ++depth_;
    if (unmasks || no_bh || is.operator()<PreemptEnable, SpinUnlockOp, RcuReadUnlock>()) --depth_;
  }

  // Locks nest in the order of their numbers; what softirqs (l2) and hardirqs (l3) take is taken with them off.
  void spin(std::uint8_t lock, bool is_task) {
    nest(spins_, lock);
    blame(lock == 2 && is_task && masked_ == 0 && bh_off_ == 0);
    blame(lock == 3 && kind_ != ContextKind::hardirq && masked_ == 0);
    blame(lock < 2 && !is_task);
  }
  void nest(std::vector<std::uint8_t>& held, std::uint8_t lock) {
    blame(!held.empty() && held.back() >= lock);
    held.push_back(lock);
  }
  void release(std::vector<std::uint8_t>& held, const Op& op) {
    blame(held.empty() || held.back() != field_of<Lock>(op)->value);
    if (!held.empty()) held.pop_back();
  }

  const Case& case_;
  std::set<Slot> about_objects_;  // ObjectJudge's business
  std::map<Place, Unit> units_;
  std::set<Slot> assigned_;
  int depth_ = 0, masked_ = 0, bh_off_ = 0;
  std::vector<std::uint8_t> spins_, mutexes_;
  ContextKind kind_ = ContextKind::task;
  unsigned crimes_ = 0;
};

// The same for objects and caches. An object may be given up by another program, once, and by nobody else.
class ObjectJudge {
 public:
  explicit ObjectJudge(const Case& c) : case_(c) {}

  unsigned crimes() {
    for (const Program& program : case_.programs) collect(program, true);
    for (const Program& program : case_.programs) collect(program, false);
    for (const Program& program : case_.programs) judge(program);
    return crimes_;
  }

 private:
  struct Known {
    std::uint64_t bytes = 0;
    std::optional<Slot> cache, pool;
    bool constructed = false, is_pages = false;
    bool whole = false;  // ksize was asked
    unsigned frees = 0;
  };
  struct Made {
    std::uint64_t bytes;
    bool dma, constructed;
    bool is_pages = false;
  };

  void blame(bool is_crime) { crimes_ += is_crime ? 1 : 0; }
  static bool gives_up(const Op& op) {
    return std::holds_alternative<Kfree>(op) || std::holds_alternative<Kzfree>(op) ||
           std::holds_alternative<CacheFree>(op) || std::holds_alternative<KfreeS>(op) ||
           std::holds_alternative<PoolFree>(op);
  }

  // First what is for all programs, wherever they come to use it.
  void collect(const Program& program, bool caches_and_pools) {
    for (const Op& op : program.ops) {
      if (!is_for_objects(op)) continue;
      if (caches_and_pools != (makes_pool(op) || std::holds_alternative<CacheCreate>(op))) continue;
      const Out* out = field_of<Out>(op);
      if (const auto* create = std::get_if<CacheCreate>(&op)) {
        const bool is_new =
            caches_
                .try_emplace(out->slot, Made{create->bytes.value, (create->flags.bits & subject::SLAB_CACHE_DMA) != 0,
                                             create->ctor.value != 0})
                .second;
        const bool is_again = creations_.contains(out->slot) && creations_.at(out->slot) == *create;
        creations_.emplace(out->slot, *create);
        blame((!is_new && !is_again) || create->bytes.value < 8 ||
              (create->align.value & (create->align.value - 1)) != 0);
      } else if (makes_pool(op)) {
        Made made{};
        if (const Bytes* bytes = field_of<Bytes>(op)) made.bytes = bytes->value;
        if (const Of* of = field_of<Of>(op)) {
          blame(!caches_.contains(of->slot) || caches_[of->slot].dma);  // it is filled without GFP_DMA
          made = caches_[of->slot];
        }
        if (const Order* order = field_of<Order>(op)) {
          blame(order->value >= case_.shape.orders);
          made.bytes = case_.shape.page_bytes() << order->value;
          made.is_pages = true;
        }
        blame(!pools_.try_emplace(out->slot, made).second || made.bytes == 0);
      } else if (const auto* alloc = std::get_if<PoolAlloc>(&op)) {
        blame(!pools_.contains(alloc->pool.slot));
        const Made& made = pools_[alloc->pool.slot];
        blame((alloc->gfp.bits & (subject::gfp_dma | subject::gfp_zero)) != 0);
        const Known known{
            .bytes = made.bytes, .pool = alloc->pool.slot, .constructed = made.constructed, .is_pages = made.is_pages};
        blame(!objects_.try_emplace(out->slot, known).second);
      } else if (std::holds_alternative<Krealloc>(op)) {
        blame(out->slot != field_of<In>(op)->slot || !objects_.contains(out->slot));
      } else if (out != nullptr) {
        Known known;
        if (const Bytes* bytes = field_of<Bytes>(op)) known.bytes = bytes->value;
        if (const auto* array = std::get_if<Kcalloc>(&op)) known.bytes *= array->n.value;
        if (const Of* of = field_of<Of>(op)) {
          blame(!caches_.contains(of->slot));
          known.cache = of->slot;
          known.bytes = caches_[of->slot].bytes;
          known.constructed = caches_[of->slot].constructed;
          const bool dma = (field_of<Gfp>(op)->bits & subject::gfp_dma) != 0;
          blame(dma != caches_[of->slot].dma || (known.constructed && std::holds_alternative<CacheZalloc>(op)));
        }
        blame(!objects_.try_emplace(out->slot, known).second);
      }
    }
  }

  void judge(const Program& program) {
    std::set<Slot> gone;
    int depth = 0;
    for (const Op& op : program.ops) {
      const auto is = [&]<class... T>() { return (std::holds_alternative<T>(op) || ...); };
      if (is.operator()<PreemptDisable, LocalIrqSave, LocalBhDisable, SpinLockOp, SpinLockIrqsave, SpinLockBh,
                        SpinTrylock, RcuReadLock>())
        ++depth;
      if (is.operator()<PreemptEnable, LocalIrqRestore, LocalBhEnable, SpinUnlockOp, SpinUnlockIrqrestore, SpinUnlockBh,
                        RcuReadUnlock>())
        --depth;
      const bool is_atomic = depth > 0 || program.kind != ContextKind::task;
      const In* in = field_of<In>(op);
      if (in != nullptr && objects_.contains(in->slot)) use(op, *in, gone);
      if (!is_for_objects(op)) continue;
      blame(program.kind == ContextKind::nmi);
      blame(is_atomic &&
            (is.operator()<CacheCreate, CacheDestroy, CacheShrink, PoolResize, PoolDestroy>() || makes_pool(op)));
      if (const auto* resize = std::get_if<PoolResize>(&op)) blame(resize->min_nr.value == 0);
      if (const Of* of = field_of<Of>(op); of != nullptr && pools_.contains(of->slot)) {
        blame(gone.contains(of->slot));
        if (is.operator()<PoolDestroy>()) {
          gone.insert(of->slot);
          for (const auto& [slot, known] : objects_)
            blame(known.pool == of->slot && !gone.contains(slot) && seen(program, slot, op));
        }
      }
      if (const Gfp* gfp = field_of<Gfp>(op)) {
        blame(is_atomic && (gfp->bits & subject::gfp_wait) != 0);
        blame((gfp->bits & (subject::gfp_highmem | subject::gfp_dma32 | subject::gfp_nofail)) != 0);
      }
      if (const Of* of = field_of<Of>(op); of != nullptr && caches_.contains(of->slot)) {
        blame(gone.contains(of->slot));
        if (is.operator()<CacheDestroy>()) {
          gone.insert(of->slot);
          for (const auto& [slot, known] : objects_)
            blame(known.cache == of->slot && !gone.contains(slot) && seen(program, slot, op));
          for (const Op& earlier : program.ops) {
            if (&earlier == &op) break;
            const auto* made = std::get_if<PoolCreateSlab>(&earlier);
            blame(made != nullptr && made->cache.slot == of->slot && !gone.contains(made->out.slot));
          }
        }
      }
    }
  }

  // Was the slot filled in this program before this operation?
  static bool seen(const Program& program, Slot slot, const Op& before) {
    for (const Op& op : program.ops) {
      if (&op == &before) return false;
      if (const Out* out = field_of<Out>(op); out != nullptr && out->slot == slot) return true;
    }
    return false;
  }

  void use(const Op& op, In in, std::set<Slot>& gone) {
    Known& known = objects_[in.slot];
    blame(in.offset != 0 || gone.contains(in.slot));
    blame(std::holds_alternative<Forget>(op));
    if (std::holds_alternative<Ksize>(op)) known.whole = true;
    const std::uint64_t end = known.whole && !known.cache && !known.pool ? class_end(known.bytes) : known.bytes;
    if (const Offset* at = field_of<Offset>(op)) blame(at->value < 0 || static_cast<std::uint64_t>(at->value) >= end);
    if (std::holds_alternative<Poke>(op)) blame(known.constructed || !known.whole);
    if (const auto* free = std::get_if<KfreeS>(&op)) blame(free->bytes.value != 0 && free->bytes.value != known.bytes);
    if (const auto* free = std::get_if<CacheFree>(&op)) blame(known.cache != free->cache.slot);
    const auto* back = std::get_if<PoolFree>(&op);
    blame(gives_up(op) && known.pool.has_value() != (back != nullptr));
    blame(back != nullptr && known.pool != back->pool.slot);
    blame(known.pool &&
          (std::holds_alternative<Krealloc>(op) || (known.is_pages && std::holds_alternative<Ksize>(op))));
    if (const auto* move = std::get_if<Krealloc>(&op))
      known.bytes = std::min(known.bytes, move->bytes.value), known.whole = false;  // whether it was granted or not
    if (!gives_up(op)) return;
    blame(++known.frees > 1 || (known.constructed && std::holds_alternative<Kzfree>(op)));
    gone.insert(in.slot);
  }

  const Case& case_;
  std::map<Slot, Known> objects_;
  std::map<Slot, Made> caches_, pools_;
  std::map<Slot, CacheCreate> creations_;
  unsigned crimes_ = 0;
};

// The same for per-CPU memory: areas are their program's own, and the static variables have a rule each.
class PercpuJudge {
 public:
  explicit PercpuJudge(const Case& c) : case_(c) {}

  unsigned crimes() {
    for (const Program& program : case_.programs) judge(program);
    return crimes_;
  }

 private:
  void blame(bool is_crime) { crimes_ += is_crime ? 1 : 0; }

  void judge(const Program& program) {
    std::map<Slot, std::optional<std::uint32_t>> areas;  // a static variable's number, or one's own
    std::map<Slot, Slot> pointers;                       // to a copy of which area
    std::set<Slot> numbers;
    const bool task = program.kind == ContextKind::task;
    int pins = 0, masks = program.kind == ContextKind::hardirq ? 1 : 0;
    for (const Op& op : program.ops) {
      const auto is = [&]<class... T>() { return (std::holds_alternative<T>(op) || ...); };
      if (is.operator()<PreemptDisable, GetCpu, GetCpuPtr, SpinLockOp, SpinLockBh, SpinTrylock, RcuReadLock,
                        LocalBhDisable>())
        ++pins;
      if (is.operator()<PreemptEnable, PutCpu, PutCpuPtr, SpinUnlockOp, SpinUnlockBh, RcuReadUnlock, LocalBhEnable>())
        pins = std::max(0, pins - 1);
      if (is.operator()<LocalIrqSave, SpinLockIrqsave>()) ++masks;
      if (is.operator()<LocalIrqRestore, SpinUnlockIrqrestore>()) masks = std::max(0, masks - 1);
      if (!is_for_percpu(op)) continue;
      const bool pinned = !task || pins > 0 || masks > 0;
      const Out* const out = field_of<Out>(op);
      const Of* const of = field_of<Of>(op);
      const In* const in = field_of<In>(op);
      blame(program.kind == ContextKind::nmi && !is.operator()<PerCpuVar, ThisCpuAdd, PerCpuSum>());
      if (of != nullptr) blame(!areas.contains(of->slot));
      if (const auto* variable = std::get_if<PerCpuVar>(&op)) {
        areas[out->slot] = variable->index.value;
      } else if (makes_percpu(op)) {
        const Gfp* const gfp = field_of<Gfp>(op);
        blame((gfp == nullptr || (gfp->bits & subject::gfp_wait) != 0) && pinned);
        blame(field_of<Bytes>(op)->value == 0 || field_of<Bytes>(op)->value > case_.shape.page_bytes());
        blame(!areas.try_emplace(out->slot).second);
      } else if (makes_copy(op)) {
        blame(is.operator()<PerCpuPtr>() || (is.operator()<ThisCpuPtr>() && !pinned));
        pointers[out->slot] = of->slot;
      } else if (is.operator()<GetCpu>()) {
        numbers.insert(out->slot);
      } else if (is.operator()<FreePercpu>()) {
        blame(in->offset != 0 || !areas.contains(in->slot) || areas[in->slot].has_value());
        areas.erase(in->slot);
      } else if (is.operator()<PtrAdd, PerCpuAdd, RawCpuAdd, ThisCpuAdd>()) {
        if (is.operator()<PerCpuAdd>()) blame(!numbers.contains(in->slot));
        if (is.operator()<PtrAdd>()) blame(!pointers.contains(in->slot) || !areas.contains(pointers[in->slot]));
        const auto which = areas[is.operator()<PtrAdd>() ? pointers[in->slot] : of->slot];
        const bool in_one = is.operator()<ThisCpuAdd>();
        blame(!in_one && !pinned);
        if (!which) continue;
        blame(*which == 0 && !in_one);
        blame(*which == 1 && !in_one && masks == 0);
        blame(*which == 2 && !task);
        blame(program.kind == ContextKind::nmi && *which != 0);
      }
    }
  }

  const Case& case_;
  unsigned crimes_ = 0;
};

// How many programs take objects of one cache, at most.
std::size_t users_of_one_cache(const Case& c) {
  std::map<Slot, std::set<const Program*>> users;
  for (const Program& program : c.programs) {
    for (const Op& op : program.ops) {
      if (const auto* alloc = std::get_if<CacheAlloc>(&op)) users[alloc->cache.slot].insert(&program);
    }
  }
  std::size_t most = 0;
  for (const auto& [slot, programs] : users) most = std::max(most, programs.size());
  return most;
}

TEST(Generate, SomeCasesAreFocused) {
  unsigned shared = 0, again = 0, beyond = 0;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    const Case c = generate(seed, {.crimes = 0});
    shared += users_of_one_cache(c) > 1 ? 1 : 0;
    std::set<Slot> created, asked;
    for (const Program& program : c.programs) {
      for (const Op& op : program.ops) {
        if (const auto* create = std::get_if<CacheCreate>(&op))
          again += created.insert(create->out.slot).second ? 0 : 1;
        if (const auto* size = std::get_if<Ksize>(&op)) asked.insert(size->in.slot);
        if (const auto* poke = std::get_if<Poke>(&op)) beyond += asked.contains(poke->in.slot) ? 1 : 0;
      }
    }
  }
  EXPECT_GT(shared, 50U);
  EXPECT_GT(again, 10U) << "a name that is taken";
  EXPECT_GT(beyond, 30U) << "bytes that ksize told of";
}

TEST(Generate, WithoutCrimesThereAreNone) {
  std::size_t ops = 0;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    const Case c = generate(seed, {.crimes = 0, .contexts = 80});
    ASSERT_EQ(Judge(c).crimes(), 0U) << "seed " << seed << "\n" << print(c);
    ASSERT_EQ(ObjectJudge(c).crimes(), 0U) << "seed " << seed << "\n" << print(c);
    ASSERT_EQ(PercpuJudge(c).crimes(), 0U) << "seed " << seed << "\n" << print(c);
    for (const Program& program : c.programs) ops += program.ops.size();
  }
  EXPECT_GT(ops, 40000U);
}

TEST(Generate, WithCrimesTheJudgeSeesThem) {
  unsigned guilty = 0, cases = 0;
  for (std::uint64_t seed = 0; cases < 500; ++seed) {
    const Case c = generate(seed, {.crimes = 100});
    if (c.shape.stack_bytes != 0) continue;  // author_stacks_test.cpp
    ++cases;
    guilty += Judge(c).crimes() + ObjectJudge(c).crimes() + PercpuJudge(c).crimes() > 0 ? 1 : 0;
  }
  EXPECT_GT(guilty, 450U);  // the judge knows no reclaim, and believes every allocation
}

}  // namespace
}  // namespace memtorture::program
