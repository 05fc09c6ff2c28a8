// The oracle's state and the outline of its judgement. Each facet is one .cpp; all work on the one ledger.
//
//   oracle.cpp     begin, end, dispatch of events, façade
//   alloc.cpp      entitlement of requests
//   cpusets.cpp    which zones the cpuset of a task leaves to them
//   grant.cpp      what they got: blocks and refusals
//   release.cpp    releases, references, splits: legal, crime or fatal
//   memory.cpp     contents, pokes, poison, blemishes
//   placement.cpp  per-CPU lists
//   reports.cpp    which report is owed
//   context.cpp    sleeping, balance, locks
//   hotplug.cpp    CPUs that go and come
//   lock_rules.cpp, lock_order.cpp   which locks may be waited for under which
//   reclaim.cpp    reclaim, clients
//   oom.cpp        the OOM killer, and the zones that a failure report shows
//   kswapd.cpp     what a woken kswapd owes
//   layers.cpp     requests of other layers
//   shrinkers.cpp  who may give back pages of slabs, and when they have to be given
//   objects.cpp    kmalloc and objects of caches
//   object_crimes.cpp   frees that are none
//   caches.cpp     caches: creation, destruction, shrinking
//   pools.cpp, pool_results.cpp, pool_audit.cpp   memory pools
//   percpu.cpp, percpu_access.cpp, percpu_results.cpp, percpu_audit.cpp   per-CPU memory
//   object_memory.cpp, object_audit.cpp   who reads and writes objects; white-box comparison
//   bucket_audit.cpp   the same for the buckets of K12
//   kstacks.cpp, kstack_results.cpp, kstack_audit.cpp   kernel stacks
//   audit.cpp      white-box comparison
//
// Exact and disturbed. While nobody else changes free memory between call and result of a request, the ledger is the
// subject's state and the outcome is judged exactly: which zone, in which pass, or refusal. Otherwise ("disturbed")
// what others took or gave back meanwhile is known only as an interval; then success needs an instant at which the mark
// could have held (`ever`), and refusal is wrong only if a zone held it at every instant for sure (`always`).
#pragma once

#include <array>
#include <bit>
#include <vector>

#include "model/oracle/entitlement.h"
#include "model/oracle/ledger.h"
#include "model/oracle/lock_order.h"
#include "model/oracle/object_ledger.h"
#include "model/oracle/percpu_record.h"
#include "model/oracle/request.h"
#include "model/oracle/rules.h"
#include "model/oracle/slab_geometry.h"

namespace memtorture::oracle {

using machine::IrqFlag;
using machine::ReportKind;

using ReasonSet = std::uint8_t;  // bit r = BadPageReason r
template <class... R>
constexpr ReasonSet reasons(R... reason) {
  return static_cast<ReasonSet>((0u | ... | (1u << static_cast<unsigned>(reason))));
}

inline constexpr unsigned contexts_max =
    program::programs_max + machine::daemons_max + 1;  // programs, daemons, the harness
inline constexpr unsigned harness_index = contexts_max - 1;
inline constexpr unsigned many = 0xff;

enum class Held : std::uint8_t { block, object, cache, pool, task, percpu, copy, cpu };

struct Slot {
  std::uint32_t run = 0;  // filled in this run?
  Held what = Held::block;
  Pfn first = machine::no_pfn;
  std::uint64_t address = 0;  // of an object; handle of a cache, pool or task
  std::uint32_t object = 0;   // index of the object, cache, pool or stack
  std::uint32_t serial = 0;   // 0: a wild handle
  std::uint32_t frames = 0;
  std::uint32_t cpu = 0;  // a number of a CPU, or whose copy a pointer leads to ...
  bool own = false;       // ... because the holder ran there then
};

struct Stage {
  ZoneSet must = 0, may = 0;
};

// Zones that a request may look at: those that the reference surely gives it, and all that it could be read to give.
struct Reach {
  ZoneSet least = 0, most = 0;
};

struct Limbo {
  Pfn first;
  std::uint8_t order;
};

// An operation in flight: what each call starts anew ...
struct FlightState {
  bool active = false;
  Request request;
  std::uint32_t op = 0;
  std::uint8_t cpu = 0;
  IrqFlag irqs = IrqFlag::on;
  std::uint32_t preempt_count = 0, task_flags = 0;
  machine::NodeSet mems = machine::all_nodes;  // of the context's cpuset
  LockSet held = 0;                            // at the call

  // Allocation. gfp as the allocator sees it (masked); stages as of the moment when the request was opened.
  std::uint32_t gfp = 0;
  std::uint8_t order = 0, node = 0, high = 0;
  Rights rights;
  std::array<Stage, 3> stages{};
  ZoneSet ever = 0, always = 0;
  bool disturbed = false;       // free memory changed, or may have, by others or by reclaim
  bool unjudged = false;        // node, marks or result unknown: only bounds and ownership are judged
  bool may_be_refused = false;  // for a reason of 9.4's first paragraph, or because nothing is demanded
  bool must_be_refused = false;
  bool impossible_zone = false;
  bool faulted = false, reclaim_faulted = false;
  bool in_reclaim = false;
  bool killed = false;                        // since the last round of reclaim
  std::uint32_t kills = 0, victim_pages = 0;  // of all kills; given up by the victim of the one that is under way
  bool slow_exit = false;                     // that victim was made to take its time
  std::uint8_t zones_shown = 0;               // since its last failure report
  std::uint32_t client_moves = 0;             // client_add, client_drop: pages so far
  std::uint64_t client_held = 0;              // client_drop, client_touch: pages of the kind at the call
  ReasonSet reasons = 0;                      // that a bad page report may give
  std::uint32_t reclaims = 0, refills = 0, drains = 0;
  std::uint32_t round_pages = 0;   // freed in the round of reclaim that is under way
  std::uint8_t round_busy = 0;     // a bit for each kind of client of which nothing could be had in it: injected
  std::uint64_t clients_then = 0;  // State::client_comings when it began
  bool objects_rested = false;     // nobody else was in the object layer when it began ...
  std::uint64_t objects_then = 0;  // ... and State::objects_moves() then
  std::uint64_t reclaimed = 0, last_progress = 0;
  std::uint64_t cpus_seen = 0;
  std::uint64_t changes = 0;        // State::changes at the call
  Pfn target = machine::no_pfn;     // of a legal release, get or split: the block's first frame ...
  std::uint32_t target_serial = 0;  // ... and its serial: once it went back the frames may be somebody else's
  std::uint8_t parked_cpu = 0xff, nodes_due = 0;
  bool only_fast = false;  // GFP_THISNODE on several nodes: refused after the first pass
  bool owes_context_report = false;
  std::uint8_t nodes_woken = 0;
  bool crime = false, atomic_crime = false, nmi = false;
  bool layer = false;            // of another layer, in the middle of an operation
  bool last = false;             // after it nothing is known to be sound: the run ends
  bool one_free_report = false;  // exactly one of those that tell a free that is none
  bool one_access_report = false;
  machine::PanicKind owed_panic = machine::PanicKind::none;  // instead of a result
  bool exposed = false;  // a crime whose outcome hangs on nobody else's touching blocks before the subject looks

  bool reports_used = false;
};

// ... and the counts of its reports, cleared only once one is owed or came.
struct Flight : FlightState {
  std::array<std::uint8_t, machine::report_kinds> seen{}, least{}, most{};

  void owe(ReportKind kind, unsigned at_least, unsigned at_most) {
    use_reports();
    least[static_cast<unsigned>(kind)] = static_cast<std::uint8_t>(at_least);
    most[static_cast<unsigned>(kind)] = static_cast<std::uint8_t>(at_most);
  }
  void open(const Event& event) {
    static_cast<FlightState&>(*this) = FlightState{};
    active = true;
    op = event.op;
    cpu = event.cpu;
    irqs = event.irqs;
    preempt_count = event.preempt_count;
    task_flags = static_cast<std::uint32_t>(event.value2);
    held = event.held;
  }
  void use_reports() {
    if (reports_used) return;
    reports_used = true;
    seen = {};
    least = {};
    most = {};
  }
};

// What an operation on objects keeps beyond its Flight.
struct ObjectFlight {
  std::uint64_t changes = 0;  // State::object_changes at the call
  bool alone = false;         // nobody else was in the middle of an operation on objects at the call
  bool asked = false;         // for pages
  bool refused = false;       // by the page layer, at least once
  // State::objects_moves() at the call; 0: somebody was looking for pages of slabs then
  std::uint64_t moves = 0;
  // State::objects_moves() when the last request was refused although free objects were at hand; 0: none were
  std::uint64_t free_beside = 0;
  bool missing = false;            // what it is about does not exist, which is noticed
  bool doomed = false;             // the name is taken, or the cache busy: what it must come to
  std::uint32_t cache = 0;         // index + 1 of the cache that it is on; 0: none
  Piece lent = {};                 // serial 0: none. krealloc: what it may give up
  std::uint64_t old_usable = 0;    // krealloc of a live object
  std::uint32_t pool = 0;          // index + 1 of the pool that it is on; 0: none
  bool alone_on_pool = false;      // nobody else was in the middle of an operation on it at the call
  std::uint64_t pool_changes = 0;  // PoolRecord::changes at the call
  bool page_faulted = false;       // a request for pages was refused by an injected failure
};

// Where a context stands on its stack, and what its operation on it keeps.
struct Footing {
  struct Frame {
    std::uint64_t bytes;        // with its arrays
    std::uint64_t token;        // the return address
    std::uint64_t lowest_word;  // the same, or what the last array wrote
  };
  std::uint32_t stack = 0;  // index + 1; 0: it has none
  std::uint64_t sp = 0;
  std::vector<Frame> frames;
  bool told_low = false;               // it reported that the stack which it found is low
  std::uint64_t step = 0, lowest = 0;  // the operation in flight moves sp by so much at a time, down to there
  std::uint64_t written_before = 0;    // StackRecord::written when it began
  Pfn block = machine::no_pfn;         // fork: what the layer got for it and has not given back
};

// What an operation on per-CPU memory keeps beyond its Flight.
struct PercpuFlight {
  std::uint32_t area = 0;     // index + 1 of the area that it is on; 0: none
  std::uint32_t serial = 0;   // ... and its serial
  bool exact = false;         // nobody else was adding to it at the call
  std::uint64_t changes = 0;  // PercpuRecord::changes at the call
  std::uint64_t moves = 0;    // State::percpu_moves at the call, if nobody else was at it; else 0
  bool bad = false;           // what it is about does not exist, which is noticed
  bool faulted = false;       // an injected failure of the layer's own
  std::vector<PercpuPlace> places;
};

// What an operation that moves a CPU keeps beyond its Flight.
struct HotplugFlight {
  bool alone = false;       // no other one was in flight at the call
  std::uint64_t calls = 0;  // State::hotplug_calls then
};

struct ContextState {
  ObjectFlight object;
  HotplugFlight hotplug;
  Footing footing;
  PercpuFlight percpu;
  bool shrinking = false;          // looks for pages of slabs to give back
  std::uint32_t shrunk_pages = 0;  // ... and gave back so many
  bool entered = false;            // its first operation was called, with ...
  std::uint32_t entered_count = 0;
  machine::NodeSet mems_allowed = machine::all_nodes;  // what it was granted last
  IrqFlag entered_irqs = IrqFlag::on;
  bool draining = false;  // a daemon that has announced a page that leaves a list; the page may be on its way
  Flight flight;
  std::vector<Flight> outer;               // what it was doing when a layer began a request of its own
  std::vector<Limbo> limbo;                // what its release in flight gave up
  Pfn releasing_client = machine::no_pfn;  // a client's page on its way to a list
};

struct Flaw {  // a frame whose descriptor was blemished
  Pfn frame;
  ReasonSet reasons;
};

// The last time that kswapd of a node was woken (kswapd.cpp).
struct Wake {
  bool judged = false, ever = false;
  std::uint8_t order = 0;
  std::array<std::uint64_t, zones_max> taken{}, client_grants{};  // ZoneState's, at that time
};

struct ProcessRecord {  // processes are numbers: one that has no pages does not exist
  std::uint64_t pages = 0;
  subject::ProcessTraits traits;
  bool dying = false;
};

struct Spoilt {  // a free object whose poison a crime overwrote
  std::uint64_t address;
  std::uint64_t bytes;
  bool owed;  // the report is owed (else: possible)
};

struct Corrupt {  // a free frame that a crime wrote to
  Pfn frame;
  bool owed;  // the poison report is owed (else: possible)
};

struct StackRecord {
  std::uint64_t base = 0;
  subject::StackUse use = subject::StackUse::none;
  std::uint32_t number = 0;
  bool alive = false;         // its task has not ended; idle tasks' and interrupts' never do
  std::uint64_t deepest = 0;  // lowest stack pointer so far
  std::uint64_t written = 0;  // lowest word for frames that was ever written
  bool magic_gone = false;
  bool dead = false;  // of a program that has left, and nobody has seen it go since
  bool due = false;   // ... and a fork or exit is under way that has to give it back
};

struct Oracle::State {
  Geometry geometry;
  Ledger ledger{geometry};
  const program::Case* the_case = nullptr;
  std::uint32_t client_pages_most = 0;  // per client_add
  subject::Promises promises;
  std::array<ContextState, contexts_max> contexts{};
  std::vector<std::uint8_t> allocating;  // contexts with an allocation in flight
  std::uint64_t changes = 0;             // operations that change what is owned or free, so far
  unsigned mark_changers = 0;            // set_min_free_kbytes in flight
  unsigned exposed = 0;                  // such flights
  unsigned handling = 0;                 // contexts that are taking, dropping or splitting a block
  unsigned mutators = 0;                 // contexts in the middle of something that changes free memory
  unsigned contexts_used = 0;
  ObjectLedger objects;
  std::vector<CacheRecord> caches;
  std::vector<PoolRecord> pools;
  std::vector<StackRecord> stacks;
  unsigned forks = 0;                   // in flight
  unsigned spilt_by = 0;                // context + 1 whose frames went below its stack, over what is not its own
  subject::PercpuLayout percpu_layout;  // unit_bytes 0: there is none
  std::vector<PercpuRecord> areas;      // of per-CPU memory; static variables first
  unsigned percpu_statics = 0;          // so many
  unsigned percpu_ops = 0;              // operations that give or take areas, in flight
  std::uint64_t percpu_moves = 0;       // ... and begun so far
  unsigned percpu_told = 0;             // failures
  bool percpu_limit_told = false;       // that there will be no more
  std::vector<Piece> graves;            // objects that were given up, as they were: the last graves_max
  std::size_t next_grave = 0;
  std::vector<Spoilt> spoilt;
  std::uint64_t own_allocations = 0;  // times when the layer may have kmalloc'ed something for itself
  bool has_linked = false;            // a word with an address was ever stored
  std::vector<std::uint64_t> leaks_told;
  bool has_objects = false, buckets = false;  // is there kmalloc; is it that of 11.5
  bool blocks_watched = false;                // Oracle::begin_watching
  std::int64_t own_objects = 0;      // of the layer itself, beyond what its structures explain (object_audit.cpp)
  unsigned object_ops = 0;           // operations on objects that are in flight
  std::uint64_t object_changes = 0;  // ... and that were begun so far
  std::vector<Slot> slots;
  std::uint32_t run = 0, serial = 0;
  machine::Shape shape;
  bool built = false;
  std::vector<Flaw> flaws;
  std::vector<Corrupt> corrupt;
  std::array<Wake, machine::nodes_max> wakes{};
  unsigned kswapds_started = 0;  // nodes whose kswapd was ever woken in this run
  std::array<ProcessRecord, subject::processes_max> processes{};
  std::uint64_t client_comings = 0;  // pages that became reclaimable, or easier to reclaim, or slow, so far
  std::array<std::uint8_t, program::locks_max> spin_holder{}, mutex_holder{};  // context + 1
  std::array<std::uint8_t, program::locks_max> spin_depth{};
  LockOrder locks;
  std::array<std::int8_t, machine::cpus_max> online{};  // 1: the CPU is online; while some are on their way: a balance
  unsigned hotplug_ops = 0;                             // operations that move CPUs, in flight
  std::uint64_t hotplug_calls = 0;                      // ... and begun so far
  bool over = false;
  bool panicked = false;      // legally: nothing more is checked
  unsigned daemons_used = 0;  // by index: those that the machine can have
  unsigned shrinkers = 0;     // contexts that look for pages of slabs now
  std::uint64_t shrinks = 0;  // ... and that ever did
  Finding first_crime, first_finding;
  ContextId who = machine::no_context;  // of the event being judged, for findings
  std::uint32_t op = 0;

  // oracle.cpp
  Ruling begin(const program::Case&, std::span<const subject::ZoneInfo>, const subject::Promises&);
  Ruling on(const Event&);
  Ruling end();
  Ruling on_call(const Event&, ContextState&);
  Ruling on_result(const Event&, ContextState&);
  static unsigned index_of(ContextId who);
  Pfn frame_of(std::uint64_t address) const {  // no_pfn: no address of memory
    const std::uint64_t frame = (address - machine::Ram::linear_base) >> shape.page_shift;
    return address < machine::Ram::linear_base || frame >= geometry.frames() ? machine::no_pfn
                                                                             : static_cast<Pfn>(frame);
  }
  bool is_high(Pfn frame) const {  // of a frame below frames()
    return (std::uint64_t{frame} << shape.page_shift) >=
           shape.zone_end_bytes[machine::index_of(machine::ZoneKind::normal)];
  }
  ContextState& context(ContextId id) { return contexts[index_of(id)]; }
  template <class F>
  void for_each_context(this auto& self, F&& f) {  // of this run: its programs, the daemons, the harness
    for (unsigned i = 0; i != self.contexts_used; ++i) f(self.contexts[i]);
    for (unsigned i = 0; i != self.daemons_used; ++i) f(self.contexts[program::programs_max + i]);
    f(self.contexts[harness_index]);
  }
  Slot* slot(std::uint16_t index, Held what = Held::block) {
    return index < slots.size() && slots[index].run == run && slots[index].what == what ? &slots[index] : nullptr;
  }
  void fill_slot(std::uint16_t index, const Slot& slot);
  [[gnu::cold, gnu::noinline]] Ruling broken(RuleId rule, Pfn pfn, std::string detail);
  [[gnu::cold, gnu::noinline]] Ruling crime(RuleId rule, Pfn pfn, std::string detail);
  Ruling undecidable() {  // somebody touches what a crime in flight is about: nothing more can be demanded
    over = true;
    return Ruling::fatal;
  }
  [[gnu::cold, gnu::noinline]] Ruling fatal(RuleId rule, Pfn pfn, std::string detail);
  // A crime that the subject can notice only while the frame stays free: fatal as soon as an allocation is in flight.
  Ruling noticed_if_free(Flight&, RuleId rule, Pfn pfn, std::string detail);
  // A crime that is noticed, and how, as long as nobody else touches blocks: fatal as soon as somebody does.
  Ruling exposed_crime(Flight&, RuleId rule, Pfn pfn, std::string detail);
  std::string whose(Pfn frame);  // what a frame is, in words
  void enter_mutator();
  void leave_mutator() { --mutators; }
  void stop_allocating(unsigned index);
  // What a context of `allocating` asks for. While it gives back pages of slabs on behalf of its own request for
  // pages, that release is on top.
  Flight& request_in_flight(unsigned index) {
    ContextState& state = contexts[index];
    return allocates(state.flight.request.act) || state.outer.empty() ? state.flight : state.outer.back();
  }
  const Flight& request_in_flight(unsigned index) const { return const_cast<State*>(this)->request_in_flight(index); }
  // What Flight::changes starts from. Whoever is in the middle of something (own: of these, the flight itself) may
  // finish it unannounced, so with company from the start a flight is never quiet.
  std::uint64_t changes_from_here(unsigned own) const { return mutators > own ? ~std::uint64_t{0} : changes; }
  bool quiet(const Flight& f) const {
    return mutators == 1 && changes == f.changes;
  }  // nobody else changed memory so far
  bool may_wait_forever(unsigned index, unsigned depth) const;
  bool nothing_will_come(const Flight&) const;
  std::uint32_t state_class() const;

  // Is another context in the middle of taking, dropping or splitting a block?
  bool contested(const ContextState&) const;
  // How many other contexts are in the middle of this act on the block that this one works on, or on its part that
  // starts in these frames.
  unsigned in_flight_on(const ContextState&, Act, Pfn first, std::uint32_t frames) const;

  // alloc.cpp
  Ruling call_alloc(const Event&, Flight&);
  void open_request(Flight&);
  bool passes(const Flight&, unsigned zone, std::uint64_t mark, std::uint8_t rights) const;
  bool passes_at_best(const Flight&, unsigned zone, std::uint64_t mark, std::uint8_t rights) const;
  bool passes_against(const Flight&, unsigned zone, std::uint64_t mark, unsigned classzone) const;
  bool could_pass(const Flight&, unsigned zone) const;
  bool surely_passes(const Flight&, unsigned zone) const;
  Stage stage_now(const Flight&, unsigned stage) const;
  bool has_block(const Flight&, unsigned zone, bool parked_too) const;
  // Around every change of free memory: requests in flight (but `except`, whose own doing it is) lose exactness.
  void before_change(unsigned except);
  void after_change();
  void disturb(Flight&);
  std::uint8_t kswapds_due(const Flight&) const;

  // cpusets.cpp
  ZoneSet zones_of(const Flight&) const;       // of the zonelist
  ZoneSet zones_at_home(const Flight&) const;  // ... on nodes of the cpuset, for whom it binds
  bool is_at_home(const Flight&, unsigned node) const;
  Reach reach(const Flight&, unsigned stage) const;
  Reach reach(const Flight&) const;              // of any stage
  ZoneSet zones_to_shrink(const Flight&) const;  // whose pages direct reclaim may take
  Ruling judge_mems_allowed(const Event&, ContextState&);
  Ruling judge_kswapd_of(unsigned node, const Flight&);

  // grant.cpp
  Ruling judge_result(const Event&, Flight&);
  bool must_not_fail(const Flight&) const;
  Ruling judge_refusal(Flight&);
  Ruling judge_grant(Flight&, Pfn first, unsigned order, std::uint32_t frames);
  Ruling judge_zone(Flight&, unsigned zone, Pfn first);
  Ruling take(const Flight&, Pfn first, unsigned order, unsigned zone);
  Ruling not_free(Pfn first, std::uint32_t frames, std::string_view doing);

  // release.cpp
  struct Claim;  // what releasing a frame would be
  bool is_slab(const Object& block) const;
  Claim claim(const Request&, Pfn frame, unsigned order, std::uint32_t serial);
  Ruling call_release(ContextState&, Pfn frame, unsigned order, std::uint32_t serial);
  Ruling noticed(Flight&, const Claim&, Pfn frame, std::string what);
  Ruling call_release_exact(ContextState&, const Slot&, Pfn frame);
  Ruling call_clean_up(const Event&, ContextState&);
  Ruling call_get(ContextState&, const Slot&, Pfn frame);
  Ruling call_split(ContextState&, const Slot&, Pfn frame);
  Ruling give_up(ContextState&, std::uint32_t object);
  void lose(std::uint32_t object);  // leaks by design: bad for ever
  Ruling judge_release(const Event&, ContextState&);
  void settle(ContextState&);
  void settle_overlapping(Pfn first, unsigned order);
  void to_limbo(ContextState&, Pfn first, unsigned order);
  Ruling judge_count(const Event&, Flight&);

  // memory.cpp
  Ruling call_write(ContextState&, const Slot&, Pfn frame);
  Ruling call_poke(ContextState&, const Slot&, Pfn frame);
  Ruling call_peek(ContextState&, Pfn frame);
  Ruling peek_at_object(Flight&, Pfn base, Pfn frame, std::string what);
  Pfn frame_at(Pfn base, std::uint64_t offset) const;
  bool is_watched(Pfn frame) const { return blocks_watched && !is_high(frame); }
  bool surely_listed() const;
  void owe_use_after_free(Flight&);
  void corrupt_frame(const Slot&, Pfn frame, std::uint8_t byte);
  Ruling call_blemish(ContextState&, const Slot&, Pfn frame);
  Ruling judge_contents(const Event&);
  Ruling judge_poison(Flight&, Pfn first, std::uint32_t frames);
  unsigned flaws_in(Pfn first, std::uint32_t frames) const;
  ReasonSet flaw_reasons(Pfn first, std::uint32_t frames) const;
  bool discard_flawed(Flight&, Pfn frame);

  // placement.cpp
  Ruling on_parked(const Event&, unsigned index);
  Ruling on_refilled(const Event&, unsigned index);
  Ruling on_drained(const Event&, unsigned index);
  bool is_out_of_reach(const Flight&, unsigned cpu) const;
  Ruling judge_drain(const Event&, Flight&);

  // reports.cpp
  Ruling on_report(const Event&, Flight&);
  Ruling judge_reports(Flight&);
  [[gnu::cold]] Ruling wrong_reason(const Event&);

  // context.cpp
  Ruling call_context(const Event&, Flight&, unsigned index);
  Ruling judge_balance(const Event&, Flight&);
  Ruling unmasks_softirqs(Flight&);
  Ruling call_exit(Flight&, const ContextState&);
  Ruling on_slept(const Event&, Flight&);
  Ruling lock_ruling(const std::optional<LockOrder::Trouble>&);
  Ruling on_locked(const Event&);
  Ruling waits_for_reclaim(const Event&, Flight&, std::uint32_t gfp);
  Ruling request_under_locks(const Event&, Flight&);
  Ruling call_shrinker(Flight&);
  Ruling layer_under_locks(const Event&, Flight&);
  Ruling locks_left(const Event&, const Flight&);
  Ruling atomic_call(Flight&, unsigned least_sleeping, unsigned most_sleeping);

  // hotplug.cpp
  bool is_surely_offline(unsigned cpu) const { return hotplug_ops == 0 && cpu < shape.cpus && online[cpu] == 0; }
  bool is_surely_deserted(unsigned node) const;
  Ruling call_hotplug(ContextState&);
  Ruling judge_hotplug(const Event&, ContextState&);
  Ruling judge_lists_of_the_gone(unsigned cpu, std::size_t on_their_way);
  Ruling happens_offline(unsigned cpu, Pfn frame, std::string_view what);

  // reclaim.cpp
  Ruling on_reclaim_began(const Event&, ContextState&);
  void reclaim_fault(machine::Site, Flight&);
  Ruling on_reclaim_ended(const Event&, ContextState&);
  Ruling on_io(const Event&, Flight&);
  Ruling on_client_granted(const Event&, unsigned index);
  Ruling on_client_released(const Event&, unsigned index);
  Ruling judge_added(const Event&, Flight&);
  Ruling judge_dropped(const Event&, Flight&);
  Ruling judge_touched(const Event&, const Flight&);
  void settle_client(unsigned index);
  void settle_drain(ContextState&);
  void settle_unannounced();
  bool reclaimable(const Flight& f) const { return reclaimable_pages(f, 0) != 0; }
  std::uint64_t reclaimable_pages(const Flight&, std::uint8_t but) const;
  Ruling on_client_writing(const Event&);
  Ruling on_client_written(const Event&);
  Ruling judge_clients_left(const ContextState&);

  // oom.cpp
  bool may_kill(const Flight&) const;
  bool oom_possible(const Flight&) const;
  Ruling on_chose(const Event&, unsigned index);
  Ruling on_exited(const Event&, unsigned index);
  Ruling on_killed(const Event&, Flight&);
  Ruling on_panic(const Event&, Flight&);
  std::uint64_t points_of(unsigned process) const;
  bool is_killable(const ProcessRecord& process) const;
  bool is_victim(unsigned process) const;
  bool others_move_processes(unsigned index) const;
  Ruling judge_set_process(const Event&, const Flight&);
  Ruling on_zone_shown(const Event&, Flight&);
  Ruling judge_shown(const Flight&);

  // kswapd.cpp
  Ruling on_kswapd_woken(const Event&, Flight&);
  void excuse_kswapd(unsigned node) { wakes[node].judged = false; }
  Ruling on_quiet();

  // layers.cpp
  Flight& open_inner(const Event&, ContextState&, const Request&);
  Ruling close_inner(const Event&, ContextState&, Ruling);
  Ruling judge_need(const Event&, ContextState&);
  Ruling judge_growth(const Event&, const ContextState&);
  Ruling on_layer_requests(const Event&, ContextState&, unsigned index);
  Ruling on_layer_granted(const Event&, ContextState&, unsigned index);
  Ruling on_layer_releases(const Event&, ContextState&);
  Ruling on_layer_released(const Event&, ContextState&);

  // shrinkers.cpp
  Ruling on_shrink_began(const Event&, ContextState&);
  Ruling on_shrink_ended(const Event&, ContextState&);
  Ruling judge_giving_back(const Event&, ContextState&);
  bool objects_at_rest(const ContextState&) const;
  Ruling judge_no_progress(const ContextState&);
  std::uint64_t objects_moves() const { return object_changes + shrinks; }
  // Since the call nobody has moved free objects, but the operation itself.
  bool still(const ContextState& state) const { return undisturbed(state) && state.object.moves == objects_moves(); }

  // objects.cpp
  enum class Due : std::uint8_t { null, zero_size, object };
  Due due(const Request&, bool nothing_to_move) const;
  Ruling call_object(const Event&, ContextState&);
  Ruling call_obj_alloc(ContextState&);
  Ruling call_obj_free(ContextState&);
  Ruling call_bucket_free(ContextState&);
  Ruling no_block(ContextState&, std::uint64_t address, RuleId rule, std::string what);
  Ruling free_of_no_object(ContextState&, std::uint64_t address);
  bool maybe_layers_own(const Ledger::Found&, std::uint64_t address);
  Ruling surrender(ContextState&, const Slot&, std::uint32_t cache);
  std::uint32_t owned(const Slot&) const;
  Ruling judge_object(const Event&, ContextState&);
  Ruling judge_obj_result(const Event&, ContextState&);
  Ruling grant_object(const Event&, ContextState&, std::uint32_t cache, std::uint64_t bytes, std::uint32_t pool);
  Ruling judge_place(std::uint64_t address, std::uint64_t usable, std::uint64_t align, bool dma);
  Ruling judge_realloc(const Event&, ContextState&);
  void bury(const Piece&);
  Ruling ksize_of_no_object(ContextState&, const Slot&);
  Ruling keep_old(ContextState&, bool in_place);
  Ruling judge_ksize(const Event&, Flight&);
  Ruling clean_up_of_object(const Event&, ContextState&);
  Ruling end_objects();

  // caches.cpp
  CacheRecord* live_cache(std::uint16_t slot);
  bool cache_may_be_made(const Request&) const;
  Ruling call_cache_create(ContextState&);
  Ruling call_cache_end(ContextState&);
  Ruling chain_call(Flight&, Ruling);
  bool may_be_refused(const ContextState&) const;
  Ruling on_cache_panic(ContextState&);
  Ruling judge_cache_create(const Event&, ContextState&);
  Ruling judge_cache_end(const Event&, ContextState&);
  Ruling judge_cache_size(const Event&, ContextState&);
  bool undisturbed(const ContextState& state) const {  // no other operation on objects since the call
    return state.object.alone && state.object.changes == object_changes;
  }

  // pools.cpp
  PoolRecord* live_pool(std::uint16_t slot);
  bool never_comes(const PoolRecord&) const;
  bool backend_refused(const ContextState&) const;
  std::uint32_t pool_rights(const ContextState&) const;
  std::pair<std::uint64_t, std::uint64_t> set_aside(std::uint32_t cache) const;
  bool has_pool(std::uint32_t cache) const;
  bool steady(const ContextState&) const;
  Ruling call_pool(ContextState&);
  void use_cache(ContextState&, std::uint32_t cache);
  Ruling dead_pool(ContextState&, const PoolRecord&);
  Ruling pool_management(Flight&, Ruling, unsigned least);
  Ruling told_flags(Flight&, const PoolRecord&, std::uint32_t gfp, unsigned least);
  Ruling told_highmem(Flight&, const PoolRecord&, std::uint32_t gfp, unsigned least);
  Ruling call_pool_create(ContextState&);
  Ruling call_pool_alloc(ContextState&, const PoolRecord&);
  Ruling call_pool_free(ContextState&, PoolRecord&);
  void owe_smears(Flight&, const PoolRecord&);
  void returns_to_pool(Flight&, const Piece&);
  void one_came_back(PoolRecord&);
  Ruling call_pool_resize(ContextState&, const PoolRecord&);
  Ruling call_pool_destroy(ContextState&, PoolRecord&);
  Ruling judge_pool(const Event&, ContextState&);
  Ruling judge_pool_create(const Event&, ContextState&);
  Ruling judge_pool_alloc(const Event&, ContextState&, bool exact);
  Ruling judge_pool_resize(const Event&, ContextState&, bool exact);
  Ruling judge_pool_destroy(const Event&, ContextState&);
  bool pool_may_wait_forever(const ContextState&, const Flight&) const;
  bool backend_would_give(const Flight&, const PoolRecord&) const;

  // pool_audit.cpp
  struct Stock;
  Ruling take_stock(subject::MempoolsView&, Stock&);

  // kstacks.cpp
  Ruling begin_stacks(subject::KstacksView&);
  StackRecord* stack_at(std::uint64_t base);  // of a task, CPU or interrupt; null: none
  StackRecord& stack_of(const ContextState& state) { return stacks[state.footing.stack - 1]; }
  std::uint64_t limit_of(const StackRecord& stack) const;
  bool is_overrun(const StackRecord& stack) const { return stack.deepest < limit_of(stack); }
  Ruling on_entered(const Event&, ContextState&);
  Ruling on_left(ContextState&);
  Ruling call_stack(ContextState&, unsigned index);
  Ruling call_fork(ContextState&);
  Ruling call_exit(ContextState&);
  Ruling call_frames(ContextState&, unsigned index);
  Ruling overflow(ContextState&, unsigned index, std::uint64_t lowest);
  bool nobody_else_moves(const ContextState&) const;
  bool spilt() const { return spilt_by != 0; }  // any structure of the subject may be damaged
  bool is_sound_after_spill(const Event&, Act) const;
  void owe_panic(ContextState&);
  Ruling on_stack_panic(const Event&, const ContextState&);
  bool is_moving(std::uint32_t stack, const ContextState& except) const;

  // kstack_results.cpp
  Ruling judge_stack(const Event&, ContextState&);
  Ruling judge_fork(const Event&, ContextState&);
  Ruling judge_frames(const Event&, ContextState&);
  void call_for_the_dead(const ContextState&);
  Ruling judge_the_dead(const ContextState&);
  bool somebody_else_buries(const ContextState&) const;
  Ruling stack_given_back(const Event&, ContextState&);
  Ruling end_stacks();

  // kstack_audit.cpp
  Ruling audit_stacks(subject::KstacksView&);
  // percpu.cpp
  Ruling begin_percpu(const subject::PercpuLayout&, std::span<const subject::StaticVariable>);
  PercpuRecord* live_area(std::uint16_t slot);
  bool area_may_be(const Request&) const;
  Ruling call_percpu(ContextState&);
  Ruling call_percpu_alloc(ContextState&);
  Ruling call_percpu_free(ContextState&);
  Ruling dead_area(std::string_view doing);
  Ruling on_work_began(const Event&, ContextState&);
  Ruling on_work_ended(const Event&, ContextState&);
  std::uint32_t area_at(std::uint64_t cookie, std::uint64_t bytes) const;

  // percpu_access.cpp
  Ruling call_addition(ContextState&, unsigned index);
  Ruling judge_access(Flight&, PercpuRecord&, const PercpuAccess&, unsigned index);
  Ruling judge_interrupts(const Flight&, PercpuCopy&, const PercpuAccess&, machine::ContextKind);
  Ruling judge_locks(PercpuCopy&, const PercpuAccess&, unsigned index);
  std::uint8_t locks_of(unsigned index) const;
  Ruling lost_update(std::string detail);

  // percpu_results.cpp
  Ruling judge_percpu(const Event&, ContextState&);
  Ruling judge_percpu_alloc(const Event&, ContextState&);
  Ruling judge_percpu_refusal(const Event&, ContextState&);
  bool reserved_room(const Request&) const;
  Ruling judge_places(const Event&, ContextState&);
  Ruling judge_copy(const Event&, ContextState&);
  Ruling judge_addition(const Event&, ContextState&);
  Ruling judge_sum(const Event&, ContextState&);
  Ruling judge_percpu_contents(const Event&, ContextState&);
  Ruling judge_get_cpu(const Event&, Flight&);
  bool on_percpu_report(const Event&, Flight&);

  // percpu_audit.cpp
  struct Chunks;
  Ruling look_at_chunks(subject::PercpuView&, Chunks&);
  Ruling look_at_areas(subject::PercpuView&, const subject::PercpuChunkInfo&, Chunks&);

  // object_memory.cpp
  Ruling call_object_memory(ContextState&, const Slot&);
  Ruling object_access(Flight&, const Slot&, std::uint64_t address, std::uint64_t bytes);
  Ruling access_inside(Flight&, Piece&, std::uint64_t address, RuleId rule, std::string what);
  Ruling access_outside(Flight&, const Piece* of, std::uint64_t address, RuleId rule, std::string what);
  void smear(Piece&, std::uint64_t address, std::uint8_t byte);
  void spoil(Piece& grave, std::uint64_t address, std::uint64_t bytes, std::uint8_t byte);
  bool on_poison_report(std::uint64_t address);
  Ruling poison_untold(std::uint64_t address, std::uint64_t bytes);
  Ruling call_leak_scan();
  Ruling on_leak_report(const Event&);
  Ruling judge_leak_scan(const Event&);
  std::vector<bool> reachable_pieces() const;

  // object_crimes.cpp
  Piece* grave_of(const Slot&);
  bool same_block(const Piece&);
  bool in_slab_of(const Piece&, Pfn frame);
  // May the layer itself have an object of its own in the place by now? It takes them where kmalloc does.
  bool maybe_taken(const Piece& grave) const {
    return (grave.cache == 0 || caches[grave.cache - 1].pooled) && grave.own != own_allocations;
  }
  bool watched(std::uint8_t checks) const { return (checks & (machine::debug_sanity | machine::debug_shadow)) != 0; }
  Ruling free_again(ContextState&, const Slot&);
  Ruling free_inside(ContextState&, const Slot&, std::uint64_t address);
  Ruling noticed_free(ContextState&, RuleId rule, Pfn frame, std::string what);
  Ruling judge_object_contents(const Event&);

  // object_audit.cpp
  struct ObjectAuditor;
  void begin_objects(subject::ObjectsView&);
  Ruling audit_objects(subject::ObjectsView&, subject::MempoolsView*, subject::PercpuView*);

  // bucket_audit.cpp
  struct BucketAuditor;
  Ruling audit_buckets(subject::BucketsView&);

  // audit.cpp
  struct Auditor;
  Ruling audit(subject::PagesView&);
};

inline bool sleepable_at(const Flight& f) { return machine::sleepable(f.preempt_count, f.irqs); }
inline bool in_interrupt(const Flight& f) {
  return (f.preempt_count & (machine::softirq_mask | machine::hardirq_mask | machine::nmi_mask)) != 0;
}
// What a pool adds to the flags of a request when it asks its backend (12.1).
inline constexpr std::uint32_t pool_adds = subject::gfp_nomemalloc | subject::gfp_noretry | subject::gfp_nowarn;
inline constexpr std::uint32_t never_for_objects = subject::gfp_highmem | subject::gfp_dma32;  // objects have addresses
inline bool may_sleep(std::uint32_t gfp) { return (gfp & subject::gfp_wait) != 0; }
inline bool is_wait_function(Act act) {
  return act == Act::drain_all || act == Act::mutex_lock || act == Act::wait_event || act == Act::might_sleep ||
         act == Act::schedule || act == Act::cond_resched || act == Act::msleep;
}
// Flags as the scopes of the task leave them (domain.md 7.5).
inline std::uint32_t scope_masked(std::uint32_t gfp, std::uint32_t task_flags) {
  if ((task_flags & machine::pf_noio) != 0) gfp &= ~(subject::gfp_io | subject::gfp_fs);
  if ((task_flags & machine::pf_nofs) != 0) gfp &= ~subject::gfp_fs;
  return gfp;
}

}  // namespace memtorture::oracle
