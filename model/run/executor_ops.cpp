// What each operation does: resolve the slots, call the subject, tell the tape.
#include <algorithm>
#include <limits>

#include "model/run/executor.h"

namespace memtorture::run {

using machine::Pfn;
using namespace program;  // the operations

// --- allocation ------------------------------------------------------------------------------------------------------

void Executor::operator()(const AllocPages& op) {
  begin();
  allocated(op.out, pages_->alloc_pages(op.gfp.bits, op.order.value), op.order.value, op.gfp.bits);
}
void Executor::operator()(const AllocPage& op) {
  begin();
  allocated(op.out, pages_->alloc_pages(op.gfp.bits, 0), 0, op.gfp.bits);
}
void Executor::operator()(const AllocPagesNode& op) {
  begin();
  allocated(op.out, pages_->alloc_pages_node(op.node.value, op.gfp.bits, op.order.value), op.order.value, op.gfp.bits);
}
void Executor::operator()(const GetFreePages& op) {
  begin();
  allocated_at(op.out, pages_->get_free_pages(op.gfp.bits, op.order.value), op.order.value, op.gfp.bits);
}
void Executor::operator()(const GetFreePage& op) {
  begin();
  allocated_at(op.out, pages_->get_free_pages(op.gfp.bits, 0), 0, op.gfp.bits);
}
void Executor::operator()(const GetZeroedPage& op) {
  begin();
  allocated_at(op.out, pages_->get_zeroed_page(op.gfp.bits), 0, op.gfp.bits | subject::gfp_zero);
}
void Executor::operator()(const GetDmaPages& op) {
  begin();
  allocated_at(op.out, pages_->get_dma_pages(op.gfp.bits, op.order.value), op.order.value, op.gfp.bits);
}
void Executor::operator()(const AllocPagesExact& op) {
  begin();
  const std::uint64_t address = pages_->alloc_pages_exact(op.bytes.value, op.gfp.bits);
  const std::uint64_t page_bytes = machine_->shape().page_bytes();
  const std::uint64_t frames = op.bytes.value / page_bytes + (op.bytes.value % page_bytes != 0);
  const Pfn first = address == 0 ? machine::no_pfn : std::min(machine_->ram().pfn_of(address), machine::no_pfn - 1);
  granted(
      op.out,
      {.first = first,
       .address = address,
       .frames = static_cast<std::uint32_t>(std::min<std::uint64_t>(frames, std::numeric_limits<std::uint32_t>::max())),
       .gfp = op.gfp.bits,
       .bytes = op.bytes.value});
}
void Executor::operator()(const WildPage& op) {
  begin();
  refill(op.out,
         {.what = Held::block, .first = op.frame.value, .frames = 1, .references = 0, .written = Written::unknown});
  Event event = Tape::here(oracle::EventKind::result);
  event.pfn = op.frame.value;
  event.value2 = ~std::uint64_t{0};
  if (!machine::Machine::concurrent()) --operations_in_flight_;
  tape_.emit(event);
}

// --- release ---------------------------------------------------------------------------------------------------------

template <class Release>
void Executor::release(In in, Release&& call) {
  if (const Holding* held = object({in.slot, 0}); held != nullptr) {  // a crime: the page is the object layer's
    const Pfn page = machine_->ram().pfn_of(held->address + in.offset);
    if (page == machine::no_pfn) return skip();
    begin();
    call(page, *held);
    return end();
  }
  Holding* holding = this->holding(in);
  if (holding == nullptr) return skip();
  drop_reference(*holding, in);
  begin();
  call(frame_of(*holding, in), *holding);
  end();
}

// By address: a page of high memory has none.
template <class Release>
void Executor::release_at(In in, Release&& call) {
  const Holding* holding = this->holding(in);
  if (holding != nullptr && is_high(frame_of(*holding, in))) return skip();
  release(in, [&](Pfn frame, const Holding& held) { call(machine_->ram().address_of(frame), held); });
}

void Executor::operator()(const FreePagesOf& op) {
  release(op.in, [&](Pfn frame, const Holding&) { pages_->free_pages_of(frame, op.order.value); });
}
void Executor::operator()(const FreePageOf& op) {
  release(op.in, [&](Pfn frame, const Holding&) { pages_->free_pages_of(frame, 0); });
}
void Executor::operator()(const FreePages& op) {
  release_at(op.in, [&](std::uint64_t address, const Holding&) { pages_->free_pages(address, op.order.value); });
}
void Executor::operator()(const FreePage& op) {
  release_at(op.in, [&](std::uint64_t address, const Holding&) { pages_->free_pages(address, 0); });
}
void Executor::operator()(const FreePagesExact& op) {
  release_at(op.in, [&](std::uint64_t address, const Holding&) { pages_->free_pages_exact(address, op.bytes.value); });
}
void Executor::operator()(const FreeNull& op) {
  begin();
  pages_->free_pages(0, op.order.value);
  end();
}

// --- references ------------------------------------------------------------------------------------------------------

void Executor::operator()(const GetPage& op) {
  Holding* holding = this->holding(op.in);
  if (holding == nullptr) return skip();
  begin();
  const bool counts = op.in.offset == 0 || holding->compound;
  if (counts && add_references(*holding, 0) != 0) add_references(*holding, 1);
  pages_->get_page(frame_of(*holding, op.in));
  end();
}
void Executor::operator()(const PutPage& op) {
  release(op.in, [&](Pfn frame, const Holding&) { pages_->put_page(frame); });
}
void Executor::operator()(const SplitPage& op) {
  Holding* holding = this->holding(op.in);
  if (holding == nullptr) return skip();
  begin();
  pages_->split_page(frame_of(*holding, op.in), op.order.value);
  if (holding->references != 0) {
    for (std::uint32_t i = 0; i != holding->frames; ++i) orphan(holding->first + i);
  }
  holding->written = Written::unknown;  // its parts go their own ways
  end();
}
void Executor::operator()(const PageCount& op) {
  const Holding* holding = this->holding(op.in);
  if (holding == nullptr) return skip();
  begin();
  end(static_cast<std::uint64_t>(pages_->page_count(frame_of(*holding, op.in))));
}
void Executor::operator()(const PageAddress& op) {
  const Holding* holding = this->holding(op.in);
  if (holding == nullptr) return skip();
  begin();
  end(pages_->page_address(frame_of(*holding, op.in)));
}

// --- contents --------------------------------------------------------------------------------------------------------

// The whole block, or with an offset that frame alone.
void Executor::operator()(const Fill& op) {
  if (Holding* held = object({op.in.slot, 0}); held != nullptr) {
    if (op.in.offset != 0 || held->bytes == 0) return skip();
    begin();
    fill_object(*held, std::byte{op.byte.value});
    return end();
  }
  Holding* holding = this->holding(op.in);
  const std::uint32_t frames = op.in.offset == 0 && holding != nullptr ? holding->frames : 1;
  if (holding == nullptr || !exists(frame_of(*holding, op.in), frames)) return skip();
  begin();
  watch_frames(frame_of(*holding, op.in), frames, subject::Access::write);
  machine_->ram().fill(frame_of(*holding, op.in), frames, std::byte{op.byte.value});
  if (op.in.offset != 0) {
    holding->written = Written::unknown;
    holding->part = op.in.offset;
    holding->part_byte = std::byte{op.byte.value};
  } else if (holding->references != 0 && holding->written != Written::unknown) {
    holding->written = Written::byte;
    holding->byte = std::byte{op.byte.value};
  }
  end();
}
void Executor::operator()(const CheckContents& op) {
  if (const Holding* held = object({op.in.slot, 0}); held != nullptr) {
    if (op.in.offset != 0 || held->references == 0 || held->bytes == 0 || held->written == Written::unknown)
      return skip();
    begin();
    verify_object(*held);
    return end();
  }
  const Holding* holding = this->holding(op.in);
  const bool part = op.in.offset != 0;
  if (holding == nullptr) return skip();
  if (part ? holding->part != op.in.offset : holding->references == 0 || holding->written == Written::unknown)
    return skip();
  begin();
  watch_frames(frame_of(*holding, op.in), part ? 1 : holding->frames, subject::Access::read);
  part ? verify_part(*holding) : verify(*holding);
  end();
}
void Executor::operator()(const Poke& op) {
  if (Holding* held = object(op.in); held != nullptr) return poke_object(*held, op);
  Holding* holding = this->holding(op.in);
  if (holding == nullptr) return skip();
  const auto& shape = machine_->shape();
  const std::int64_t at = (std::int64_t{frame_of(*holding, op.in)} << shape.page_shift);
  std::int64_t address = 0;
  const bool overflow = __builtin_add_overflow(at, op.at.value, &address);
  if (overflow || address < 0 || address >= static_cast<std::int64_t>(shape.ram_bytes)) return skip();
  const Pfn frame = static_cast<Pfn>(address >> shape.page_shift);
  if (frame >= shape.hole_start && frame < shape.hole_end) return skip();
  begin();
  if (watches_blocks_ && !is_high(frame))
    watch(machine::Ram::linear_base + static_cast<std::uint64_t>(address), 1, subject::Access::write);
  machine_->ram().frame(frame)[static_cast<std::size_t>(address) & (shape.page_bytes() - 1)] = std::byte{op.byte.value};
  if (frame >= holding->first && frame - holding->first < holding->frames) {
    holding->written = Written::unknown;
    if (frame - holding->first == holding->part) holding->part = 0;
  }
  end();
}

// --- the allocator as a whole ----------------------------------------------------------------------------------------

void Executor::operator()(const DrainLocalPages&) {
  begin();
  pages_->drain_local_pages();
  end();
}
void Executor::operator()(const DrainAllPages&) {
  begin();
  pages_->drain_all_pages();
  end();
}
void Executor::operator()(const NrFreePages&) {
  begin();
  end(pages_->nr_free_pages());
}
void Executor::operator()(const SetMinFreeKbytes& op) {
  begin();
  pages_->set_min_free_kbytes(op.kbytes.value);
  end();
}
void Executor::operator()(const ClientAdd& op) {
  begin();
  end(pages_->client_add(op.kind.value, std::min(op.pages.value, client_pages_most_), op.gfp.bits));
}
void Executor::operator()(const ClientDrop& op) {
  begin();
  end(pages_->client_drop(op.kind.value, op.pages.value));
}

void Executor::operator()(const ClientTouch& op) {
  begin();
  end(pages_->client_touch(op.kind.value, op.pages.value));
}
void Executor::operator()(const SetProcess& op) {
  begin();
  end(pages_->set_process(op.process.value, op.trait.value, op.value.value) ? 1 : 0);
}

// --- misuse ----------------------------------------------------------------------------------------------------------

void Executor::operator()(const BlemishPage& op) {
  const Holding* holding = this->holding(op.in);
  if (holding == nullptr || holding->references == 0) return skip();
  begin();
  pages_->blemish(frame_of(*holding, op.in), op.flaw.value);
  end();
}
void Executor::operator()(const Forget& op) {
  Holding* holding = object(op.in);
  if (holding == nullptr) holding = this->holding(op.in);
  if (holding == nullptr || holding->references == 0) return skip();
  begin();
  holding->references = 0;
  end();
}

}  // namespace memtorture::run
