#include "allocator/kernel/kernel.h"

namespace memtorture::kernel {
namespace {

constexpr std::size_t metadata_bytes_max = std::size_t{1} << 20;  // zones and per-CPU lists of the largest machine
static_assert(page::zones_max * (sizeof(page::Zone) + 64 + (machine::cpus_max + 1) * sizeof(page::Pcp)) <
              metadata_bytes_max);

}  // namespace

Kernel::Kernel() : bank_(page::MemMap::bytes_max, metadata_bytes_max) {}

void Kernel::boot(const machine::Shape& shape, std::span<const fault::Rule> rules, subject::PagesTrace& trace,
                  machine::Witness& witness) {
  trace_ = &trace;
  machine_.boot(shape, witness);
  faults_.reset(rules, *this);
  pages_.boot(machine_, bank_, faults_, trace);
}

}  // namespace memtorture::kernel
