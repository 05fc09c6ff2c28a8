// For tests of kernel stacks: a kernel that was booted for strands out of callables, each on a stack of its own.
#pragma once

#include <cstring>
#include <functional>
#include <list>
#include <vector>

#include "allocator/kernel/strands_rig.h"

namespace memtorture::kernel {

inline machine::Shape with_stacks(std::uint64_t bytes, machine::Toggle irq_stacks = machine::Toggle::off,
                                  machine::Toggle cache = machine::Toggle::off) {
  machine::Shape shape = machine::shape_named("tiny-64").value();
  shape.stack_bytes = bytes;
  shape.irq_stacks = irq_stacks;
  shape.stack_cache = cache;
  return shape;
}

// Says (Trace) is a PagesTrace and Witness: Recorder, or Tally where CPUs are host threads.
template <class Trace>
class StacksRig {
 public:
  explicit StacksRig(const machine::Shape& shape, std::vector<fault::Rule> rules = {}) : rules_(std::move(rules)) {
    kernel.boot(shape, rules_, said, said);
  }

  StacksRig& add(machine::ContextKind kind, unsigned cpu, std::function<void()> body) {
    bodies_.push_back([this, inner = std::move(body)] {
      kernel.enter();
      inner();
      kernel.leave();
    });
    strands_.push_back({.id = static_cast<machine::ContextId>(strands_.size()),
                        .kind = kind,
                        .cpu = static_cast<std::uint8_t>(cpu),
                        .flags = 0,
                        .body = [](void* arg) { (*static_cast<std::function<void()>*>(arg))(); },
                        .arg = &bodies_.back()});
    return *this;
  }
  StacksRig& task(std::function<void()> body, unsigned cpu = 0) {
    return add(machine::ContextKind::task, cpu, std::move(body));
  }
  bool boot() { return kernel.boot_stacks(strands_); }
  machine::RunResult run(machine::Chooser& chooser) { return kernel.machine().run(strands_, chooser, {}); }
  machine::RunResult run() {
    struct Default final : machine::Chooser {
      bool may_depart() const override { return false; }
      bool interested(const machine::Moment&) override { return false; }
      std::uint32_t choose(const machine::Moment&, std::span<const machine::Option>) override { return 0; }
      bool roll(const machine::Moment&, std::uint32_t) override { return false; }
      void restart() override {}
    } chooser;
    return run(chooser);
  }

  template <class F>
  void alone(F f) {
    kernel.machine().run_alone([](void* arg) { (*static_cast<F*>(arg))(); }, &f);
  }
  std::uint64_t bytes() const { return kernel_shape().stack_bytes; }
  std::byte* at(std::uint64_t address) { return kernel.machine().ram().at(address); }
  std::uint64_t word(std::uint64_t address) {
    std::uint64_t value;
    std::memcpy(&value, at(address), sizeof value);
    return value;
  }
  // Lowest addresses of the stacks for this use, by number.
  std::vector<std::uint64_t> stacks(subject::StackUse use) {
    struct Collect {
      subject::StackUse use;
      std::vector<std::uint64_t> found;
    } collect{use, {}};
    kernel.for_each_stack(
        [](void* arg, std::uint64_t base, subject::StackUse its, std::uint32_t) {
          auto& c = *static_cast<Collect*>(arg);
          if (its == c.use) c.found.push_back(base);
        },
        &collect);
    return collect.found;
  }

  Trace said;
  Kernel kernel;

 private:
  const machine::Shape& kernel_shape() const { return const_cast<Kernel&>(kernel).machine().shape(); }

  std::vector<fault::Rule> rules_;
  std::list<std::function<void()>> bodies_;  // a list: strands point into it
  std::vector<machine::Strand> strands_;
};

}  // namespace memtorture::kernel
