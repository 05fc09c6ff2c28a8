// Operations on per-CPU memory, and what an owner keeps of an area.
//
// Contents: the first 8, 4, 2 or 1 bytes of each copy are a counter; the bytes behind it get a value of the copy's own,
// which is looked at whenever all copies are read, and before the area is given up. An addition that is a load and a
// store is the program's own code and not the subject's, with a point in between; it tells whether what it loaded was
// still there when it stored. To read all copies while their owners write is the kernel's data_race(): the total is
// only near the truth then, and ThreadSanitizer is not asked.
#include <algorithm>
#include <cstring>

#include "model/run/executor.h"

namespace memtorture::run {

using namespace program;  // the operations
using oracle::EventKind;

namespace {

constexpr std::uint64_t all_zero = ~std::uint64_t{0};

unsigned counter_width(std::uint64_t bytes) { return bytes >= 8 ? 8 : bytes >= 4 ? 4 : bytes >= 2 ? 2 : 1; }

template <class T>
std::uint64_t load_as(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}
template <class T>
void store_as(std::byte* at, std::uint64_t value) {
  const T narrow = static_cast<T>(value);
  std::memcpy(at, &narrow, sizeof narrow);
}

std::uint64_t load(const std::byte* at, unsigned width) {
  switch (width) {
    case 1: return load_as<std::uint8_t>(at);
    case 2: return load_as<std::uint16_t>(at);
    case 4: return load_as<std::uint32_t>(at);
    default: return load_as<std::uint64_t>(at);
  }
}
void store(std::byte* at, unsigned width, std::uint64_t value) {
  switch (width) {
    case 1: return store_as<std::uint8_t>(at, value);
    case 2: return store_as<std::uint16_t>(at, value);
    case 4: return store_as<std::uint32_t>(at, value);
    default: return store_as<std::uint64_t>(at, value);
  }
}

[[clang::no_sanitize("thread")]] std::uint64_t load_anyhow(const std::byte* at, unsigned width) {
  std::uint64_t value = 0;
  for (unsigned i = 0; i != width; ++i)
    value |= std::uint64_t{std::to_integer<std::uint8_t>(*static_cast<const volatile std::byte*>(at + i))} << 8 * i;
  return value;
}

}  // namespace

void Executor::use_percpu(subject::Percpu& percpu, subject::PercpuView* view) {
  percpu_ = &percpu;
  percpu_view_ = view;
  std::vector<subject::StaticVariable> variables;
  for (unsigned i = 0; i != percpu.static_variables(); ++i) variables.push_back(percpu.static_variable(i));
  tape_.conclude(oracle_.begin_percpu(percpu.percpu_layout(), variables));
}

Holding* Executor::area(Of of) {
  Holding& holding = slots_[of.slot];
  return holding.what == Held::percpu && percpu_ != nullptr ? &holding : nullptr;
}

std::byte Executor::tail_byte(subject::PercpuPtr cookie, unsigned cpu) const {
  return static_cast<std::byte>(0xa0 ^ (cookie >> 2) ^ cpu);
}

// --- areas -----------------------------------------------------------------------------------------------------------

void Executor::operator()(const PerCpuVar& op) {
  if (percpu_ == nullptr || percpu_->static_variables() == 0) return skip();
  begin();
  const subject::StaticVariable variable = percpu_->static_variable(op.index.value % percpu_->static_variables());
  refill(op.out, {.what = Held::percpu, .address = variable.cookie, .bytes = variable.bytes});
  end(variable.cookie);
}

// Of the copy of a CPU, as the white box says; where it cannot be looked at, yes.
bool Executor::is_populated(std::uint64_t address, unsigned cpu, std::uint64_t bytes) {
  if (percpu_view_ == nullptr || machine::Machine::concurrent() || bytes == 0) return true;
  struct Look {
    subject::PercpuView* view;
    std::uint64_t address, bytes, unit;
    unsigned cpu, page_shift;
    bool backed = true;
  } look{percpu_view_, address, bytes, percpu_->percpu_layout().unit_bytes, cpu, machine_->shape().page_shift};
  percpu_view_->for_each_percpu_chunk(
      [](void* arg, const subject::PercpuChunkInfo& chunk) {
        auto& l = *static_cast<Look*>(arg);
        const std::uint64_t offset = l.address - (chunk.base + l.cpu * l.unit);
        if (offset >= l.unit) return;
        for (std::uint64_t page = offset >> l.page_shift; page <= (offset + l.bytes - 1) >> l.page_shift; ++page)
          l.backed = l.backed && l.view->populated(chunk.descriptor, l.cpu, static_cast<unsigned>(page));
      },
      &look);
  return look.backed;
}

void Executor::tell_place(subject::PercpuPtr cookie, unsigned cpu, std::uint64_t bytes) {
  Event event = Tape::here(EventKind::percpu_place);
  event.order = static_cast<std::uint8_t>(cpu);
  event.value = percpu_->per_cpu_ptr(cookie, cpu);
  event.value2 = all_zero;
  if (in_memory(event.value, bytes)) {
    event.detail = is_populated(event.value, cpu, bytes) ? 0 : 1;
    const auto copy = bytes_at(event.value, bytes);
    const auto found = std::ranges::find_if(copy, [](std::byte b) { return b != std::byte{0}; });
    if (found != copy.end()) event.value2 = static_cast<std::uint64_t>(found - copy.begin());
  }
  tape_.emit(event);
}

// Is there a place, populated for every CPU, in a chunk that could note it down?
bool Executor::has_atomic_room(std::uint64_t bytes, std::uint64_t align) {
  if (percpu_view_ == nullptr || machine::Machine::concurrent() || align == 0 || bytes == 0) return false;
  struct Look {
    subject::PercpuView* view;
    subject::PercpuLayout layout;
    unsigned page_shift;
    std::uint64_t bytes, align, chunk = 0;
    bool found = false;
  } look{percpu_view_, percpu_->percpu_layout(), machine_->shape().page_shift, bytes, align};
  percpu_view_->for_each_percpu_chunk(
      [](void* arg, const subject::PercpuChunkInfo& chunk) {
        auto& l = *static_cast<Look*>(arg);
        if (chunk.role == subject::PercpuRole::reserved || chunk.map_alloc - chunk.map_used < 2) return;
        l.chunk = chunk.descriptor;
        l.view->for_each_percpu_area(
            chunk.descriptor,
            [](void* inner, const subject::PercpuAreaInfo& area) {
              auto& m = *static_cast<Look*>(inner);
              const std::uint64_t start = (area.offset + m.align - 1) / m.align * m.align;
              if (area.used || start + m.bytes > area.offset + area.bytes) return;
              bool backed = true;
              for (std::uint64_t page = start >> m.page_shift; page <= (start + m.bytes - 1) >> m.page_shift; ++page)
                for (unsigned cpu = 0; cpu != m.layout.units; ++cpu)
                  backed = backed && m.view->populated(m.chunk, cpu, static_cast<unsigned>(page));
              m.found = m.found || backed;
            },
            &l);
      },
      &look);
  return look.found;
}

void Executor::granted_percpu(Out out, subject::PercpuPtr cookie, std::uint64_t bytes, std::uint64_t align) {
  const unsigned cpus = machine_->shape().cpus;
  if (cookie != subject::no_percpu)
    for (unsigned cpu = 0; cpu != cpus; ++cpu) tell_place(cookie, cpu, bytes);
  Event event = Tape::here(EventKind::result);
  event.value = cookie;
  if (cookie == subject::no_percpu) event.detail = has_atomic_room(bytes, align) ? 1 : 0;
  finish(event);
  if (cookie == subject::no_percpu || tape_.is_over()) return audit_if_due();
  cookies_[machine::current().id].push_back(cookie);
  refill(out, {.what = Held::percpu, .address = cookie, .bytes = bytes});
  for (unsigned cpu = 0; cpu != cpus; ++cpu) {
    const std::uint64_t address = percpu_->per_cpu_ptr(cookie, cpu);
    if (!in_memory(address, bytes)) continue;
    std::ranges::fill(bytes_at(address, bytes).subspan(counter_width(bytes)), tail_byte(cookie, cpu));
  }
  audit_if_due();
}

void Executor::operator()(const AllocPercpu& op) {
  if (percpu_ == nullptr) return skip();
  begin();
  granted_percpu(op.out, percpu_->alloc_percpu(op.bytes.value, op.align.value), op.bytes.value, op.align.value);
}
void Executor::operator()(const AllocPercpuGfp& op) {
  if (percpu_ == nullptr) return skip();
  begin();
  granted_percpu(op.out, percpu_->alloc_percpu_gfp(op.bytes.value, op.align.value, op.gfp.bits), op.bytes.value,
                 op.align.value);
}
void Executor::operator()(const AllocPercpuReserved& op) {
  if (percpu_ == nullptr) return skip();
  begin();
  granted_percpu(op.out, percpu_->alloc_reserved_percpu(op.bytes.value, op.align.value), op.bytes.value,
                 op.align.value);
}

// Every copy as it is now.
void Executor::tell_copies(const Holding& area) {
  const unsigned width = counter_width(area.bytes);
  for (unsigned cpu = 0; cpu != machine_->shape().cpus; ++cpu) {
    const std::uint64_t address = percpu_->per_cpu_ptr(area.address, cpu);
    if (!in_memory(address, area.bytes)) continue;
    const std::byte* const copy = machine_->ram().at(address);
    Event event = Tape::here(EventKind::contents);
    event.detail = 2;
    event.order = static_cast<std::uint8_t>(cpu);
    event.value = load_anyhow(copy, width);
    event.value2 = area.address;
    for (std::uint64_t i = width; i < area.bytes && event.gfp == 0; ++i)
      if (copy[i] != tail_byte(area.address, cpu)) event.gfp = static_cast<std::uint32_t>(i + 1);
    tape_.emit(event);
  }
}

void Executor::operator()(const FreePercpu& op) {
  const Holding* area = this->area({op.in.slot});
  if (area == nullptr) return skip();
  if (op.in.offset == 0 && oracle_.live_percpu(area->address)) tell_copies(*area);
  begin();
  percpu_->free_percpu(area->address + op.in.offset);
  end();
}
void Executor::operator()(const FreePercpuNull&) {
  if (percpu_ == nullptr) return skip();
  begin();
  percpu_->free_percpu(subject::no_percpu);
  end();
}

// --- pins and pointers -----------------------------------------------------------------------------------------------

void Executor::operator()(const GetCpu& op) {
  if (too_deep()) return;
  begin();
  machine::preempt_disable();
  open(Open::preempt, 0);
  const unsigned cpu = machine::raw_smp_processor_id();
  refill(op.out, {.what = Held::cpu, .cpu = cpu});
  end(cpu);
}
void Executor::operator()(const PutCpu&) { close(Open::preempt); }

void Executor::give_copy(Out out, const Holding& area, std::uint64_t address) {
  const Holding of = area;  // out may be the same slot
  const auto units = static_cast<unsigned>((address - percpu_->per_cpu_ptr(of.address, 0)) /
                                           std::max<std::uint64_t>(percpu_->percpu_layout().unit_bytes, 1));
  refill(out, {.what = Held::copy, .address = address, .cpu = units, .bytes = of.bytes});
  end(address);
}

void Executor::operator()(const GetCpuPtr& op) {
  const Holding* area = this->area(op.of);
  if (area == nullptr) return skip();
  if (too_deep()) return;
  begin();
  const std::uint64_t address = percpu_->get_cpu_ptr(area->address);
  open(Open::preempt, 0);
  give_copy(op.out, *area, address);
}
void Executor::operator()(const PutCpuPtr&) { close(Open::preempt); }

void Executor::operator()(const ThisCpuPtr& op) {
  const Holding* area = this->area(op.of);
  if (area == nullptr) return skip();
  begin();
  give_copy(op.out, *area, percpu_->this_cpu_ptr(area->address));
}
void Executor::operator()(const PerCpuPtr& op) {
  const Holding* area = this->area(op.of);
  if (area == nullptr || op.cpu.value >= machine_->shape().cpus) return skip();
  begin();
  give_copy(op.out, *area, percpu_->per_cpu_ptr(area->address, op.cpu.value));
}

// --- additions -------------------------------------------------------------------------------------------------------

// Behind begin().
void Executor::read_modify_write(std::uint64_t address, unsigned cpu, std::uint64_t bytes, std::uint32_t value) {
  Event event = Tape::here(EventKind::result);
  if (in_memory(address, bytes)) {
    std::byte* const copy = machine_->ram().at(address);
    const unsigned width = counter_width(bytes);
    const std::uint64_t loaded = load(copy, width);
    machine::point("percpu.rmw");
    const bool lost = load_anyhow(copy, width) != loaded;
    store(copy, width, loaded + value);
    event = Tape::here(EventKind::result);
    event.detail = lost ? 1 : 0;
    event.value = loaded;
  }
  event.order = static_cast<std::uint8_t>(cpu);
  finish(event);
  audit_if_due();
}

void Executor::operator()(const PtrAdd& op) {
  const Holding held = slots_[op.in.slot];
  if (held.what != Held::copy || op.in.offset != 0 || percpu_ == nullptr) return skip();
  begin();
  read_modify_write(held.address, held.cpu, held.bytes, op.value.value);
}
void Executor::operator()(const PerCpuAdd& op) {
  const Holding* area = this->area(op.of);
  const Holding number = slots_[op.cpu.slot];
  if (area == nullptr || number.what != Held::cpu || op.cpu.offset != 0) return skip();
  begin();
  read_modify_write(percpu_->per_cpu_ptr(area->address, number.cpu), number.cpu, area->bytes, op.value.value);
}
void Executor::operator()(const RawCpuAdd& op) {
  const Holding* area = this->area(op.of);
  if (area == nullptr) return skip();
  begin();
  const unsigned cpu = machine::smp_processor_id();  // reported where it may change
  read_modify_write(percpu_->per_cpu_ptr(area->address, cpu), cpu, area->bytes, op.value.value);
}
void Executor::operator()(const ThisCpuAdd& op) {
  const Holding* area = this->area(op.of);
  if (area == nullptr) return skip();
  begin();
  const unsigned cpu = percpu_->this_cpu_add(area->address, op.value.value, counter_width(area->bytes));
  Event event = Tape::here(EventKind::result);
  event.order = static_cast<std::uint8_t>(cpu);
  finish(event);
  audit_if_due();
}

void Executor::operator()(const PerCpuSum& op) {
  const Holding* area = this->area(op.of);
  if (area == nullptr) return skip();
  begin();
  tell_copies(*area);
  std::uint64_t total = 0;
  for (unsigned cpu = 0; cpu != machine_->shape().cpus; ++cpu) {
    const std::uint64_t address = percpu_->per_cpu_ptr(area->address, cpu);
    if (in_memory(address, area->bytes)) total += load_anyhow(machine_->ram().at(address), counter_width(area->bytes));
  }
  end(total);
}

// --- the end ---------------------------------------------------------------------------------------------------------

void Executor::clean_up_percpu() {
  if (percpu_ == nullptr) return;
  for (unsigned i = 0; i != percpu_->static_variables(); ++i) {  // they stay: what they came to is looked at
    const subject::StaticVariable variable = percpu_->static_variable(i);
    tell_copies({.what = Held::percpu, .address = variable.cookie, .bytes = variable.bytes});
  }
  for (const auto& cookies : cookies_) {
    for (const subject::PercpuPtr cookie : cookies) {
      const auto bytes = oracle_.live_percpu(cookie);
      if (!bytes) continue;
      tell_copies({.what = Held::percpu, .address = cookie, .bytes = *bytes});
      Event event = Tape::here(EventKind::call);
      event.detail = oracle::clean_up_percpu;
      event.value = cookie;
      tape_.emit(event);
      percpu_->free_percpu(cookie);
      tape_.emit(Tape::here(EventKind::result));
    }
  }
  // The work item may give back chunks: before the lists of the CPUs are drained for the last time.
  constexpr unsigned patience = 100;
  for (unsigned i = 0; i != patience && (i == 0 || !machine_->daemons_idle()); ++i) machine::sleep_jiffies(1);
}

}  // namespace memtorture::run
