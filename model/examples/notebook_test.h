// For tests: a driver written against the facets, under the oracle.
//
// The facets of a Notebook pass every call on and note it as an operation of a case. So one run of the driver gives a
// program of exactly what it asked for; that program runs again under the oracle, with the same faults on the same
// machine, and must go the same way: the same answer to each request, as many faults, verdict pass. What the driver
// still holds at its end the notebook knows by itself; the oracle would give it back.
//
// Not noted: calls that no driver here makes, and what is written into memory.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "allocator/kernel/test_rig.h"
#include "allocator/subject/forwarding.h"
#include "model/program/text.h"
#include "model/run/run.h"

namespace memtorture::examples {

class Notebook {
 public:
  explicit Notebook(const machine::Shape& shape, std::vector<fault::Rule> faults = {})
      : rig_(shape, faults), pages_(rig_.kernel, *this), objects_(rig_.kernel, *this) {
    the_case_.shape = shape;
    the_case_.faults = std::move(faults);
    EXPECT_TRUE(rig_.kernel.boot_objects());
  }

  subject::Pages& pages() { return pages_; }
  subject::Objects& objects() { return objects_; }
  kernel::Kernel& kernel() { return rig_.kernel; }
  std::size_t faults_fired() const { return rig_.said.faults.size(); }
  std::size_t reports() const { return rig_.said.reports.size(); }
  std::size_t refused() const { return refused_; }
  std::size_t held() const { return slots_.size(); }
  const program::Case& the_case() const { return the_case_; }
  void note(const program::Op& op) { the_case_.programs[machine::current().id].ops.push_back(op); }

  // Runs the bodies, tasks of CPU 0, each to its end or until it gives way.
  template <class... Bodies>
  void run(Bodies... bodies) {
    std::vector<machine::Strand> strands;
    const auto add = [&]<class Body>(Body& body) {
      const auto id = static_cast<machine::ContextId>(strands.size());
      the_case_.programs.push_back({.name = "t" + std::to_string(id), .ops = {}});
      strands.push_back({.id = id,
                         .kind = machine::ContextKind::task,
                         .cpu = 0,
                         .flags = 0,
                         .body = [](void* arg) { (*static_cast<Body*>(arg))(); },
                         .arg = &body});
    };
    (add(bodies), ...);
    run::StraightChooser chooser;
    EXPECT_EQ(rig_.kernel.machine().run(strands, chooser, {}).reason, machine::StopReason::finished);
  }

  // The oracle has nothing to say about what was noted, and saw what the driver saw.
  void expect_sound() const {
    EXPECT_EQ(held(), 0u) << "the driver leaks";
    EXPECT_EQ(reports(), 0u);
    const run::Outcome outcome = run::replay(the_case_, {.keep = run::Keep::history, .audit_every = 1});
    EXPECT_EQ(outcome.verdict, program::Verdict::pass) << outcome.finding.rule << '\n' << program::print(the_case_);
    std::map<Place, std::uint64_t> answers;
    for (const run::Event& event : outcome.history) {
      const Place place{event.who, event.op};
      if (event.kind == oracle::EventKind::result && answers_.contains(place)) answers[place] = event.value;
    }
    EXPECT_EQ(answers, answers_) << program::print(the_case_);
    EXPECT_EQ(outcome.statistics.faults, faults_fired()) << program::print(the_case_);
  }

 private:
  class NotedPages final : public subject::ForwardingPages {
   public:
    NotedPages(subject::Pages& inner, Notebook& book) : ForwardingPages(inner), book_(book) {}
    std::uint64_t get_free_pages(subject::gfp_t gfp, unsigned order) override {
      book_.note(program::GetFreePages{book_.fresh(), {gfp}, {static_cast<std::uint8_t>(order)}});
      return book_.got(inner_.get_free_pages(gfp, order));
    }
    void free_pages(std::uint64_t address, unsigned order) override {
      if (address != 0) book_.note(program::FreePages{book_.take(address), {static_cast<std::uint8_t>(order)}});
      inner_.free_pages(address, order);
    }

   private:
    Notebook& book_;
  };

  class NotedObjects final : public subject::ForwardingObjects {
   public:
    NotedObjects(subject::Objects& inner, Notebook& book) : ForwardingObjects(inner), book_(book) {}
    subject::CacheHandle kmem_cache_create(const subject::CacheSpec& spec) override {
      book_.note(program::CacheCreate{book_.fresh(), {spec.size}, {spec.align}, {spec.flags}, {0}});
      return book_.got(inner_.kmem_cache_create(spec));
    }
    int kmem_cache_destroy(subject::CacheHandle cache) override {
      book_.note(program::CacheDestroy{{book_.take(cache).slot}});
      return inner_.kmem_cache_destroy(cache);
    }
    std::uint64_t kmem_cache_alloc(subject::CacheHandle cache, subject::gfp_t gfp) override {
      book_.note(program::CacheAlloc{book_.fresh(), {book_.slots_.at(cache)}, {gfp}});
      return book_.got(inner_.kmem_cache_alloc(cache, gfp));
    }
    void kmem_cache_free(subject::CacheHandle cache, std::uint64_t object) override {
      book_.note(program::CacheFree{{book_.slots_.at(cache)}, book_.take(object)});
      inner_.kmem_cache_free(cache, object);
    }
    std::uint64_t kmalloc(std::uint64_t bytes, subject::gfp_t gfp) override {
      book_.note(program::Kmalloc{book_.fresh(), {bytes}, {gfp}});
      return book_.got(inner_.kmalloc(bytes, gfp));
    }
    std::uint64_t kzalloc(std::uint64_t bytes, subject::gfp_t gfp) override {
      book_.note(program::Kzalloc{book_.fresh(), {bytes}, {gfp}});
      return book_.got(inner_.kzalloc(bytes, gfp));
    }
    std::uint64_t kcalloc(std::uint64_t n, std::uint64_t bytes, subject::gfp_t gfp) override {
      book_.note(program::Kcalloc{book_.fresh(), {static_cast<std::uint32_t>(n)}, {bytes}, {gfp}});
      return book_.got(inner_.kcalloc(n, bytes, gfp));
    }
    void kfree(std::uint64_t object) override {
      if (object != 0) book_.note(program::Kfree{book_.take(object)});
      inner_.kfree(object);
    }

   private:
    Notebook& book_;
  };

  program::Out fresh() {
    the_case_.slot_names.push_back("s" + std::to_string(the_case_.slot_names.size()));
    return {static_cast<program::Slot>(the_case_.slot_names.size() - 1)};
  }
  // The call that was noted last has an answer; nobody runs in between, for nothing here blocks.
  std::uint64_t got(std::uint64_t answer) {
    const machine::ContextId who = machine::current().id;
    answers_[{who, static_cast<std::uint32_t>(the_case_.programs[who].ops.size() - 1)}] = answer;
    if (answer == 0) {
      ++refused_;
    } else {
      EXPECT_TRUE(slots_.emplace(answer, static_cast<program::Slot>(the_case_.slot_names.size() - 1)).second);
    }
    return answer;
  }
  program::In take(std::uint64_t address) {
    const auto found = slots_.find(address);
    EXPECT_NE(found, slots_.end()) << "given back, and not held";
    return found == slots_.end() ? program::In{} : program::In{slots_.extract(found).mapped()};
  }

  using Place = std::pair<machine::ContextId, std::uint32_t>;  // of an operation

  kernel::Rig rig_;
  NotedPages pages_;
  NotedObjects objects_;
  program::Case the_case_;
  std::map<std::uint64_t, program::Slot> slots_;  // what the driver holds
  std::map<Place, std::uint64_t> answers_;        // to each request; 0: refused
  std::size_t refused_ = 0;
};

// Calls attempt(faults), which says whether a fault fired: without any, then with the 1st visit of each fault site
// failing, the 2nd, ... until an attempt goes through untouched. Returns how many did not.
template <class Attempt>
unsigned with_every_failure(Attempt attempt) {
  EXPECT_FALSE(attempt(std::vector<fault::Rule>{}));
  unsigned failures = 0;
  for (const machine::SiteRow& row : machine::site_table) {
    if (row.use != machine::SiteUse::fault) continue;
    const machine::Site site = machine::Site::named(row.name).value();
    for (std::uint32_t nth = 1; attempt(std::vector<fault::Rule>{{.site = site, .interval = nth, .times = 1}}); ++nth) {
      ++failures;
      if (testing::Test::HasFailure()) return failures;
    }
  }
  return failures;
}

}  // namespace memtorture::examples
