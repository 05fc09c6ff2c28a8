// What each action writes. Flags and sizes are drawn with a bias to where allocators go wrong, and so that most runs do
// not end early: a request that may not fail is rare where memory is scarce.
#include <algorithm>
#include <utility>

#include "model/program/author.h"
#include "model/program/random_parts.h"

namespace memtorture::program {
namespace {

using namespace subject;

// May not end before it succeeded (domain.md 9.4): with memory all taken, this is how a run ends in a panic.
bool must_succeed(gfp_t gfp, std::uint8_t order) {
  return (gfp & gfp_wait) != 0 && (gfp & gfp_noretry) == 0 && order <= 3;
}

template <class T>
void shuffle(std::vector<T>& list, Random& random) {
  for (std::size_t i = list.size(); i > 1; --i)
    std::swap(list[i - 1], list[random.below(static_cast<std::uint32_t>(i))]);
}

}  // namespace

std::uint8_t Author::small_order() {
  return random_.percent(70) ? 0
                             : static_cast<std::uint8_t>(random_.below(std::min<std::uint32_t>(4, case_.shape.orders)));
}

gfp_t Author::gfp(std::uint8_t order, Form form) {
  static constexpr gfp_t sleeping[] = {GFP_KERNEL, GFP_KERNEL, GFP_KERNEL, GFP_USER,   GFP_TEMPORARY, GFP_NOFS,
                                       GFP_NOIO,   GFP_ATOMIC, GFP_ATOMIC, GFP_NOWAIT, GFP_THISNODE};
  static constexpr gfp_t atomic[] = {GFP_ATOMIC, GFP_ATOMIC, GFP_NOWAIT};
  static constexpr gfp_t hints[] = {gfp_cold,    gfp_nomemalloc, gfp_hardwall, gfp_notrack, gfp_high,
                                    gfp_nowarn,  gfp_nowarn,     gfp_zero,     gfp_zero,    gfp_noretry,
                                    gfp_noretry, gfp_repeat,     gfp_thisnode};
  gfp_t bits = is_sleepable() ? one_of(sleeping, random_) : one_of(atomic, random_);
  while (random_.percent(30)) bits |= one_of(hints, random_);
  if (form != Form::exact && random_.percent(12)) bits |= gfp_comp;
  const std::uint32_t zone = random_.below(100);
  if (zone < 6) bits |= gfp_dma;
  if (zone >= 6 && zone < 12) bits |= gfp_dma32;
  if (zone >= 12 && zone < 32 && form == Form::page) bits |= gfp_highmem;
  if (random_.percent(8) && (bits & gfp_reclaimable) == 0) bits |= gfp_movable;
  const bool is_walled = is_confined_ && (bits & gfp_hardwall) != 0;
  const bool is_narrow = (bits & (gfp_dma | gfp_dma32 | gfp_thisnode)) != 0 || (bits & gfp_fs) == 0 || is_walled;
  const std::uint32_t timid = is_crowded() ? 90 : is_narrow ? 70 : 10;
  if (must_succeed(bits, order) && random_.percent(timid)) bits |= gfp_noretry;
  if (must_succeed(bits, order) && !is_narrow && random_.percent(3)) bits |= gfp_nofail;
  if ((bits & (gfp_wait | gfp_noretry)) == gfp_wait && order > 3 && !is_crowded() && random_.percent(20))
    bits |= random_.percent(15) ? gfp_nofail : gfp_repeat;
  return bits;
}

void Author::alloc(std::uint8_t order) {
  const gfp_t flags = gfp(order, Form::page);
  const Slot slot = fresh();
  const bool is_single = order == 0 && random_.percent(50);
  emit(is_single ? Op(AllocPage{{slot}, {flags}}) : Op(AllocPages{{slot}, {flags}, {order}}));
  own({.in = {slot},
       .is_low = (flags & gfp_highmem) == 0,
       .is_compound = order > 0 && (flags & gfp_comp) != 0,
       .order = order});
}

void Author::alloc_node() {
  const std::uint8_t order = small_order();
  const gfp_t flags = gfp(order, Form::page) | (random_.percent(20) ? gfp_thisnode | gfp_noretry : 0);
  const auto node = static_cast<std::int8_t>(static_cast<int>(random_.below(case_.shape.nodes + 1U)) - 1);
  const Slot slot = fresh();
  emit(AllocPagesNode{{slot}, {node}, {flags & ~((flags & gfp_noretry) != 0 ? gfp_nofail : 0)}, {order}});
  own({.in = {slot},
       .is_low = (flags & gfp_highmem) == 0,
       .is_compound = order > 0 && (flags & gfp_comp) != 0,
       .order = order});
}

void Author::alloc_address() {
  const std::uint8_t order = small_order();
  gfp_t flags = gfp(order, Form::address);
  const Slot slot = fresh();
  Block block{.in = {slot}, .form = Form::address};
  switch (random_.below(4)) {
    case 0: emit(GetFreePage{{slot}, {flags}}); break;
    case 1: emit(GetZeroedPage{{slot}, {flags}}); break;
    case 2:
      block.order = order;
      emit(GetFreePages{{slot}, {flags}, {order}});
      break;
    default:  // DMA memory is scarce: a request that cannot fail would end most runs. And DMA32 with it is no zone.
      flags = (flags & ~(gfp_dma32 | gfp_nofail)) | ((flags & gfp_wait) != 0 ? gfp_noretry : 0);
      block.order = order;
      emit(GetDmaPages{{slot}, {flags}, {order}});
  }
  block.is_compound = block.order > 0 && (flags & gfp_comp) != 0;
  own(block);
}

void Author::alloc_exact() {
  const std::uint64_t page = case_.shape.page_bytes();
  const std::uint64_t bytes = page * (1 + random_.below(random_.percent(80) ? 12 : 600)) + random_.below(3) - 1;
  std::uint8_t order = 0;
  while ((page << order) < bytes) ++order;
  const gfp_t flags = gfp(order, Form::exact);
  const Slot slot = fresh();
  emit(AllocPagesExact{{slot}, {bytes}, {flags}});
  if (order < case_.shape.orders) own({.in = {slot}, .form = Form::exact, .order = order, .bytes = bytes});
}

// Refused whatever there is, so nothing is owned.
void Author::alloc_too_big() {
  static constexpr std::uint8_t far[] = {11, 12, 20, 31, 32, 63, 64, 255};
  const std::uint8_t order =
      random_.percent(50) ? case_.shape.orders : std::max(case_.shape.orders, one_of(far, random_));
  emit(AllocPages{{fresh()}, {gfp(order, Form::page)}, {order}});
}

void Author::release_one() {
  const std::size_t index = random_.percent(40) ? owned_.size() - 1 : some_block();
  if (owned_[index].references > 1 && random_.percent(60)) {
    --owned_[index].references;
    return drop(owned_[index]);
  }
  free_all_parts(disown(index));
}

void Author::references() {
  Block& block = owned_[some_block()];
  if (block.form == Form::exact) return emit(PageCount{block.in});
  In in = block.in;
  if (block.is_compound && random_.percent(50))  // by a tail
    in.offset = static_cast<std::uint16_t>(in.offset + random_.below(1U << block.order));
  emit(GetPage{in});
  if (random_.percent(30)) emit(PageCount{in});
  if ((block.order == 0 || block.is_compound) && random_.percent(60)) {
    ++block.references;
    return;
  }
  // A second reference to a plain block of several frames goes before the block does.
  emit(PutPage{in});
}

void Author::split() {
  const std::size_t index = some_block();
  const Block& candidate = owned_[index];
  if (candidate.form == Form::exact || candidate.is_compound || candidate.order == 0 || candidate.order > 5 ||
      candidate.references != 1) {
    return release_one();
  }
  const Block block = disown(index);
  emit(SplitPage{block.in, {block.order}});
  std::vector<Block> parts;
  for (std::uint16_t i = 0; i < 1U << block.order; ++i) {
    parts.push_back({.in = {block.in.slot, i}, .form = block.form, .is_low = block.is_low, .is_part = true});
  }
  if (random_.percent(60)) shuffle(parts, random_);
  const std::uint32_t now = random_.below(static_cast<std::uint32_t>(parts.size()) + 1);
  for (std::uint32_t i = 0; i < parts.size(); ++i) {
    if (i < now)
      free_all_parts(parts[i]);
    else
      own(parts[i]);
  }
}

void Author::contents() {
  const Block& block = owned_[some_block()];
  const std::uint64_t bytes = block.form == Form::exact ? block.bytes : case_.shape.page_bytes() << block.order;
  switch (block.is_part ? 1 : random_.below(4)) {
    case 0: return emit(CheckContents{block.in});
    case 1:
      return emit(Poke{
          block.in, {static_cast<std::int64_t>(random_.next() % bytes)}, {static_cast<std::uint8_t>(random_.next())}});
    default: return emit(Fill{block.in, {static_cast<std::uint8_t>(random_.next())}});
  }
}

void Author::look() {
  const std::uint32_t dice = random_.below(6);
  if (dice == 0) return emit(NrFreePages{});
  if (dice == 1) return emit(FreeNull{{small_order()}});
  if (dice == 2 && (atomic_depth_ > 0 || !is_task())) return emit(SmpProcessorId{});
  if (owned_.empty()) return emit(NrFreePages{});
  const In in = owned_[some_block()].in;
  emit(dice < 4 ? Op(PageCount{in}) : Op(PageAddress{in}));
}

// The same request until nothing is left, then everything back in some order.
void Author::burst() {
  const auto order = static_cast<std::uint8_t>(random_.percent(50) ? 0 : random_.below(case_.shape.orders));
  const auto count = 4 + random_.below(style_.burst_max >> std::min<unsigned>(order, 3));
  gfp_t flags = gfp(order, Form::page) & ~gfp_nofail;
  if (must_succeed(flags, order)) flags |= gfp_noretry;
  if (random_.percent(60)) flags |= gfp_nowarn;
  std::vector<Block> blocks;
  for (std::uint32_t i = 0; i < count; ++i) {
    blocks.push_back({.in = {granted(order, flags)},
                      .is_low = (flags & gfp_highmem) == 0,
                      .is_compound = order > 0 && (flags & gfp_comp) != 0,
                      .order = order});
  }
  switch (random_.below(3)) {
    case 0: shuffle(blocks, random_); break;
    case 1: std::ranges::reverse(blocks); break;
    default: break;
  }
  const std::uint32_t kept = random_.percent(50) ? 0 : random_.below(count);
  for (std::uint32_t i = 0; i < blocks.size(); ++i) {
    if (i < kept)
      own(blocks[i]);
    else
      free_all_parts(blocks[i]);
  }
}

void Author::drain() { emit(is_sleepable() && random_.percent(60) ? Op(DrainAllPages{}) : Op(DrainLocalPages{})); }

void Author::min_free() {
  const std::uint64_t kbytes = case_.shape.ram_bytes >> 10;
  static constexpr std::uint32_t shares[] = {4, 8, 16, 64, 256};
  emit(SetMinFreeKbytes{{static_cast<std::uint32_t>(random_.percent(15) ? 0 : kbytes / one_of(shares, random_))}});
}

void Author::clients() {
  const auto kind = static_cast<ClientKind>(random_.below(client_kinds));
  if (random_.percent(30)) return emit(ClientDrop{{kind}, {1 + random_.below(64)}});
  if (random_.percent(20)) return pressure();
  if (random_.percent(20)) return emit(ClientTouch{{kind}, {1 + random_.below(64)}});
  if (kind == ClientKind::process && is_sleepable() && random_.percent(25)) return crisis();
  if (kind == ClientKind::process && random_.percent(50)) return set_process();
  static constexpr gfp_t flags[] = {GFP_ATOMIC,
                                    GFP_NOWAIT | gfp_nowarn,
                                    GFP_HIGHUSER | gfp_noretry,
                                    GFP_HIGHUSER_MOVABLE | gfp_noretry | gfp_nowarn,
                                    GFP_KERNEL | gfp_noretry,
                                    GFP_HIGHUSER | gfp_noretry | gfp_nowarn};
  const std::uint32_t pages = 1 + random_.below(random_.percent(70) ? 40 : case_.shape.frames());
  emit(ClientAdd{{kind}, {pages}, {one_of(flags, random_)}});
  if (kind == ClientKind::process) style_.pages_taken += pages;  // the others are reclaimed when asked for
}

void Author::set_process() {
  using subject::ProcessTrait;
  const auto trait = static_cast<ProcessTrait>(random_.below(subject::process_traits));
  const std::int64_t value = trait == ProcessTrait::oom_adj  ? std::int64_t{random_.below(34)} - 17
                             : trait == ProcessTrait::nice   ? std::int64_t{random_.below(40)} - 20
                             : trait == ProcessTrait::caps   ? random_.below(4)
                             : trait == ProcessTrait::parent ? std::int64_t{random_.below(5)} - 1
                                                             : std::int64_t{1} << random_.below(20);
  emit(SetProcess{{random_.below(random_.percent(5) ? 10 : 4)}, {trait}, {value}});
}

// Processes fill memory, all is said about them that can be, and somebody needs a page: one of them has to go.
void Author::crisis() {
  const std::uint32_t processes = 2 + random_.below(2);
  for (std::uint32_t i = 0; i != processes; ++i) {
    const std::uint32_t pages = 1 + random_.below(case_.shape.frames() / (processes + 1));
    emit(ClientAdd{{ClientKind::process}, {pages}, {GFP_ATOMIC | gfp_highmem | gfp_nowarn}});
  }
  for (std::uint32_t said = 1 + random_.below(4); said != 0; --said) set_process();
  if (random_.percent(40)) {  // a family
    const std::uint32_t child = 1 + random_.below(processes - 1);
    emit(SetProcess{{child}, {subject::ProcessTrait::parent}, {0}});
    if (random_.percent(50)) emit(SetProcess{{child}, {subject::ProcessTrait::oom_adj}, {-17}});
  }
  emit(ClientAdd{{ClientKind::process}, {case_.shape.frames()}, {GFP_ATOMIC | gfp_highmem | gfp_nowarn}});
  own({.in = {granted(0, GFP_KERNEL)}, .is_low = true, .order = 0});
  if (random_.percent(70)) emit(ClientDrop{{ClientKind::process}, {case_.shape.frames()}});
}

// Pages that reclaim may take fill memory; then a large request has to have many of them taken.
void Author::pressure() {
  static constexpr ClientKind kinds[] = {ClientKind::clean, ClientKind::clean, ClientKind::dirty, ClientKind::anon};
  emit(ClientAdd{{one_of(kinds, random_)}, {case_.shape.frames()}, {GFP_ATOMIC | gfp_highmem | gfp_nowarn}});
  static constexpr gfp_t flags[] = {GFP_KERNEL | gfp_repeat, GFP_KERNEL | gfp_nowarn, GFP_KERNEL | gfp_noretry,
                                    GFP_ATOMIC | gfp_nowarn};
  const auto order = static_cast<std::uint8_t>(random_.below(case_.shape.orders));
  gfp_t bits = one_of(flags, random_);
  if (must_succeed(bits, order) && is_crowded()) bits |= gfp_noretry;
  own({.in = {granted(order, bits)}, .is_low = true, .order = order});
}

// What was free at the start is free again: all given back and merged, the largest block can be had.
void Author::whole_again() {
  while (!owned_.empty()) free_all_parts(disown(some_block()));
  if (random_.percent(80)) emit(DrainAllPages{});
  const auto largest = static_cast<std::uint8_t>(case_.shape.orders - 1);
  const gfp_t flags = random_.percent(50) ? GFP_ATOMIC : GFP_KERNEL | gfp_noretry;
  own({.in = {granted(largest, flags)}, .order = largest});
}

void Author::inside(const Op& enter, const Op& leave, bool atomic) {
  emit(enter);
  ++sections_;
  if (atomic) ++atomic_depth_;
  for (std::uint32_t i = 0, n = 1 + random_.below(4); i < n; ++i) act();
  if (atomic) --atomic_depth_;
  --sections_;
  emit(leave);
}

void Author::section() {
  const std::uint32_t dice = random_.below(100);
  if (dice < 45) return spin_section();
  if (program().kind == machine::ContextKind::hardirq) return look();
  if (dice < 60) return inside(PreemptDisable{}, PreemptEnable{}, true);
  if (dice < 68) return inside(RcuReadLock{}, RcuReadUnlock{}, true);
  if (dice < 86 && !irqs_off_) {
    irqs_off_ = true;
    inside(LocalIrqSave{}, LocalIrqRestore{}, true);
    irqs_off_ = false;
    return;
  }
  if (is_task() && !irqs_off_) return inside(LocalBhDisable{}, LocalBhEnable{}, true);
  inside(PreemptDisable{}, PreemptEnable{}, true);
}

// The rules that keep spinlocks innocent: they nest in the order of their numbers. l0 and l1 are for tasks; l2 is for
// softirqs too, so tasks take it with softirqs off; l3 is for everybody, so only a hardirq may take it as it is.
void Author::spin_section() {
  using machine::ContextKind;
  const ContextKind kind = program().kind;
  const std::uint8_t first = kind == ContextKind::task ? 0 : kind == ContextKind::softirq ? 2 : 3;
  const std::uint8_t least = std::max(first, spin_floor_);
  if (least >= locks_max) return look();
  const Lock lock{static_cast<std::uint8_t>(least + random_.below(locks_max - least))};
  const std::uint8_t floor_before = std::exchange(spin_floor_, static_cast<std::uint8_t>(lock.value + 1));
  if (lock.value == 3 && (kind != ContextKind::hardirq || random_.percent(30))) {
    const bool before = std::exchange(irqs_off_, true);
    inside(SpinLockIrqsave{lock}, SpinUnlockIrqrestore{lock}, true);
    irqs_off_ = before;
  } else if (lock.value == 2 && is_task() && !irqs_off_) {
    inside(SpinLockBh{lock}, SpinUnlockBh{lock}, true);
  } else if (random_.percent(15)) {
    inside(SpinTrylock{lock}, SpinUnlockOp{lock}, true);
  } else {
    inside(SpinLockOp{lock}, SpinUnlockOp{lock}, true);
  }
  spin_floor_ = floor_before;
}

void Author::scope() {
  if (case_.shape.nodes > 1 && random_.percent(50)) return cpuset();
  switch (random_.below(3)) {
    case 0: return inside(NoioSave{}, NoioRestore{}, false);
    case 1: return inside(NofsSave{}, NofsRestore{}, false);
    default: return inside(NoreclaimSave{}, NoreclaimRestore{}, false);
  }
}

// For a while, or for good; there are cases with nothing but refusals of requests outside.
void Author::cpuset() {
  const auto all = static_cast<std::uint8_t>((1U << case_.shape.nodes) - 1);
  const Nodes some{static_cast<std::uint8_t>(random_.percent(95) ? 1 + random_.below(all - 1U) : random_.next())};
  const bool before = std::exchange(is_confined_, true);
  if (sections_ >= 3 || random_.percent(50)) return emit(SetMemsAllowed{some});
  inside(SetMemsAllowed{some}, SetMemsAllowed{{all}}, false);
  is_confined_ = before;
}

// Mutexes nest in the order of their numbers, too. The last one is a filesystem's: its shrinker takes it, so it is held
// over requests that forbid filesystems, and over nothing that waits for other locks.
void Author::mutex() {
  if (random_.percent(20)) return filesystem();
  if (mutex_floor_ >= filesystem_mutex) return;
  const Lock lock{static_cast<std::uint8_t>(mutex_floor_ + random_.below(filesystem_mutex - mutex_floor_))};
  const std::uint8_t floor_before = std::exchange(mutex_floor_, static_cast<std::uint8_t>(lock.value + 1));
  if (random_.percent(15)) {
    inside(MutexTrylock{lock}, MutexUnlockOp{lock}, false);
  } else {
    inside(MutexLockOp{lock}, MutexUnlockOp{lock}, false);
  }
  mutex_floor_ = floor_before;
}

void Author::filesystem() {
  const Lock lock{filesystem_mutex};
  if (random_.percent(50)) return random_.percent(70) ? emit(RegisterShrinker{lock}) : emit(UnregisterShrinker{lock});
  const bool by_scope = random_.percent(50);
  if (by_scope) emit(NofsSave{});
  emit(MutexLockOp{lock});
  for (std::uint32_t i = 0, n = random_.below(4); i < n; ++i)
    own({.in = {granted(0, by_scope ? GFP_KERNEL : subject::GFP_NOFS)}});
  if (random_.percent(30)) emit(CondResched{});
  emit(MutexUnlockOp{lock});
  if (by_scope) emit(NofsRestore{});
}

void Author::sleep() {
  // Long enough for the reaper, which comes every two seconds.
  if (case_.shape.reap == machine::Toggle::on && random_.percent(60))
    return emit(Msleep{{case_.shape.hz * (1 + random_.below(5))}});
  switch (random_.below(5)) {
    case 0: return emit(MightSleep{});
    case 1: return emit(Schedule{});
    case 2: return emit(CondResched{});
    case 3: return emit(WakeUp{{static_cast<std::uint8_t>(random_.below(rendezvous_queue))}});
    default: return emit(Msleep{{1 + random_.below(10)}});
  }
}

// A CPU goes, and mostly comes back, so that others do not do with fewer for the rest of the case.
void Author::cpus() {
  const CpuNumber cpu{random_.percent(95) ? 1 + random_.below(case_.shape.cpus - 1U) : random_.below(70)};
  const std::uint32_t dice = random_.below(100);
  if (dice < 20 || sections_ >= 3) return emit(CpuDown{cpu});
  if (dice < 40) return emit(CpuUp{cpu});
  inside(CpuDown{cpu}, CpuUp{cpu}, false);
}

}  // namespace memtorture::program
