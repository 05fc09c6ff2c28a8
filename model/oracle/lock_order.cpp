// The graph of lock classes: cycles, and what interrupts make of it.
#include "model/oracle/lock_order.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>

#include "allocator/machine/context.h"
#include "allocator/subject/gfp.h"

namespace memtorture::oracle {

using machine::LockClass;

namespace {

// The legal order of 1.5, outer first, as far as its locks exist here.
constexpr unsigned legal_order[] = {LockClass("cpu_hotplug").index(), LockClass("cache_chain").index(),
                                    LockClass("pcpu_alloc_mutex").index(), LockClass("slab.list").index(),
                                    LockClass("zone").index()};

constexpr LockSet bit(unsigned node) { return LockSet{1} << node; }

// Bits of LockUse.
constexpr unsigned in_hardirq = 0, in_softirq = 1, irqs_on = 2, bh_on = 3;
static_assert(machine::lock_in_hardirq == 1 << in_hardirq && machine::lock_in_softirq == 1 << in_softirq &&
              machine::lock_irqs_on == 1 << irqs_on && machine::lock_bh_on == 1 << bh_on);

constexpr LockClass reclaim_any("reclaim"), reclaim_io("io_reclaim"), reclaim_fs("fs_reclaim");
constexpr LockSet reclaims = reclaim_any.bit() | reclaim_io.bit() | reclaim_fs.bit();

constexpr std::string_view lock_name(unsigned node) { return LockClass::at(node).name(); }
constexpr bool is_program(unsigned node) { return lock_name(node).starts_with("program."); }
constexpr bool is_spin(unsigned node) { return LockClass::at(node).kind() == machine::LockKind::spin; }

constexpr LockSet irq_safe = [] {
  LockSet nodes = 0;
  for (unsigned node = 0; node != machine::lock_classes; ++node) {
    if (is_spin(node) && !is_program(node)) nodes |= bit(node);
  }
  return nodes;
}();

std::string who_text(const LockOrder::By& by) {
  return by.who == machine::no_context ? "the reference's order" : fmt::format("program {} op {}", by.who, by.op);
}

}  // namespace

LockSet reclaim_levels(std::uint32_t gfp, std::uint32_t task_flags) {
  if ((gfp & subject::gfp_wait) == 0 || (task_flags & machine::pf_memalloc) != 0) return 0;
  const bool noio = (task_flags & machine::pf_noio) != 0, nofs = noio || (task_flags & machine::pf_nofs) != 0;
  LockSet levels = reclaim_any.bit();
  if ((gfp & subject::gfp_io) != 0 && !noio) levels |= reclaim_io.bit();
  if ((gfp & subject::gfp_fs) != 0 && !nofs) levels |= reclaim_fs.bit();
  return levels;
}

LockClass reclaim_level(std::uint32_t gfp) {
  if ((gfp & subject::gfp_fs) != 0) return reclaim_fs;
  return (gfp & subject::gfp_io) != 0 ? reclaim_io : reclaim_any;
}

// Every spinlock of the stack is taken with interrupts off (1.5: irqsave; P-CTX-10), as if a handler had taken it.
void LockOrder::begin() {
  after_ = before_ = {};
  used_as_ = {};
  edges_.clear();
  used_.clear();
  for (std::size_t i = 0; i + 1 < std::size(legal_order); ++i) add(legal_order[i], legal_order[i + 1], {});
  used_as_[in_hardirq] = irq_safe;
}

void LockOrder::add(unsigned from, unsigned to, By by) {
  after_[from] |= bit(to);
  before_[to] |= bit(from);
  edges_.push_back({static_cast<std::uint8_t>(from), static_cast<std::uint8_t>(to), by});
}

// Depth first; the path is short and the graph small.
bool LockOrder::way(unsigned from, unsigned to, std::vector<unsigned>& nodes) const {
  LockSet seen = bit(from);
  nodes.assign(1, from);
  while (!nodes.empty()) {
    if (nodes.back() == to) return true;
    const LockSet next = after_[nodes.back()] & ~seen;
    if (next == 0) {
      nodes.pop_back();
      continue;
    }
    nodes.push_back(static_cast<unsigned>(std::countr_zero(next)));
    seen |= bit(nodes.back());
  }
  return false;
}

// "b under a (program 0 op 3), c under b (...)"
std::string LockOrder::told(const std::vector<unsigned>& nodes) const {
  std::string text;
  for (std::size_t i = 0; i + 1 < nodes.size(); ++i) {
    const auto edge =
        std::ranges::find_if(edges_, [&](const Edge& e) { return e.from == nodes[i] && e.to == nodes[i + 1]; });
    text += fmt::format("{}{} under {} ({})", i == 0 ? "" : ", ", lock_name(nodes[i + 1]), lock_name(nodes[i]),
                        who_text(edge->by));
  }
  return text;
}

std::optional<LockOrder::Trouble> LockOrder::take(unsigned taken, LockSet under, std::uint8_t use, By by) {
  // One lock a class: a program that takes it again recurses, which is a crime by another name. Reclaim does not
  // exclude reclaim.
  if (is_program(taken)) under &= ~bit(taken);
  if ((bit(taken) & reclaims) != 0) under &= ~reclaims;
  const LockSet fresh = under & ~before_[taken];
  for (LockSet left = fresh; left != 0; left &= left - 1) add(static_cast<unsigned>(std::countr_zero(left)), taken, by);
  for (unsigned way = 0; is_spin(taken) && way != std::size(used_as_); ++way) {
    if ((use >> way & 1) == 0 || (used_as_[way] & bit(taken)) != 0) continue;
    used_as_[way] |= bit(taken);
    used_.push_back({static_cast<std::uint8_t>(taken), static_cast<std::uint8_t>(way), by});
  }
  if (auto trouble = cycle(taken, fresh)) return trouble;
  return interrupts();
}

// P-CTX-8: what protects the stack's own lists calls nobody, so no program's lock is ever under it.
std::optional<LockOrder::Trouble> LockOrder::cycle(unsigned taken, LockSet fresh) const {
  std::vector<unsigned> nodes;
  for (LockSet left = fresh; left != 0; left &= left - 1) {
    const auto from = static_cast<unsigned>(std::countr_zero(left));
    if (is_program(taken) && is_spin(from) && !is_program(from))
      return Trouble{Kind::order, false, fmt::format("{} is taken under {}", lock_name(taken), lock_name(from))};
    if (!way(taken, from, nodes)) continue;
    const bool program = std::ranges::any_of(nodes, is_program);
    const bool reclaim = std::ranges::any_of(nodes, [](unsigned node) { return (bit(node) & reclaims) != 0; });
    return Trouble{reclaim ? Kind::reclaim : Kind::order, program,
                   fmt::format("{} is taken under {}, against {}", lock_name(taken), lock_name(from),
                               nodes.size() == 1 ? "itself" : told(nodes))};
  }
  return std::nullopt;
}

std::optional<LockOrder::Trouble> LockOrder::interrupts() const {
  if (auto trouble = interrupts(in_hardirq, irqs_on, "a hardirq")) return trouble;
  return interrupts(in_softirq, bh_on, "a softirq");
}

// A handler takes `safe` while what it interrupted holds `unsafe`, and whoever holds `safe` waits for `unsafe`.
std::optional<LockOrder::Trouble> LockOrder::interrupts(unsigned in, unsigned on, std::string_view handler) const {
  const auto by = [&](unsigned node, unsigned way) {
    const auto found = std::ranges::find_if(used_, [&](const Use& u) { return u.node == node && u.way == way; });
    return found == used_.end() ? std::string("the reference") : who_text(found->by);
  };
  std::vector<unsigned> nodes;
  for (LockSet kept = used_as_[on]; kept != 0; kept &= kept - 1) {
    const auto unsafe = static_cast<unsigned>(std::countr_zero(kept));
    for (LockSet taken = used_as_[in]; taken != 0; taken &= taken - 1) {
      const auto safe = static_cast<unsigned>(std::countr_zero(taken));
      if (!way(safe, unsafe, nodes)) continue;
      std::string text = fmt::format("{} takes {} ({}), and {} is held where one can come ({})", handler,
                                     lock_name(safe), by(safe, in), lock_name(unsafe), by(unsafe, on));
      if (nodes.size() > 1) text += ": " + told(nodes);
      return Trouble{Kind::interrupts, std::ranges::any_of(nodes, is_program), std::move(text)};
    }
  }
  return std::nullopt;
}

}  // namespace memtorture::oracle
