// What the actions on per-CPU memory write. Areas are their program's own; the kernel's static variables are
// everybody's, and each has a rule that all programs of all cases keep, so that no schedule makes an addition a crime:
//
//   events    this_cpu_add, in any context
//   packets   load and store with interrupts off, but in NMIs
//   ticks     load and store with preemption off, by tasks only
#include "model/program/author.h"
#include "model/program/random_parts.h"

namespace memtorture::program {

using namespace subject;

bool Author::perform_on_percpu() {
  const std::uint32_t dice = random_.below(100);
  if (dice < 25 || areas_.empty()) {
    if (dice < 4 && is_sleepable() && sections_ == 0) {
      many_areas();
    } else if (dice < 60) {
      own_area();
    } else {
      add_to_static();
    }
    return true;
  }
  const auto index = random_.below(static_cast<std::uint32_t>(areas_.size()));
  const Slot area = areas_[index].slot;
  if (dice < 45) {
    give_back_area(index);
  } else if (dice < 55) {
    emit(PerCpuSum{{area}});
  } else if (dice < 58) {
    emit(FreePercpuNull{});
  } else if (dice < 80) {
    random_.percent(60) ? add_pinned(area) : add_masked(area);
  } else {
    add_to_static();
  }
  return true;
}

// More areas than the map of a chunk begins with, so that maps grow beside whoever else uses them.
void Author::many_areas() {
  const Bytes bytes{random_.percent(70) ? 4 + random_.below(40) : 500 + random_.below(3000)};
  const std::size_t before = areas_.size();
  for (std::uint32_t n = 12 + random_.below(40); n != 0; --n) {
    const Slot slot = fresh();
    areas_.push_back({slot, bytes.value});
    emit(random_.percent(70) ? Op(AllocPercpu{{slot}, bytes, {4}})
                             : Op(AllocPercpuGfp{{slot}, bytes, {4}, {GFP_ATOMIC}}));
  }
  const std::size_t kept = before + random_.below(8);
  while (areas_.size() > kept)
    give_back_area(before + random_.below(static_cast<std::uint32_t>(areas_.size() - before)));
}

void Author::own_area() {
  const std::uint64_t page = case_.shape.page_bytes();
  const Slot slot = fresh();
  Bytes bytes{1 + random_.below(random_.percent(70) ? 64 : 512)};
  if (random_.percent(35)) bytes.value = page - random_.below(3);
  const Align align{std::uint64_t{1} << random_.below(random_.percent(85) ? 7 : 13)};
  areas_.push_back({slot, bytes.value});
  const Align legal{align.value > page ? page : align.value};
  if (!is_sleepable())
    return emit(AllocPercpuGfp{{slot}, bytes, legal, {random_.percent(60) ? GFP_ATOMIC : GFP_NOWAIT}});
  const std::uint32_t dice = random_.below(10);
  if (dice < 5) return emit(AllocPercpu{{slot}, bytes, legal});
  if (dice < 6) return emit(AllocPercpuReserved{{slot}, {1 + random_.below(300)}, {8}});
  static constexpr gfp_t flags[] = {GFP_KERNEL | gfp_noretry,
                                    GFP_KERNEL | gfp_nowarn,
                                    GFP_NOFS | gfp_noretry,
                                    GFP_NOIO | gfp_noretry,
                                    GFP_ATOMIC,
                                    GFP_ATOMIC};
  emit(AllocPercpuGfp{{slot}, bytes, legal, {one_of(flags, random_)}});
}

void Author::give_back_area(std::size_t index) {
  emit(FreePercpu{{areas_[index].slot}});
  areas_.erase(areas_.begin() + static_cast<std::ptrdiff_t>(index));
}

Slot Author::static_variable(std::uint32_t index) {
  if (!statics_[index]) {
    statics_[index] = fresh();
    emit(PerCpuVar{{*statics_[index]}, {index}});
  }
  return *statics_[index];
}

// For tasks, which only others of their own CPU could disturb.
void Author::add_pinned(Slot area) {
  const Count value{1 + random_.below(300)};
  const Slot other = fresh();
  switch (random_.below(5)) {
    case 0:
      emit(GetCpuPtr{{other}, {area}});
      emit(PtrAdd{{other}, value});
      return emit(PutCpuPtr{{area}});
    case 1:
      emit(GetCpu{{other}});
      emit(PerCpuAdd{{area}, {other}, value});
      return emit(PutCpu{});
    case 2:
      emit(PreemptDisable{});
      emit(RawCpuAdd{{area}, value});
      return emit(PreemptEnable{});
    case 3:
      emit(PreemptDisable{});
      emit(ThisCpuPtr{{other}, {area}});
      emit(PtrAdd{{other}, value});
      return emit(PreemptEnable{});
    default: emit(ThisCpuAdd{{area}, value});
  }
}

void Author::add_masked(Slot area) {
  const bool masked = irqs_off_ || program().kind == machine::ContextKind::hardirq;
  const Count value{1 + random_.below(300)};
  if (!masked) emit(LocalIrqSave{});
  if (random_.percent(50)) {
    emit(RawCpuAdd{{area}, value});
  } else {
    const Slot copy = fresh();
    emit(random_.percent(50) ? Op(ThisCpuPtr{{copy}, {area}}) : Op(GetCpuPtr{{copy}, {area}}));
    const bool got = std::holds_alternative<GetCpuPtr>(program().ops.back());
    emit(PtrAdd{{copy}, value});
    if (got) emit(PutCpuPtr{{area}});
  }
  if (!masked) emit(LocalIrqRestore{});
}

void Author::add_to_static() {
  const std::uint32_t index = random_.below(is_task() ? 3 : 2);
  const Slot variable = static_variable(index);
  if (random_.percent(15)) return emit(PerCpuSum{{variable}});
  if (index == 0) return emit(ThisCpuAdd{{variable}, {1 + random_.below(1000)}});
  if (index == 1) return add_masked(variable);
  add_pinned(variable);
}

void Author::act_in_nmi() {
  emit(SmpProcessorId{});
  if (has_percpu()) emit(ThisCpuAdd{{static_variable(0)}, {1 + random_.below(9)}});
}

}  // namespace memtorture::program
