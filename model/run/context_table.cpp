// The table of functions and contexts, its cases and its text.
#include "model/run/context_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace memtorture::run {
namespace {

using enum Answer;

// Kinds of functions, by what they may do: the answers in process context (also with a mutex), where a task must not
// sleep, with softirqs off (K26's in_interrupt counts that), in handlers, and in NMI.
constexpr std::array<Answer, places> kind(Answer process, Answer atomic, Answer bh_off, Answer handler, Answer nmi) {
  return {process, process, atomic, atomic, atomic, bh_off, atomic, handler, handler, nmi};
}
constexpr auto anywhere = kind(legal, legal, legal, legal, legal);
constexpr auto never_sleeps = kind(legal, legal, legal, legal, bug);  // but is a function of the allocator
constexpr auto may_sleep = kind(legal, report, report, report, bug);  // is one, too
constexpr auto no_interrupt = kind(legal, report, bug, bug, bug);     // ... and has a word of its own for interrupts
constexpr auto sleeps = kind(legal, report, report, report, report);  // a function of the machine
constexpr auto pinned_only = kind(bug, legal, legal, legal, legal);
// Releasing it runs softirqs, which is wrong where interrupts are off.
constexpr std::array<Answer, places> unmasks = {legal, legal, legal, legal, legal, legal, bug, legal, bug, bug};

constexpr CallRow rows[] = {
    // --- pages
    {"alloc_pages(GFP_KERNEL)", "", "p = alloc_pages GFP_KERNEL 0", may_sleep},
    {"alloc_pages(GFP_NOFS)", "", "p = alloc_pages GFP_NOFS 1", may_sleep},
    {"alloc_pages(GFP_NOIO)", "", "p = alloc_pages GFP_NOIO 2", may_sleep},
    {"alloc_pages(GFP_USER)", "", "p = alloc_pages GFP_USER 0", may_sleep},
    {"alloc_pages(GFP_ATOMIC)", "", "p = alloc_pages GFP_ATOMIC 0", never_sleeps},
    {"alloc_pages(GFP_NOWAIT)", "", "p = alloc_pages GFP_NOWAIT 1", never_sleeps},
    {"alloc_page(GFP_KERNEL)", "", "p = alloc_page GFP_KERNEL", may_sleep},
    {"alloc_page(GFP_ATOMIC)", "", "p = alloc_page GFP_ATOMIC", never_sleeps},
    {"alloc_pages_node(GFP_KERNEL)", "", "p = alloc_pages_node 0 GFP_KERNEL 0", may_sleep},
    {"alloc_pages_node(GFP_ATOMIC)", "", "p = alloc_pages_node 0 GFP_ATOMIC 0", never_sleeps},
    {"__get_free_pages(GFP_KERNEL)", "", "p = __get_free_pages GFP_KERNEL 1", may_sleep},
    {"__get_free_pages(GFP_ATOMIC)", "", "p = __get_free_pages GFP_ATOMIC 1", never_sleeps},
    {"__get_free_page(GFP_KERNEL)", "", "p = __get_free_page GFP_KERNEL", may_sleep},
    {"__get_free_page(GFP_ATOMIC)", "", "p = __get_free_page GFP_ATOMIC", never_sleeps},
    {"get_zeroed_page(GFP_KERNEL)", "", "p = get_zeroed_page GFP_KERNEL", may_sleep},
    {"get_zeroed_page(GFP_ATOMIC)", "", "p = get_zeroed_page GFP_ATOMIC", never_sleeps},
    {"__get_dma_pages(GFP_KERNEL)", "", "p = __get_dma_pages GFP_KERNEL 0", may_sleep},
    {"__get_dma_pages(GFP_ATOMIC)", "", "p = __get_dma_pages GFP_ATOMIC 0", never_sleeps},
    {"alloc_pages_exact(GFP_KERNEL)", "", "p = alloc_pages_exact 9000 GFP_KERNEL", may_sleep},
    {"alloc_pages_exact(GFP_ATOMIC)", "", "p = alloc_pages_exact 9000 GFP_ATOMIC", never_sleeps},
    {"__free_pages", "p = alloc_pages GFP_KERNEL 1", "__free_pages p 1", never_sleeps},
    {"__free_page", "p = alloc_page GFP_KERNEL", "__free_page p", never_sleeps},
    {"free_pages", "p = __get_free_pages GFP_KERNEL 1", "free_pages p 1", never_sleeps},
    {"free_page", "p = __get_free_page GFP_KERNEL", "free_page p", never_sleeps},
    {"free_pages_exact", "p = alloc_pages_exact 9000 GFP_KERNEL", "free_pages_exact p 9000", never_sleeps},
    {"get_page", "p = alloc_page GFP_KERNEL", "get_page p", never_sleeps},
    {"put_page", "p = alloc_page GFP_KERNEL", "put_page p", never_sleeps},
    {"split_page", "p = alloc_pages GFP_KERNEL 1", "split_page p 1", never_sleeps},
    {"page_count", "p = alloc_page GFP_KERNEL", "page_count p", anywhere},
    {"page_address", "p = alloc_page GFP_KERNEL", "page_address p", anywhere},
    {"nr_free_pages", "", "nr_free_pages", anywhere},
    {"drain_local_pages", "", "drain_local_pages", never_sleeps},
    {"drain_all_pages", "", "drain_all_pages", may_sleep},
    {"register_shrinker", "", "register_shrinker l1", sleeps},
    {"unregister_shrinker", "register_shrinker l1", "unregister_shrinker l1", sleeps},
    // --- objects
    {"kmalloc(GFP_KERNEL)", "", "p = kmalloc 100 GFP_KERNEL", may_sleep},
    {"kmalloc(GFP_ATOMIC)", "", "p = kmalloc 100 GFP_ATOMIC", never_sleeps},
    {"kzalloc(GFP_KERNEL)", "", "p = kzalloc 100 GFP_KERNEL", may_sleep},
    {"kzalloc(GFP_ATOMIC)", "", "p = kzalloc 100 GFP_ATOMIC", never_sleeps},
    {"kmalloc_node(GFP_KERNEL)", "", "p = kmalloc_node 100 GFP_KERNEL 0", may_sleep},
    {"kmalloc_node(GFP_ATOMIC)", "", "p = kmalloc_node 100 GFP_ATOMIC 0", never_sleeps},
    {"kcalloc(GFP_KERNEL)", "", "p = kcalloc 5 100 GFP_KERNEL", may_sleep},
    {"kcalloc(GFP_ATOMIC)", "", "p = kcalloc 5 100 GFP_ATOMIC", never_sleeps},
    {"krealloc(GFP_KERNEL)", "q = kmalloc 100 GFP_KERNEL", "p = krealloc q 500 GFP_KERNEL", may_sleep},
    {"krealloc(GFP_ATOMIC)", "q = kmalloc 100 GFP_KERNEL", "p = krealloc q 500 GFP_ATOMIC", never_sleeps},
    {"ksize", "p = kmalloc 100 GFP_KERNEL", "ksize p", never_sleeps},
    {"kfree", "p = kmalloc 100 GFP_KERNEL", "kfree p", never_sleeps},
    {"kzfree", "p = kmalloc 100 GFP_KERNEL", "kzfree p", never_sleeps},
    {"kmem_cache_create", "", "c = kmem_cache_create 100 0 0 0x00", no_interrupt},
    {"kmem_cache_destroy", "c = kmem_cache_create 100 0 0 0x00", "kmem_cache_destroy c", no_interrupt},
    {"kmem_cache_shrink", "c = kmem_cache_create 100 0 0 0x00", "kmem_cache_shrink c", no_interrupt},
    {"kmem_cache_size", "c = kmem_cache_create 100 0 0 0x00", "kmem_cache_size c", never_sleeps},
    {"kmem_cache_alloc(GFP_KERNEL)", "c = kmem_cache_create 100 0 0 0x00", "p = kmem_cache_alloc c GFP_KERNEL",
     may_sleep},
    {"kmem_cache_alloc(GFP_ATOMIC)", "c = kmem_cache_create 100 0 0 0x00", "p = kmem_cache_alloc c GFP_ATOMIC",
     never_sleeps},
    {"kmem_cache_alloc_node(GFP_KERNEL)", "c = kmem_cache_create 100 0 0 0x00",
     "p = kmem_cache_alloc_node c GFP_KERNEL 0", may_sleep},
    {"kmem_cache_alloc_node(GFP_ATOMIC)", "c = kmem_cache_create 100 0 0 0x00",
     "p = kmem_cache_alloc_node c GFP_ATOMIC 0", never_sleeps},
    {"kmem_cache_zalloc(GFP_KERNEL)", "c = kmem_cache_create 100 0 0 0x00", "p = kmem_cache_zalloc c GFP_KERNEL",
     may_sleep},
    {"kmem_cache_zalloc(GFP_ATOMIC)", "c = kmem_cache_create 100 0 0 0x00", "p = kmem_cache_zalloc c GFP_ATOMIC",
     never_sleeps},
    {"kmem_cache_free", "c = kmem_cache_create 100 0 0 0x00; p = kmem_cache_alloc c GFP_KERNEL", "kmem_cache_free c p",
     never_sleeps},
    // --- pools
    {"mempool_create_slab_pool", "c = kmem_cache_create 100 0 0 0x00", "m = mempool_create_slab_pool 2 c", may_sleep},
    {"mempool_create_kmalloc_pool", "", "m = mempool_create_kmalloc_pool 2 100", may_sleep},
    {"mempool_create_page_pool", "", "m = mempool_create_page_pool 2 0", may_sleep},
    {"mempool_destroy", "m = mempool_create_kmalloc_pool 2 100", "mempool_destroy m", may_sleep},
    {"mempool_resize", "m = mempool_create_kmalloc_pool 2 100", "mempool_resize m 4 GFP_KERNEL", may_sleep},
    {"mempool_alloc(GFP_NOIO)", "m = mempool_create_kmalloc_pool 2 100", "p = mempool_alloc m GFP_NOIO", may_sleep},
    {"mempool_alloc(GFP_ATOMIC)", "m = mempool_create_kmalloc_pool 2 100", "p = mempool_alloc m GFP_ATOMIC",
     never_sleeps},
    {"mempool_free", "m = mempool_create_kmalloc_pool 2 100; p = mempool_alloc m GFP_NOIO", "mempool_free p m",
     never_sleeps},
    // --- per-CPU memory
    {"alloc_percpu", "", "p = alloc_percpu 8 8", may_sleep},
    {"__alloc_percpu_gfp(GFP_KERNEL)", "", "p = __alloc_percpu_gfp 8 8 GFP_KERNEL", may_sleep},
    {"__alloc_percpu_gfp(GFP_ATOMIC)", "", "p = __alloc_percpu_gfp 8 8 GFP_ATOMIC", never_sleeps},
    {"__alloc_reserved_percpu", "", "p = __alloc_reserved_percpu 8 8", may_sleep},
    {"free_percpu", "p = alloc_percpu 8 8", "free_percpu p", never_sleeps},
    {"get_cpu", "", "c = get_cpu; put_cpu", anywhere},
    {"get_cpu_ptr", "p = alloc_percpu 8 8", "q = get_cpu_ptr p; put_cpu_ptr p", anywhere},
    {"this_cpu_ptr", "p = alloc_percpu 8 8", "q = this_cpu_ptr p", pinned_only},
    {"per_cpu_ptr", "p = alloc_percpu 8 8", "q = per_cpu_ptr p 0", anywhere},
    {"this_cpu_add", "p = alloc_percpu 8 8", "this_cpu_add p 1", anywhere},
    {"__this_cpu_add", "p = alloc_percpu 8 8", "__this_cpu_add p 1", pinned_only},
    {"per_cpu_sum", "p = alloc_percpu 8 8", "per_cpu_sum p", anywhere},
    // --- kernel stacks
    {"fork", "", "t = fork", may_sleep},
    {"exit", "t = fork", "exit t", never_sleeps},
    {"push", "", "push 100; pop", anywhere},
    {"alloca", "", "push 100; alloca 50; pop", anywhere},
    {"recurse", "", "recurse 3 100", anywhere},
    {"stack_not_used", "", "stack_not_used", anywhere},
    // --- the machine
    {"cpu_down", "", "cpu_down 1", sleeps},
    {"cpu_up", "cpu_down 1", "cpu_up 1", sleeps},
    {"set_mems_allowed", "", "set_mems_allowed 0x01", anywhere},
    {"smp_processor_id", "", "smp_processor_id", pinned_only},
    {"might_sleep", "", "might_sleep", sleeps},
    {"schedule", "", "schedule", sleeps},
    {"cond_resched", "", "cond_resched", sleeps},
    {"msleep", "", "msleep 1", sleeps},
    {"mutex_lock", "", "mutex_lock l1", sleeps},
    {"mutex_trylock", "", "mutex_trylock l1", anywhere},
    {"spin_lock", "", "spin_lock l3; spin_unlock l3", anywhere},
    {"spin_lock_irqsave", "", "spin_lock_irqsave l3; spin_unlock_irqrestore l3", anywhere},
    {"spin_trylock", "", "spin_trylock l3; spin_unlock l3", anywhere},
    {"spin_lock_bh", "", "spin_lock_bh l3; spin_unlock_bh l3", unmasks},
    {"wake_up", "", "wake_up l0", anywhere},
    {"wait_event", "", "wait_event l2", sleeps, "task w cpu1\n  wake_up l2\n"},
};

struct PlaceRow {
  std::string_view name, enter, leave, program;
};
constexpr PlaceRow place_rows[places] = {
    {"process", "", "", ""},
    {"mutex", "mutex_lock l0", "mutex_unlock l0", ""},
    {"preempt off", "preempt_disable", "preempt_enable", ""},
    {"read side", "rcu_read_lock", "rcu_read_unlock", ""},
    {"spinlock", "spin_lock l0", "spin_unlock l0", ""},
    {"bh off", "local_bh_disable", "local_bh_enable", ""},
    {"irqs off", "local_irq_save", "local_irq_restore", ""},
    {"softirq", "", "", "softirq"},
    {"hardirq", "", "", "irq"},
    {"nmi", "", "", "nmi"},
};

}  // namespace

std::span<const CallRow> call_table() { return rows; }
std::string_view place_name(Place place) { return place_rows[static_cast<unsigned>(place)].name; }
char letter(Answer answer) { return "YRB"[static_cast<unsigned>(answer)]; }

Answer answer(const CallRow& row, Place place) { return row.answers[static_cast<unsigned>(place)]; }

std::string cell_text(const CallRow& row, Place place) {
  const PlaceRow& where = place_rows[static_cast<unsigned>(place)];
  constexpr std::string_view expectations[] = {"pass", "misuse sleep-in-atomic", "misuse", ""};
  std::string text = fmt::format(
      "memtorture 1\nmachine x86-32 ram=8M cpus=2 objects=slab percpu=on stack=8K\nexpect {}\n\ntask a cpu0\n",
      expectations[static_cast<unsigned>(answer(row, place))]);
  auto out = std::back_inserter(text);
  const auto write = [&](std::string_view ops) {
    while (!ops.empty()) {
      const std::size_t end = std::min(ops.find("; "), ops.size());
      fmt::format_to(out, "  {}\n", ops.substr(0, end));
      ops.remove_prefix(std::min(end + 2, ops.size()));
    }
  };
  write(row.setup);
  // A handler comes when the task has done its part.
  if (!where.program.empty()) fmt::format_to(out, "  wake_up l3\n\n{} h cpu0\n", where.program);
  write(where.enter);
  write(row.call);
  write(where.leave);
  if (!row.beside.empty()) fmt::format_to(out, "\n{}", row.beside);
  return text;
}

std::string call_table_text() {
  std::string text = "| function |";
  auto out = std::back_inserter(text);
  for (const PlaceRow& place : place_rows) fmt::format_to(out, " {} |", place.name);
  text += "\n|---|";
  for (unsigned i = 0; i != places; ++i) text += "---|";
  text += "\n";
  for (const CallRow& row : rows) {
    fmt::format_to(out, "| {} |", row.function);
    for (unsigned i = 0; i != places; ++i) fmt::format_to(out, " {} |", letter(answer(row, static_cast<Place>(i))));
    text += "\n";
  }
  return text;
}

}  // namespace memtorture::run
