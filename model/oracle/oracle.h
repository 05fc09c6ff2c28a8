// The oracle: an executable specification of the pages facet. Façade of model/oracle.
//
// It is written from domain.md and judges by what a subject promises; it knows no allocator. It takes no lock and
// touches no subject memory. One Oracle serves many runs: begin() undoes only what the last run touched.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "allocator/subject/buckets.h"
#include "allocator/subject/kstacks.h"
#include "allocator/subject/mempools.h"
#include "allocator/subject/objects.h"
#include "allocator/subject/percpu.h"
#include "model/oracle/event.h"
#include "model/program/case.h"

namespace memtorture::oracle {

enum class Ruling : std::uint8_t {
  fine,
  crime,   // the program did wrong; the run goes on and the subject owes the right report
  fatal,   // the program did something that no subject can notice (domain.md 4.5, wrong-order free): do not execute it,
           // the run ends here with verdict misuse
  broken,  // the subject broke a rule: the run ends with verdict finding
};

// The first crime, or the rule that the subject broke. rule is an id of rule_table.
struct Finding {
  std::string_view rule;
  ContextId who = machine::no_context;
  std::uint32_t op = 0;
  Pfn pfn = machine::no_pfn;
  std::string detail;  // one line for people: what was, what had to be
};

enum class RuleKind : std::uint8_t { rule, crime, audit, machine };
struct RuleRow {
  std::string_view id;  // "page.overlap"; crimes: "double-free"
  RuleKind kind;
  std::string_view source;  // "P-BUDDY-2"
  std::string_view meaning;
};
std::span<const RuleRow> rule_table();

class Oracle {
 public:
  Oracle();
  ~Oracle();
  Oracle(const Oracle&) = delete;
  Oracle& operator=(const Oracle&) = delete;

  // A new run of `the_case` (kept by reference until the next begin) on a subject that published these zones.
  [[nodiscard]] Ruling begin(const program::Case& the_case, std::span<const subject::ZoneInfo> published,
                             const subject::Promises& promises);
  [[nodiscard]] Ruling on(const Event& event);
  // All contexts have left and the harness has given back every live block and client page (through events): what is
  // lost now is lost. `live_blocks` etc. come from the ledger itself.
  [[nodiscard]] Ruling end();
  // White-box: compares the subject's structures with the ledger. At quiescent points only (no operation in flight).
  [[nodiscard]] Ruling audit(subject::PagesView& view);

  // The same for the structures of 10.3. begin_objects: after the object layer's boot, before anybody uses it.
  void begin_objects(subject::ObjectsView& view);
  // From now on the subject is shown every access to a block of pages that has an address (slab_debug=K).
  void begin_watching();
  // After the boot of per-CPU memory, before anybody uses it.
  [[nodiscard]] Ruling begin_percpu(const subject::PercpuLayout& layout,
                                    std::span<const subject::StaticVariable> variables);
  // pools, percpu: null: the subject does not show them; while there are any, objects are not compared then.
  [[nodiscard]] Ruling audit_objects(subject::ObjectsView& view, subject::MempoolsView* pools = nullptr,
                                     subject::PercpuView* percpu = nullptr);
  // After the boot of stacks, before any program runs; and the comparison.
  [[nodiscard]] Ruling begin_stacks(subject::KstacksView& view);
  [[nodiscard]] Ruling audit_stacks(subject::KstacksView& view);
  // ... and for those of 11.5.
  [[nodiscard]] Ruling audit_buckets(subject::BucketsView& view);

  // May operation `op` of `who`, which is in flight, legally wait for ever in the present state (domain.md 9.4)?
  [[nodiscard]] bool may_wait_forever(ContextId who) const;
  // Is the block that this handle names live (owned by a program)? For the harness's final clean-up and content stamps.
  struct LiveBlock {
    Pfn first = machine::no_pfn;
    std::uint32_t frames = 0;
    std::uint8_t order = 0;
    std::uint32_t references = 0;
    bool compound = false;
  };
  [[nodiscard]] LiveBlock live_block(Pfn frame) const;
  // The same for objects: is one live that starts there, of which cache (0: kmalloc), or of which pool (0: of none)?
  struct LiveObject {
    std::uint64_t cache, pool;
  };
  [[nodiscard]] std::optional<LiveObject> live_object(std::uint64_t address) const;
  // Did a program create this cache, and has it given back all of its objects?
  [[nodiscard]] bool is_empty_cache(std::uint64_t handle) const;
  // Is there a pool of that handle? Are all of its elements back?
  [[nodiscard]] bool is_pool(std::uint64_t handle) const;
  [[nodiscard]] bool is_idle_pool(std::uint64_t handle) const;
  // Is there a task of that name, which has not ended?
  [[nodiscard]] bool is_live_task(std::uint64_t task) const;
  // Is there a per-CPU area of that cookie which is not the kernel's own? Its bytes.
  [[nodiscard]] std::optional<std::uint64_t> live_percpu(std::uint64_t cookie) const;
  // NR_FREE_PAGES of a published zone, as the ledger has it.
  [[nodiscard]] std::uint64_t free_pages(unsigned zone) const;
  // A small number for the state of memory: (zone pressure class, fragmentation class). For behaviour features.
  [[nodiscard]] std::uint32_t state_class() const;

  const Finding& crime() const;    // the first crime (rule empty: none)
  const Finding& finding() const;  // the broken rule (rule empty: none)

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace memtorture::oracle
