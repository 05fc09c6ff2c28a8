// The whole simulated kernel: a machine, its fault injector and its page layer, booted together. What a program of
// operations runs against.
//
// One Kernel serves many runs: boot() forgets the last one at a cost that depends on what it touched, not on how much
// memory the machine has. Host memory is taken in the constructor only.
//
// Context: boot() and the PagesView outside of any strand; the Pages functions on the machine (a strand or run_alone).
#pragma once

#include <span>

#include "allocator/boot/bank.h"
#include "allocator/fault/injector.h"
#include "allocator/machine/machine.h"
#include "allocator/page/page_alloc.h"
#include "allocator/subject/pages.h"

namespace memtorture::kernel {

using machine::Pfn;
using subject::Blemish;
using subject::ClientKind;
using subject::gfp_t;

class Kernel final : public subject::Pages, public subject::PagesView, private fault::Listener {
 public:
  Kernel();

  // shape must be possible; rules, trace and witness must outlive the run.
  void boot(const machine::Shape& shape, std::span<const fault::Rule> rules, subject::PagesTrace& trace,
            machine::Witness& witness);

  machine::Machine& machine() { return machine_; }
  page::PageAllocator& allocator() { return pages_; }
  subject::Promises promises() const { return {}; }

  // --- subject::Pages -----------------------------------------------------------------------------------------------
  Pfn alloc_pages(gfp_t gfp, unsigned order) override { return pages_.alloc_pages(gfp, order); }
  Pfn alloc_pages_node(int nid, gfp_t gfp, unsigned order) override { return pages_.alloc_pages_node(nid, gfp, order); }
  std::uint64_t get_free_pages(gfp_t gfp, unsigned order) override { return pages_.get_free_pages(gfp, order); }
  std::uint64_t get_zeroed_page(gfp_t gfp) override { return pages_.get_zeroed_page(gfp); }
  std::uint64_t get_dma_pages(gfp_t gfp, unsigned order) override { return pages_.get_dma_pages(gfp, order); }
  std::uint64_t alloc_pages_exact(std::uint64_t bytes, gfp_t gfp) override {
    return pages_.alloc_pages_exact(bytes, gfp);
  }
  void free_pages_exact(std::uint64_t address, std::uint64_t bytes) override {
    pages_.free_pages_exact(address, bytes);
  }
  void free_pages_of(Pfn page, unsigned order) override { pages_.free_pages_of(page, order); }
  void free_pages(std::uint64_t address, unsigned order) override { pages_.free_pages(address, order); }
  void get_page(Pfn page) override { pages_.get_page(page); }
  void put_page(Pfn page) override { pages_.put_page(page); }
  void split_page(Pfn page, unsigned order) override { pages_.split_page(page, order); }
  int page_count(Pfn page) override { return pages_.page_count(page); }
  std::uint64_t page_address(Pfn page) override { return pages_.page_address(page); }
  void drain_local_pages() override { pages_.drain_local_pages(); }
  void drain_all_pages() override { pages_.drain_all_pages(); }
  std::uint64_t nr_free_pages() override { return pages_.nr_free_pages(); }
  void set_min_free_kbytes(std::uint32_t kbytes) override { pages_.set_min_free_kbytes(kbytes); }
  std::uint32_t client_add(ClientKind kind, std::uint32_t pages, gfp_t gfp) override {
    return pages_.clients().add(kind, pages, gfp);
  }
  std::uint32_t client_drop(ClientKind kind, std::uint32_t pages) override {
    return pages_.clients().drop(kind, pages);
  }
  void blemish(Pfn page, Blemish kind) override { pages_.blemish(page, kind); }

  // --- subject::PagesView -------------------------------------------------------------------------------------------
  std::span<const subject::ZoneInfo> zones() override;
  void for_each_free(unsigned zone, unsigned order, FreeBlocks f, void* arg) override;
  std::uint32_t pcp_count(unsigned zone, unsigned cpu) override;
  void for_each_pcp(unsigned zone, unsigned cpu, PcpPage f, void* arg) override;
  subject::PageInfo page(Pfn page) override;
  std::uint64_t client_pages(ClientKind kind) override { return pages_.clients().pages(kind); }

 private:
  void fired(machine::Site site) override { trace_->fault_fired(site); }

  machine::Machine machine_;
  boot::Bank bank_;
  fault::Injector faults_;
  page::PageAllocator pages_;
  subject::PagesTrace* trace_ = nullptr;
  subject::ZoneInfo zone_info_[page::zones_max] = {};
};

}  // namespace memtorture::kernel
