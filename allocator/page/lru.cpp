// The lists of pages that reclaim takes from (domain.md 9.3). Every step takes the lock for one page, so that whoever
// wants to come in between can.
#include "allocator/page/page_alloc.h"

namespace memtorture::page {

using machine::Held;
using machine::Masked;
using subject::ClientKind;

std::uint32_t Clients::shrink_inactive(Zone& zone, ClientKind kind, std::uint64_t scan, Spare spare) {
  Lru& lru = zone.lru[index(kind)];
  std::uint32_t freed = 0;
  for (; scan != 0 && lru.inactive_pages.get() != 0; --scan) {
    Pfn pfn;
    {
      Masked masked;
      Held held(lock_, masked, "reclaim.page", "reclaim.page");
      pfn = lru.inactive.last;
      if (pfn == no_pfn) break;
      Page& page = pages_.map()[pfn];
      if (spare == Spare::used && (page.flags() & pg_referenced) != 0) {
        lru.inactive.remove(pages_.map(), pfn);
        lru.inactive_pages.sub(1);
        page.set_flags((page.flags() & ~pg_referenced) | pg_active);
        lru.active.push_front(pages_.map(), pfn);
        lru.active_pages.add(1);
        continue;
      }
      take_last(lru.inactive, lru.inactive_pages, kind);
    }
    if (kind == ClientKind::dirty) pages_.trace().fs_called();
    if (kind == ClientKind::anon) pages_.trace().io_started();
    release(kind, pfn);
    ++freed;
  }
  return freed;
}

void Clients::shrink_active(Zone& zone, ClientKind kind, std::uint64_t scan) {
  Lru& lru = zone.lru[index(kind)];
  for (; scan != 0 && lru.active_pages.get() != 0; --scan) {
    Masked masked;
    Held held(lock_, masked, "reclaim.page", "reclaim.page");
    const Pfn pfn = lru.active.last;
    if (pfn == no_pfn) break;
    lru.active.remove(pages_.map(), pfn);
    lru.active_pages.sub(1);
    Page& page = pages_.map()[pfn];
    page.set_flags(page.flags() & ~pg_active);
    lru.inactive.push_front(pages_.map(), pfn);
    lru.inactive_pages.add(1);
  }
}

void Clients::write_slowly(Zone& zone, ClientKind kind, std::uint64_t scan, machine::Jiffies done_at) {
  Lru& lru = zone.lru[index(kind)];
  for (; scan != 0; --scan) {
    Masked masked;
    Held held(lock_, masked, "reclaim.page", "reclaim.page");
    const Pfn pfn = lru.inactive.last;
    if (pfn == no_pfn) break;
    if (kind == ClientKind::dirty) pages_.trace().fs_called();
    if (kind == ClientKind::anon) pages_.trace().io_started();
    pages_.trace().client_writing(pfn);
    lru.inactive.remove(pages_.map(), pfn);
    lru.inactive_pages.sub(1);
    lru.writeback.push_front(pages_.map(), pfn);
    lru.writeback_pages.add(1);
    lru.written_at = done_at;
  }
}

// They come to the back of the list of clean pages: nobody needs them any more.
void Clients::end_writeback(Zone& zone) {
  Lru& clean = zone.lru[index(ClientKind::clean)];
  for (const ClientKind kind : {ClientKind::dirty, ClientKind::anon}) {
    Lru& lru = zone.lru[index(kind)];
    while (lru.writeback_pages.get() != 0) {
      Masked masked;
      Held held(lock_, masked, "reclaim.page", "reclaim.page");
      if (lru.writeback.empty() || machine::jiffies_now() < lru.written_at) break;
      const Pfn pfn = take_last(lru.writeback, lru.writeback_pages, kind);
      pages_.trace().client_written(pfn);
      clean.inactive.push_back(pages_.map(), pfn);
      clean.inactive_pages.add(1);
      held_[index(ClientKind::clean)].add(1);
    }
  }
}

}  // namespace memtorture::page
