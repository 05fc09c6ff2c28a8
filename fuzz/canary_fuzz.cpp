// canary_fuzz: pages_fuzz on a subject with a planted bug (allocator/subject/canary.h). It must end as a shrunk case in
// found/, by a rule of the oracle; a fuzz job whose canary lives through it proves nothing about what it did not find.
// A bug that the subject has without the planted one does not count: that is for pages_fuzz to find.
#include "allocator/subject/canary.h"
#include "fuzz/entry.h"

namespace memtorture::fuzz {

std::unique_ptr<Entry> make_entry(std::span<std::uint8_t> features) {
  auto canary = subject::make_canary(subject::Planted::double_grant, run::make_kernel());
  return std::make_unique<Entry>("canary_fuzz", std::move(canary), features, run::make_kernel());
}

}  // namespace memtorture::fuzz
