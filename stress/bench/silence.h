// Nobody is told anything: what measures an allocator by itself, without executor and oracle.
#pragma once

#include "allocator/machine/machine.h"
#include "allocator/subject/pages.h"

namespace memtorture::bench {

struct Silence final : subject::PagesTrace, machine::Witness {
  void parked(machine::Pfn, unsigned) override {}
  void refilled(machine::Pfn, unsigned) override {}
  void drained(machine::Pfn, unsigned) override {}
  void client_granted(subject::ClientKind, machine::Pfn, unsigned) override {}
  void client_released(subject::ClientKind, machine::Pfn) override {}
  void reclaim_began(subject::gfp_t) override {}
  void reclaim_ended(std::uint32_t) override {}
  void kswapd_woken(unsigned) override {}
  void io_started() override {}
  void fs_called() override {}
  void fault_fired(machine::Site) override {}
  void oom_killed(std::uint32_t) override {}
  void reported(const machine::Context&, const machine::Report&) override {}
  void slept(const machine::Context&) override {}
};

}  // namespace memtorture::bench
