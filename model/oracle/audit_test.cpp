// The white-box audit against a small view that is right, and against each way of being wrong.
#include <map>

#include "model/oracle/driver_test.h"

namespace memtorture::oracle::test {
namespace {

// A view of the toy machine's lists as plain containers, right for "one page of order 0 at 1024 is live".
class View : public subject::PagesView {
 public:
  explicit View(std::vector<subject::ZoneInfo> published) : zones_(std::move(published)) {
    lists[0][10] = {0};
    lists[1][10] = {2048, 3072};
    for (unsigned order = 0; order != 10; ++order) lists[1][order] = {1024 + (machine::Pfn{1} << order)};
    pages[1024] = {.count = 1};
    refresh();
  }
  void refresh() {
    for (unsigned z = 0; z != 2; ++z) {
      zones_[z].nr_free_pages = 0;
      for (unsigned order = 0; order != 11; ++order) {
        zones_[z].nr_free[order] = lists[z][order].size();
        zones_[z].nr_free_pages += lists[z][order].size() << order;
        for (const machine::Pfn first : lists[z][order]) pages[first] = {.flags = subject::pg_buddy, .private_ = order};
      }
    }
  }
  std::span<const subject::ZoneInfo> zones() override { return zones_; }
  void for_each_free(unsigned zone, unsigned order, FreeBlocks f, void* arg) override {
    for (const machine::Pfn first : lists[zone][order]) f(arg, first, 1);
  }
  std::uint32_t pcp_count(unsigned zone, unsigned) override { return zone == 1 ? parked_count : 0; }
  void for_each_pcp(unsigned zone, unsigned, PcpPage f, void* arg) override {
    if (zone == 1) {
      for (const machine::Pfn page : parked) f(arg, page);
    }
  }
  subject::PageInfo page(machine::Pfn pfn) override { return pages.contains(pfn) ? pages[pfn] : subject::PageInfo{}; }
  std::uint64_t client_pages(subject::ClientKind) override { return clients; }

  std::vector<subject::ZoneInfo> zones_;
  std::map<unsigned, std::map<unsigned, std::vector<machine::Pfn>>> lists;
  std::map<machine::Pfn, subject::PageInfo> pages;
  std::vector<machine::Pfn> parked;
  std::uint32_t parked_count = 0;
  std::uint64_t clients = 0;
};

TEST(Audit, RightListsAreFine) {
  Driver d;
  d.alloc(0, 1024);
  View view(d.zones);
  EXPECT_EQ(d.oracle.audit(view), Ruling::fine) << d.rule() << d.oracle.finding().detail;
}

TEST(Audit, EveryWrongIsNamed) {
  struct Row {
    std::string_view rule;
    void (*spoil)(View&);
  };
  const Row rows[] = {
      {"page.overlap",
       [](View& v) {
         v.lists[1][0].push_back(1024);
         v.refresh();
       }},
      {"buddy.double",
       [](View& v) {
         v.lists[1][0].push_back(1025);
         v.refresh();
       }},
      {"buddy.lost",
       [](View& v) {
         v.lists[1][3].clear();
         v.refresh();
       }},
      {"buddy.coalesce",
       [](View& v) {
         v.lists[1][0].push_back(1026);
         v.lists[1][0].push_back(1027);
         v.lists[1][1].clear();
         v.refresh();
       }},
      {"buddy.bound",
       [](View& v) {
         v.lists[1][9].push_back(1031);
         v.refresh();
       }},
      {"buddy.count", [](View& v) { ++v.zones_[1].nr_free[2]; }},
      {"buddy.count", [](View& v) { ++v.zones_[1].nr_free_pages; }},
      {"buddy.mark", [](View& v) { v.pages[1025].flags = 0; }},
      {"buddy.mark", [](View& v) { v.pages[2048].count = 1; }},
      {"page.descriptor", [](View& v) { v.pages[1024].count = 2; }},
      {"pcp.count", [](View& v) { v.parked_count = 1; }},
      {"pcp.double", [](View& v) { v.parked = {1025}; }},
      {"page.overlap", [](View& v) { v.parked = {1024}; }},
      {"wmark.formula", [](View& v) { ++v.zones_[0].mark_high; }},
      {"client.count", [](View& v) { v.clients = 1; }},
  };
  for (const Row& row : rows) {
    Driver d;
    d.alloc(0, 1024);
    View view(d.zones);
    row.spoil(view);
    EXPECT_EQ(d.oracle.audit(view), Ruling::broken) << row.rule;
    EXPECT_EQ(d.rule(), row.rule) << d.oracle.finding().detail;
  }
}

}  // namespace
}  // namespace memtorture::oracle::test
