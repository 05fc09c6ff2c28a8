// The OOM killer (domain.md 9.5): who dies, and when his memory is free.
//
// One dies at a time: until he has given his memory back nobody else is chosen, and who is out of memory waits for him
// (P-OOM-1). A victim that holds something up (oom.exit) goes when his time has come and somebody is out of memory
// again.
#include <algorithm>

#include "allocator/page/page_alloc.h"

namespace memtorture::page {

using machine::Held;
using machine::Masked;
using subject::ClientKind;
using subject::ProcessTrait;

bool Clients::set_process(std::uint32_t process, ProcessTrait trait, std::int64_t value) {
  if (pages_.reject_nmi(0, 0, no_pfn)) return false;
  if (process >= processes_max || !subject::is_trait_value(trait, value)) return false;
  Masked masked;
  Held held(lock_, masked, "reclaim.page", "reclaim.page");
  if (trait == ProcessTrait::parent && value == process) value = -1;
  process_[process].traits.value[static_cast<unsigned>(trait)] = static_cast<std::int32_t>(value);
  return true;
}

// Not one that dies.
unsigned Clients::process_to_grow() {
  Masked masked;
  Held held(lock_, masked, "reclaim.page", "reclaim.page");
  unsigned least = nobody;
  for (unsigned i = 0; i != processes_max; ++i) {
    if (process_[i].dying) continue;
    if (least == nobody || process_[i].pages.get() < process_[least].pages.get()) least = i;
  }
  return least;
}

bool Clients::is_killable(const Process& process) const {
  return process.pages.get() != 0 && process.traits[ProcessTrait::oom_adj] != -17;
}

std::uint64_t Clients::badness(unsigned number) const {
  const Process& process = process_[number];
  const subject::ProcessTraits& traits = process.traits;
  std::uint64_t points = process.pages.get();
  for (const Process& child : process_) {
    if (child.traits[ProcessTrait::parent] != static_cast<int>(number) || child.pages.get() == 0) continue;
    points += child.pages.get() / 2 + 1;
  }
  const auto seconds = [&](ProcessTrait trait) { return static_cast<std::uint64_t>(traits[trait]); };
  if (const std::uint64_t s = int_sqrt(seconds(ProcessTrait::cpu_seconds) >> 3)) points /= s;
  if (const std::uint64_t s = int_sqrt(int_sqrt(seconds(ProcessTrait::run_seconds) >> 10))) points /= s;
  if (traits[ProcessTrait::nice] > 0) points *= 2;
  if ((traits[ProcessTrait::caps] & 1) != 0) points /= 4;
  if ((traits[ProcessTrait::caps] & 2) != 0) points /= 4;
  const int adj = traits[ProcessTrait::oom_adj];
  if (adj > 0) points = std::max<std::uint64_t>(points, 1) << adj;
  if (adj < 0) points >>= -adj;
  return points;
}

unsigned Clients::choose_victim(bool& busy) {
  Masked masked;
  Held held(lock_, masked, "reclaim.page", "reclaim.page");
  busy = std::ranges::any_of(process_, &Process::dying);
  if (busy) return nobody;
  unsigned chosen = nobody;
  std::uint64_t most = 0;
  for (unsigned i = 0; i != processes_max; ++i) {
    if (!is_killable(process_[i])) continue;
    const std::uint64_t points = badness(i);
    if (chosen != nobody && points <= most) continue;
    chosen = i;
    most = points;
  }
  if (chosen == nobody) return nobody;
  // A child with memory of its own goes before its parent.
  for (unsigned i = 0; i != processes_max; ++i) {
    if (process_[i].traits[ProcessTrait::parent] != static_cast<int>(chosen) || !is_killable(process_[i])) continue;
    chosen = i;
    break;
  }
  process_[chosen].dying = true;
  process_[chosen].exits_at = 0;
  pages_.trace().oom_chose(chosen);
  return chosen;
}

void Clients::delay_exit(unsigned process, machine::Jiffies until) {
  Masked masked;
  Held held(lock_, masked, "reclaim.page", "reclaim.page");
  process_[process].exits_at = until;
}

unsigned Clients::due_to_exit() {
  Masked masked;
  Held held(lock_, masked, "reclaim.page", "reclaim.page");
  const auto due = std::ranges::find_if(process_, [](const Process& process) {
    return process.dying && process.exits_at != 0 && process.exits_at <= machine::jiffies_now();
  });
  if (due == std::end(process_)) return nobody;
  due->exits_at = 0;  // it is the caller's
  return static_cast<unsigned>(due - process_);
}

std::uint32_t Clients::exit_process(unsigned number) {
  Process& process = process_[number];
  std::uint32_t freed = 0;
  for (Pfn pfn; (pfn = isolate(process)) != no_pfn; ++freed) release(ClientKind::process, pfn);
  Masked masked;
  Held held(lock_, masked, "reclaim.page", "reclaim.page");
  process.dying = false;
  pages_.trace().oom_exited(number);
  return freed;
}

// The caller has the OOM killer for itself.
void PageAllocator::out_of_memory(const Request& request) {
  machine::point("oom.kill");
  if (const unsigned gone = clients_.due_to_exit(); gone != Clients::nobody) {
    clients_.exit_process(gone);
    return;
  }
  bool busy = false;
  const unsigned victim = clients_.choose_victim(busy);
  if (busy) return;
  if (victim == Clients::nobody) machine::panic(machine::PanicKind::out_of_memory);
  std::uint32_t pages = 0;
  if (faults_->should_fail("oom.exit", 0, request.gfp, request.order)) {
    clients_.delay_exit(victim, machine::jiffies_now() + machine_->shape().hz / 10);
  } else {
    pages = clients_.exit_process(victim);
  }
  trace_->oom_killed(pages);
  machine::report(
      {.kind = machine::ReportKind::oom_kill, .order = static_cast<std::uint8_t>(request.order), .gfp = request.given});
}

}  // namespace memtorture::page
