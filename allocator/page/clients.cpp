#include "allocator/page/clients.h"

#include <algorithm>

#include "allocator/page/page_alloc.h"

namespace memtorture::page {

using machine::Held;
using machine::Masked;
using subject::ClientKind;

void Clients::boot() {
  lock_.reset();
  for (Process& process : process_) {
    process.list = {};
    process.pages.set(0);
  }
  for (Counter& held : held_) held.set(0);
}

std::uint32_t Clients::add(ClientKind kind, std::uint32_t pages, gfp_t gfp) {
  Process* const process = kind == ClientKind::process ? &process_to_grow() : nullptr;
  for (std::uint32_t added = 0; added != pages; ++added) {
    const Pfn pfn = pages_.alloc_pages(gfp, 0);
    if (pfn == no_pfn) return added;
    link(kind, process, pfn);
  }
  return pages;
}

// The page becomes reclaimable here, so the harness hears first that it is the client's.
void Clients::link(ClientKind kind, Process* process, Pfn pfn) {
  Masked masked;
  Held held(lock_, masked, "reclaim.page", "reclaim.page");
  pages_.trace().client_granted(kind, pfn);
  Page& page = pages_.map()[pfn];
  page.set_flags(page.flags() | subject::pg_lru);
  PfnList& list = process != nullptr ? process->list : pages_.zone_of(pfn).client[static_cast<unsigned>(kind)];
  list.push_front(pages_.map(), pfn);
  if (process != nullptr) process->pages.add(1);
  held_[static_cast<unsigned>(kind)].add(1);
}

// Takes the oldest page off a list; no_pfn when it is empty.
Pfn Clients::isolate(ClientKind kind, PfnList& list, Process* process) {
  Masked masked;
  Held held(lock_, masked, "reclaim.page", "reclaim.page");
  const Pfn pfn = list.last;
  if (pfn == no_pfn) return no_pfn;
  list.remove(pages_.map(), pfn);
  if (process != nullptr) process->pages.sub(1);
  held_[static_cast<unsigned>(kind)].sub(1);
  return pfn;
}

void Clients::release(ClientKind kind, Pfn pfn) {
  pages_.trace().client_released(kind, pfn);
  Page& page = pages_.map()[pfn];
  if ((page.flags() & subject::pg_bad) != 0) return;  // somebody freed it under the client, and it leaked then
  page.set_flags(page.flags() & ~std::uint32_t{subject::pg_lru});
  pages_.free_pages_of(pfn, 0);
}

std::uint32_t Clients::shrink(Zone& zone, ClientKind kind, std::uint32_t target) {
  PfnList& list = zone.client[static_cast<unsigned>(kind)];
  std::uint32_t freed = 0;
  while (freed != target) {
    if (pages(kind) == 0) break;
    const Pfn pfn = isolate(kind, list, nullptr);
    if (pfn == no_pfn) break;
    if (kind == ClientKind::dirty) pages_.trace().fs_called();
    if (kind == ClientKind::anon) pages_.trace().io_started();
    release(kind, pfn);
    ++freed;
  }
  return freed;
}

std::uint32_t Clients::drop(ClientKind kind, std::uint32_t pages) {
  if (pages_.reject_nmi(0, 0, no_pfn)) return 0;
  std::uint32_t dropped = 0;
  const auto take_from = [&](PfnList& list, Process* process) {
    for (; dropped != pages; ++dropped) {
      const Pfn pfn = isolate(kind, list, process);
      if (pfn == no_pfn) return;
      release(kind, pfn);
    }
  };
  if (kind == ClientKind::process) {
    for (Process& process : process_) take_from(process.list, &process);
  } else {
    for (Zone& zone : pages_.zones()) take_from(zone.client[static_cast<unsigned>(kind)], nullptr);
  }
  return dropped;
}

Clients::Process& Clients::process_to_grow() {
  return *std::ranges::min_element(process_, {}, [](const Process& p) { return p.pages.get(); });
}

Clients::Process* Clients::largest() {
  Process* const process = std::ranges::max_element(process_, {}, [](const Process& p) { return p.pages.get(); });
  return process->pages.get() == 0 ? nullptr : process;
}

std::uint32_t Clients::kill_largest() {
  Process* const victim = largest();
  if (victim == nullptr) return 0;
  std::uint32_t freed = 0;
  for (Pfn pfn; (pfn = isolate(ClientKind::process, victim->list, victim)) != no_pfn; ++freed)
    release(ClientKind::process, pfn);
  return freed;
}

}  // namespace memtorture::page
