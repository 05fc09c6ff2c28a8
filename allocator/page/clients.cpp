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
    process.traits = {};
    process.dying = false;
    process.exits_at = 0;
  }
  for (Counter& held : held_) held.set(0);
}

std::uint32_t Clients::add(ClientKind kind, std::uint32_t pages, gfp_t gfp) {
  const unsigned process = kind == ClientKind::process ? process_to_grow() : 0;
  for (std::uint32_t added = 0; added != pages; ++added) {
    const Pfn pfn = pages_.alloc_pages(gfp, 0);
    if (pfn == no_pfn) return added;
    link(kind, process, pfn);
  }
  return pages;
}

// The page becomes reclaimable here, so the harness hears first that it is the client's.
void Clients::link(ClientKind kind, unsigned process, Pfn pfn) {
  Masked masked;
  Held held(lock_, masked, "reclaim.page", "reclaim.page");
  pages_.trace().client_granted(kind, pfn, process);
  Page& page = pages_.map()[pfn];
  held_[index(kind)].add(1);
  if (kind == ClientKind::process) {
    page.set_flags(page.flags() | subject::pg_lru);
    process_[process].list.push_front(pages_.map(), pfn);
    process_[process].pages.add(1);
    return;
  }
  Lru& lru = pages_.zone_of(pfn).lru[index(kind)];
  const bool active = kind == ClientKind::anon;
  page.set_flags(page.flags() | subject::pg_lru | (active ? pg_active : 0));
  (active ? lru.active : lru.inactive).push_front(pages_.map(), pfn);
  (active ? lru.active_pages : lru.inactive_pages).add(1);
}

// The caller holds the lock. No flag that reclaim keeps for itself survives.
Pfn Clients::take_last(PfnList& list, Counter& count, ClientKind kind) {
  const Pfn pfn = list.last;
  if (pfn == no_pfn) return no_pfn;
  list.remove(pages_.map(), pfn);
  count.sub(1);
  held_[index(kind)].sub(1);
  Page& page = pages_.map()[pfn];
  page.set_flags(page.flags() & ~(pg_active | pg_referenced));
  return pfn;
}

// Takes the page off its list that was not used for longest; no_pfn when there is none.
Pfn Clients::isolate(Lru& lru, ClientKind kind) {
  Masked masked;
  Held held(lock_, masked, "reclaim.page", "reclaim.page");
  Pfn pfn = take_last(lru.inactive, lru.inactive_pages, kind);
  if (pfn == no_pfn) pfn = take_last(lru.active, lru.active_pages, kind);
  if (pfn == no_pfn) pfn = take_last(lru.writeback, lru.writeback_pages, kind);
  return pfn;
}

Pfn Clients::isolate(Process& process) {
  Masked masked;
  Held held(lock_, masked, "reclaim.page", "reclaim.page");
  const Pfn pfn = process.list.last;
  if (pfn == no_pfn) return no_pfn;
  process.list.remove(pages_.map(), pfn);
  process.pages.sub(1);
  held_[index(ClientKind::process)].sub(1);
  return pfn;
}

void Clients::release(ClientKind kind, Pfn pfn) {
  pages_.trace().client_released(kind, pfn);
  Page& page = pages_.map()[pfn];
  if ((page.flags() & subject::pg_bad) != 0) return;  // somebody freed it under the client, and it leaked then
  page.set_flags(page.flags() & ~std::uint32_t{subject::pg_lru});
  pages_.free_pages_of(pfn, 0);
}

std::uint32_t Clients::drop(ClientKind kind, std::uint32_t pages) {
  if (pages_.reject_nmi(0, 0, no_pfn)) return 0;
  std::uint32_t dropped = 0;
  const auto drop_all = [&](auto take) {
    for (; dropped != pages; ++dropped) {
      const Pfn pfn = take();
      if (pfn == no_pfn) return;
      release(kind, pfn);
    }
  };
  if (kind == ClientKind::process) {
    for (Process& process : process_) drop_all([&] { return isolate(process); });
  } else {
    for (Zone& zone : pages_.zones()) drop_all([&] { return isolate(zone.lru[index(kind)], kind); });
  }
  return dropped;
}

std::uint32_t Clients::touch(ClientKind kind, std::uint32_t pages) {
  if (pages_.reject_nmi(0, 0, no_pfn) || kind == ClientKind::process) return 0;
  std::uint32_t touched = 0;
  Masked masked;
  Held held(lock_, masked, "reclaim.page", "reclaim.page");
  const auto use = [&](const PfnList& list) {
    for (Pfn pfn = list.last; pfn != no_pfn && touched != pages; pfn = pages_.map()[pfn].prev, ++touched) {
      Page& page = pages_.map()[pfn];
      page.set_flags(page.flags() | pg_referenced);
    }
  };
  for (Zone& zone : pages_.zones()) use(zone.lru[index(kind)].inactive);
  for (Zone& zone : pages_.zones()) use(zone.lru[index(kind)].active);
  for (Zone& zone : pages_.zones()) use(zone.lru[index(kind)].writeback);
  return touched;
}

}  // namespace memtorture::page
