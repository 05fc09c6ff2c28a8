// allocator/subject/forwarding.h for the facets that it does not know: per-CPU memory and kernel stacks. A facet says
// only what it does differently; wrapped_late<> makes a subject of it. As there, the facet is made anew at every boot.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "allocator/subject/subject.h"

namespace memtorture::threads {

class ForwardingPercpu : public subject::Percpu {
 public:
  using Ptr = subject::PercpuPtr;
  explicit ForwardingPercpu(subject::Percpu& inner) : inner_(inner) {}

  subject::PercpuLayout percpu_layout() override { return inner_.percpu_layout(); }
  Ptr alloc_percpu(std::uint64_t bytes, std::uint64_t align) override { return inner_.alloc_percpu(bytes, align); }
  Ptr alloc_percpu_gfp(std::uint64_t bytes, std::uint64_t align, subject::gfp_t gfp) override {
    return inner_.alloc_percpu_gfp(bytes, align, gfp);
  }
  Ptr alloc_reserved_percpu(std::uint64_t bytes, std::uint64_t align) override {
    return inner_.alloc_reserved_percpu(bytes, align);
  }
  void free_percpu(Ptr area) override { inner_.free_percpu(area); }
  std::uint64_t per_cpu_ptr(Ptr area, unsigned cpu) override { return inner_.per_cpu_ptr(area, cpu); }
  std::uint64_t this_cpu_ptr(Ptr area) override { return inner_.this_cpu_ptr(area); }
  std::uint64_t get_cpu_ptr(Ptr area) override { return inner_.get_cpu_ptr(area); }
  void put_cpu_ptr(Ptr area) override { inner_.put_cpu_ptr(area); }
  unsigned this_cpu_add(Ptr area, std::uint64_t value, unsigned width) override {
    return inner_.this_cpu_add(area, value, width);
  }
  unsigned static_variables() override { return inner_.static_variables(); }
  subject::StaticVariable static_variable(unsigned index) override { return inner_.static_variable(index); }

 protected:
  subject::Percpu& inner_;
};

class ForwardingKstacks : public subject::Kstacks {
 public:
  explicit ForwardingKstacks(subject::Kstacks& inner) : inner_(inner) {}

  subject::TaskHandle fork() override { return inner_.fork(); }
  void exit_task(subject::TaskHandle task) override { inner_.exit_task(task); }
  void enter() override { inner_.enter(); }
  void leave() override { inner_.leave(); }
  std::uint64_t push(std::uint64_t bytes, std::uint64_t return_address) override {
    return inner_.push(bytes, return_address);
  }
  std::uint64_t alloca_bytes(std::uint64_t bytes, std::uint64_t pattern) override {
    return inner_.alloca_bytes(bytes, pattern);
  }
  subject::Returned pop() override { return inner_.pop(); }
  subject::Recursed recurse(std::uint32_t depth, std::uint64_t bytes, std::uint64_t return_address) override {
    return inner_.recurse(depth, bytes, return_address);
  }
  std::uint64_t stack_pointer() override { return inner_.stack_pointer(); }
  std::uint64_t stack_not_used() override { return inner_.stack_not_used(); }
  void shut_down() override { inner_.shut_down(); }

 protected:
  subject::Kstacks& inner_;
};

// Areas and Stacks are constructed from the inner facet and `argument`.
template <class Areas, class Stacks, class Argument>
class LateWrapper final : public subject::Subject {
 public:
  LateWrapper(std::unique_ptr<Subject> inner, Argument argument) : inner_(std::move(inner)), argument_(argument) {}

  void boot(const machine::Shape& shape, std::span<const fault::Rule> faults, subject::PagesTrace& trace,
            machine::Witness& witness) override {
    inner_->boot(shape, faults, trace, witness);
  }
  machine::Machine& machine() override { return inner_->machine(); }
  subject::Pages& pages() override { return inner_->pages(); }
  subject::PagesView* pages_view() override { return inner_->pages_view(); }
  subject::Objects* boot_objects() override { return inner_->boot_objects(); }
  subject::ObjectDebug* object_debug() override { return inner_->object_debug(); }
  subject::ObjectsView* objects_view() override { return inner_->objects_view(); }
  subject::BucketsView* buckets_view() override { return inner_->buckets_view(); }
  subject::Mempools* mempools() override { return inner_->mempools(); }
  subject::MempoolsView* mempools_view() override { return inner_->mempools_view(); }
  subject::Kstacks* boot_stacks(std::span<const machine::Strand> strands) override {
    subject::Kstacks* const stacks = inner_->boot_stacks(strands);
    return stacks != nullptr ? &stacks_.emplace(*stacks, argument_) : nullptr;
  }
  subject::KstacksView* kstacks_view() override { return inner_->kstacks_view(); }
  subject::Percpu* boot_percpu() override {
    subject::Percpu* const areas = inner_->boot_percpu();
    return areas != nullptr ? &areas_.emplace(*areas, argument_) : nullptr;
  }
  subject::PercpuView* percpu_view() override { return inner_->percpu_view(); }
  subject::Promises promises() const override { return inner_->promises(); }

 private:
  std::unique_ptr<Subject> inner_;
  Argument argument_;
  std::optional<Areas> areas_;    // from boot to boot
  std::optional<Stacks> stacks_;  // the same
};

template <class Areas, class Stacks, class Argument>
std::unique_ptr<subject::Subject> wrapped_late(std::unique_ptr<subject::Subject> inner, Argument argument) {
  return std::make_unique<LateWrapper<Areas, Stacks, Argument>>(std::move(inner), argument);
}

}  // namespace memtorture::threads
