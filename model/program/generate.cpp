#include "model/program/generate.h"

#include <algorithm>

#include "model/program/author.h"
#include "model/program/crimes.h"
#include "model/program/legal.h"
#include "model/program/random_parts.h"

namespace memtorture::program {
namespace {

using machine::ContextKind;

class Generator {
 public:
  Generator(std::uint64_t seed, const GenerateOptions& options) : options_(options), random_(seed) {}

  Case generate() {
    const bool in_focus = random_.percent(focused_percent);
    shape(in_focus);
    style_ = random_style(random_, case_.shape);
    if (in_focus && case_.shape.objects != machine::ObjectLayer::none)
      style_.focus = random_focus(random_, case_.shape);
    has_contexts_ = random_.percent(options_.contexts);
    if (!has_contexts_) {
      for (const Action action : {Action::section, Action::scope, Action::mutex, Action::sleep})
        style_.weights[static_cast<unsigned>(action)] = 0;
    }
    if (random_.percent(options_.crimes)) criminal_ = no_criminal - 1;  // decided when the programs are known
    declare();
    write();
    for (std::uint32_t n = random_.percent(options_.faults) ? 1 + random_.below(2) : 0; n > 0; --n) {
      case_.faults.push_back(random_rule(case_, random_));
    }
    departures();
    make_legal(case_);
    drop_unused_slots(case_);
    return std::move(case_);
  }

 private:
  static constexpr std::size_t no_criminal = ~std::size_t{0};
  static constexpr std::uint32_t focused_percent = 15;   // of all cases
  static constexpr std::uint32_t confined_percent = 30;  // of the tasks of machines with several nodes
  static constexpr std::size_t handler_ops_max = 40;     // when it has as many it does not come again

  struct Shared {  // a compound block with two owners
    Slot slot = 0;
    std::uint8_t order = 0;
  };

  void shape(bool in_focus) {
    case_.shape = in_focus ? random_object_shape(random_) : random_shape(random_);
    machine::Shape fewer = case_.shape;
    fewer.cpus = static_cast<std::uint8_t>(std::clamp<std::uint32_t>(fewer.cpus, 1, options_.cpus_max));
    fewer.nodes = static_cast<std::uint8_t>(std::clamp<std::uint32_t>(fewer.nodes, 1, options_.nodes_max));
    if (!machine::why_impossible(fewer)) case_.shape = fewer;
    if (case_.shape.objects == machine::ObjectLayer::slab && random_.percent(20))
      case_.shape.percpu = machine::Toggle::on;
  }

  void declare() {
    const std::uint32_t tasks = style_.focus ? 2 + random_.below(2) : 1 + (random_.percent(55) ? random_.below(3) : 0);
    for (std::uint32_t i = 0; i < tasks; ++i) add(ContextKind::task);
    if (!has_contexts_) return;
    for (std::uint32_t handlers = random_.below(3); handlers > 0; --handlers) {
      const std::uint32_t dice = random_.below(100);
      add(dice < 55 ? ContextKind::hardirq : dice < 92 ? ContextKind::softirq : ContextKind::nmi);
    }
  }

  void add(ContextKind kind) {
    Program program{.name = default_program_name(kind, case_.programs.size()), .kind = kind};
    program.cpu = static_cast<std::uint8_t>(style_.focus ? case_.programs.size() % case_.shape.cpus
                                                         : random_.below(case_.shape.cpus));
    if (kind == ContextKind::task && random_.percent(8)) program.flags |= machine::pf_memalloc;
    if (kind == ContextKind::task && random_.percent(8)) program.flags |= machine::pf_realtime;
    case_.programs.push_back(std::move(program));
  }

  void write() {
    if (criminal_ != no_criminal) criminal_ = random_.below(static_cast<std::uint32_t>(case_.programs.size()));
    if (style_.focus) return write_in_focus();
    rendezvous_begin();
    const std::uint32_t span = options_.ops_max > options_.ops_min ? options_.ops_max - options_.ops_min : 0;
    const std::uint32_t total = options_.ops_min + random_.below((random_.percent(75) ? span / 6 : span) + 1);
    const auto programs = static_cast<std::uint32_t>(case_.programs.size());
    for (std::size_t i = 0; i < programs; ++i) program(i, std::max<std::uint32_t>(1, total / programs));
    rendezvous_end();
  }

  // Side by side, so that what one passes to another finds the other about as far.
  void write_in_focus() {
    std::vector<Author> authors;
    for (std::size_t i = 0; i != case_.programs.size(); ++i) {
      authors.emplace_back(case_, i, style_, random_);
      authors.back().open_focus();
    }
    for (std::uint32_t rounds = 4 + random_.below(20); rounds != 0; --rounds) {
      for (std::size_t i = 0; i != authors.size(); ++i) {
        const ContextKind kind = case_.programs[i].kind;
        const bool is_done = kind == ContextKind::nmi ||
                             (kind != ContextKind::task && authors[i].written() > 4 && !comes_again(authors[i]));
        if (!is_done && authors[i].written() < options_.ops_max) authors[i].act_in_focus();
      }
    }
    if (criminal_ != no_criminal) commit_crime(authors[criminal_]);
    for (Author& author : authors) author.settle();
  }

  void program(std::size_t index, std::uint32_t ops) {
    Author author(case_, index, style_, random_);
    switch (case_.programs[index].kind) {
      case ContextKind::task: break;
      case ContextKind::softirq:
      case ContextKind::hardirq: ops = std::min(ops, 1 + random_.below(5)); break;
      case ContextKind::nmi:  // may enter nothing
        author.act_in_nmi();
        ops = 0;
    }
    if (case_.programs[index].kind == ContextKind::task && case_.shape.nodes > 1 && random_.percent(confined_percent))
      author.cpuset();
    while (author.written() < ops) author.act();
    while (case_.programs[index].kind != ContextKind::task && comes_again(author)) {
      if (case_.programs[index].kind == ContextKind::nmi) {
        author.act_in_nmi();
      } else {
        for (std::uint32_t n = 1 + random_.below(3); n != 0; --n) author.act();
      }
    }
    if (index == criminal_) commit_crime(author);
    author.settle();
  }

  // What a handler owns it may give back when it comes the next time.
  bool comes_again(Author& handler) {
    if (handler.written() > handler_ops_max || !random_.percent(35)) return false;
    handler.emit(IrqExit{});
    return true;
  }

  // Sleepers wait at their start, before anything can hold them up, and the waker sleeps first: virtual time passes
  // only when nobody can run, so all sleepers are asleep when it wakes them. That is the one order between programs
  // which holds in every schedule, so it is where a block can change hands: the waker takes a reference for the
  // sleeper, and both drop theirs at the same time.
  void rendezvous_begin() {
    const auto is_task = [](const Program& p) { return p.kind == ContextKind::task; };
    if (!has_contexts_ || std::ranges::count_if(case_.programs, is_task) < 2 || !random_.percent(6)) return;
    queue_ = Lock{rendezvous_queue};
    auto& sleeper = case_.programs[0].ops;
    sleeper.push_back(WaitEvent{*queue_});
    shared_.resize(random_.below(4));
    for (Shared& block : shared_) {
      block = {add_slot(case_),
               static_cast<std::uint8_t>(random_.below(std::min<std::uint32_t>(3, case_.shape.orders)))};
      if (random_.percent(50)) sleeper.push_back(GetPage{{block.slot}});
      if (std::holds_alternative<GetPage>(sleeper.back())) drop(sleeper, block);
      drop(sleeper, block);
    }
  }
  void rendezvous_end() {
    if (!queue_) return;
    auto& waker = case_.programs[1].ops;
    for (const Shared& block : shared_) {
      waker.push_back(
          AllocPages{{block.slot}, {subject::GFP_KERNEL | subject::gfp_noretry | subject::gfp_comp}, {block.order}});
      waker.push_back(GetPage{{block.slot}});
    }
    waker.push_back(Msleep{{100}});
    waker.push_back(WakeUp{*queue_});
    for (const Shared& block : shared_) drop(waker, block);
  }
  void drop(std::vector<Op>& ops, const Shared& block) {
    ops.push_back(random_.percent(50) ? Op(PutPage{{block.slot}}) : Op(FreePagesOf{{block.slot}, {block.order}}));
  }

  void departures() {
    if (!random_.percent(options_.departures)) return;
    for (std::uint32_t n = 1 + random_.below(6); n > 0; --n) {
      if (const auto departure = random_departure(case_, random_)) case_.departures.push_back(*departure);
    }
  }

  const GenerateOptions options_;
  Random random_;
  Style style_;
  Case case_;
  bool has_contexts_ = false;
  std::size_t criminal_ = no_criminal;
  std::optional<Lock> queue_;
  std::vector<Shared> shared_;
};

}  // namespace

Case generate(std::uint64_t seed, const GenerateOptions& options) { return Generator(seed, options).generate(); }

}  // namespace memtorture::program
