// Writes one random program of a case, keeping the books that keep it innocent.
//
// What the program owns is known without running it: a slot is assigned once, so if its allocation is refused every
// later use of it is skipped, and if it is granted the books are right. Contexts are entered and left like brackets.
#pragma once

#include <array>
#include <optional>
#include <set>
#include <vector>

#include "model/program/case.h"
#include "model/program/edits.h"

namespace memtorture::program {

enum class Action : std::uint8_t {
  alloc,
  alloc_large,
  alloc_node,
  alloc_address,
  alloc_exact,
  alloc_too_big,
  release,
  references,
  split,
  contents,
  look,
  burst,
  drain,
  min_free,
  clients,
  whole_again,
  section,
  scope,
  mutex,
  sleep,
  stack,
  cpus,
  object,  // from here on: objects and caches
  object_burst,
  object_release,
  object_use,
  object_move,
  object_hand_over,
  object_odd,
  cache,
  pool,
  percpu,
};
inline constexpr std::size_t actions = 32;
inline constexpr std::size_t first_object_action = 22;

inline constexpr std::uint8_t filesystem_mutex = locks_max - 1;
inline constexpr std::uint8_t rendezvous_queue = locks_max - 1;  // nobody is woken there by chance

struct CacheBook {  // a cache, as its users know it
  Slot slot = 0;
  std::uint64_t bytes = 0;
  bool dma = false;
  bool constructed = false;
  CacheCreate creation = {};
};

// All programs use objects of one size, or of one cache, in runs that make the arrays of the CPUs run over and dry
// (author_focus.cpp).
struct Focus {
  std::uint64_t bytes = 0;  // of an object
  std::uint32_t run = 0;    // about as many as an array takes or gives at a time
  bool dma = false;         // kmalloc with GFP_DMA
  bool flow = false;        // program 1 gives back what others take
  std::uint32_t shrink_percent = 0;
  std::optional<CacheBook> shared;  // by all programs; nobody destroys it
};
Focus random_focus(Random& random, const machine::Shape& shape);

// A memory pool in the books.
struct Pool {
  Slot slot = 0;
  std::uint64_t bytes = 0;  // of an element
  std::uint32_t min_nr = 1;
  Slot cache = 0;  // what it is made of, if of_cache
  bool of_cache = false;
  bool is_pages = false;
  bool constructed = false;
};

// What the programs of one case share: the swarm's taste, how much of memory is taken, and pools.
struct Style {
  std::array<std::uint32_t, actions> weights{};
  std::uint64_t pages_taken = 0;
  std::uint32_t burst_max = 64;
  bool shares_pools = true;
  bool hands_over_tasks = true;
  std::vector<Pool> shared_pools = {};
  std::optional<Focus> focus;
};
Style random_style(Random& random, const machine::Shape& shape);

class Author {
 public:
  Author(Case& c, std::size_t program, Style& style, Random& random)
      : case_(c), program_(program), style_(style), random_(random) {}

  void act();  // one thing to do, which may be many operations
  void act_in_focus();
  void open_focus();  // before anything else: makes the cache that all share, or takes part in its use
  void settle();      // leaves sections and gives back all or some of what is owned
  std::size_t written() const { return program().ops.size(); }

  void cpuset();      // enters one, on a machine with several nodes
  void act_in_nmi();  // which may enter nothing

  // For crimes: the pieces of which actions are made.
  void emit(const Op& op) { case_.programs[program_].ops.push_back(op); }
  Slot fresh();                                          // a slot that nobody has used
  Slot granted(std::uint8_t order, subject::gfp_t gfp);  // allocates by page; not in the books
  const Program& program() const { return case_.programs[program_]; }
  const Case& the_case() const { return case_; }
  Random& random() { return random_; }
  std::uint64_t stack_used() const;  // by frames that it has not returned from

 private:
  enum class Form : std::uint8_t { page, address, exact };
  struct Block {
    In in;
    Form form = Form::page;
    bool is_low = true;  // surely not in high memory
    bool is_compound = false;
    bool is_part = false;  // a frame of a split block: contents are filled and checked by slot, and that is all of it
    std::uint8_t order = 0;
    std::uint64_t bytes = 0;  // of an exact block
    std::uint32_t references = 1;
  };

  bool is_task() const { return program().kind == machine::ContextKind::task; }
  bool is_sleepable() const { return is_task() && atomic_depth_ == 0; }
  bool is_crowded() const { return style_.pages_taken * 5 > std::uint64_t{case_.shape.frames()} * 2; }

  bool perform(Action action);  // false: not possible here
  void alloc(std::uint8_t order);
  void alloc_node();
  void alloc_address();
  void alloc_exact();
  void alloc_too_big();
  void release_one();
  void references();
  void split();
  void contents();
  void look();
  void burst();
  void drain();
  void min_free();
  void clients();
  void set_process();
  void crisis();
  void pressure();
  void whole_again();
  void section();
  void scope();
  void spin_section();
  void mutex();
  void filesystem();
  void sleep();
  void cpus();

  subject::gfp_t gfp(std::uint8_t order, Form form);
  std::uint8_t small_order();
  void own(Block block);
  Block disown(std::size_t index);
  void free_all_parts(Block block);
  void drop(const Block& block);  // one reference
  void inside(const Op& enter, const Op& leave, bool atomic);
  std::size_t some_block() { return random_.below(static_cast<std::uint32_t>(owned_.size())); }

  // Objects, caches and pools (author_objects.cpp, author_pools.cpp).
  struct OwnObject {
    Slot slot = 0;
    std::uint64_t bytes = 0;  // at least
    Slot cache = 0;
    Slot pool = 0;
    bool of_cache = false;
    bool of_pool = false;
    bool is_pages = false;
    bool constructed = false;
    bool exact = false;  // `bytes` is what was asked for
    bool used = false;   // since it was made: no other program may give it up then
  };
  using Cache = CacheBook;
  bool has_objects() const;
  bool has_caches() const;
  bool perform_on_objects(Action action);
  std::uint64_t some_size();
  subject::gfp_t object_gfp(std::uint64_t bytes, bool dma);
  Slot object_of(const Cache& cache);
  OwnObject kmalloced(std::uint64_t bytes);
  Node some_node();
  void own_object(std::uint64_t bytes, bool of_cache);
  void release_object(std::size_t index);
  void give_back(const OwnObject& object);
  void use_object();
  void use_whole_class(const OwnObject& object);
  void move_object();
  Op release_by_other(const OwnObject& object);
  void hand_over();
  void odd_object();
  void cache();
  void create_cache(std::uint64_t bytes);
  void object_burst();
  bool perform_on_pools();
  void create_pool();
  bool has_pool() const { return !pools_.empty() || !style_.shared_pools.empty(); }
  const Pool& some_pool();
  void take_element(const Pool& pool, subject::gfp_t flags);
  void take_elements(const Pool& pool);
  void resize_pool(Pool& pool);
  void destroy_pool(std::size_t index);
  bool destroy_pools_of(Slot cache);

  // Kernel stacks (author_stacks.cpp).
  bool perform_on_stacks();
  std::uint64_t stack_share() const;
  std::uint64_t some_frame(std::uint64_t left);
  void call_function(std::uint64_t left);
  void recurse(std::uint64_t left);
  void end_task(std::size_t index);
  void settle_stacks();
  // Per-CPU memory (author_percpu.cpp).
  struct Area {
    Slot slot = 0;
    std::uint64_t bytes = 0;
  };
  bool has_percpu() const { return case_.shape.percpu == machine::Toggle::on; }
  bool perform_on_percpu();
  void own_area();
  void many_areas();
  void give_back_area(std::size_t index);
  Slot static_variable(std::uint32_t index);
  void add_pinned(Slot area);
  void add_masked(Slot area);
  void add_to_static();

  // In focus.
  void take(std::uint32_t count);
  void give(std::uint32_t count);
  void pass(std::uint32_t count, std::size_t to);
  void short_life();
  std::size_t some_object() { return random_.below(static_cast<std::uint32_t>(objects_.size())); }

  Case& case_;
  std::size_t program_;
  Style& style_;
  Random& random_;
  std::vector<Block> owned_;
  std::vector<OwnObject> objects_;
  std::vector<Cache> caches_;
  std::vector<Area> areas_;  // of per-CPU memory
  std::array<std::optional<Slot>, 3> statics_{};
  std::vector<Pool> pools_;                        // its own; others are in style_
  std::set<Slot> handed_out_;                      // caches and pools of which another program has objects
  unsigned atomic_depth_ = 0;                      // sections with preemption, softirqs or interrupts off
  unsigned sections_ = 0;                          // of any kind: how deep
  std::vector<Slot> tasks_;                        // that it has forked
  std::vector<std::uint64_t> frames_;              // bytes of each, with its arrays
  std::uint8_t spin_floor_ = 0, mutex_floor_ = 0;  // the first lock that may be taken under what is held
  bool irqs_off_ = false;
  bool is_confined_ = false;  // to some nodes
};

}  // namespace memtorture::program
