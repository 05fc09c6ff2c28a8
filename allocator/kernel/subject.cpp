#include "allocator/kernel/subject.h"

#include "allocator/kernel/kernel.h"

namespace memtorture::kernel {
namespace {

class KernelSubject final : public subject::Subject {
 public:
  void boot(const machine::Shape& shape, std::span<const fault::Rule> faults, subject::PagesTrace& trace,
            machine::Witness& witness) override {
    kernel_.boot(shape, faults, trace, witness);
    layer_ = shape.objects;
  }
  machine::Machine& machine() override { return kernel_.machine(); }
  subject::Pages& pages() override { return kernel_; }
  subject::PagesView* pages_view() override { return &kernel_; }
  subject::Objects* boot_objects() override {
    return layer_ != machine::ObjectLayer::none && kernel_.boot_objects() ? &kernel_ : nullptr;
  }
  subject::ObjectDebug* object_debug() override { return layer_ == machine::ObjectLayer::slab ? &kernel_ : nullptr; }
  subject::ObjectsView* objects_view() override { return layer_ == machine::ObjectLayer::slab ? &kernel_ : nullptr; }
  subject::BucketsView* buckets_view() override { return layer_ == machine::ObjectLayer::k12 ? &kernel_ : nullptr; }
  subject::Mempools* mempools() override { return layer_ == machine::ObjectLayer::slab ? &kernel_ : nullptr; }
  subject::MempoolsView* mempools_view() override { return layer_ == machine::ObjectLayer::slab ? &kernel_ : nullptr; }
  subject::Kstacks* boot_stacks(std::span<const machine::Strand> strands) override {
    return kernel_.machine().shape().stack_bytes != 0 && kernel_.boot_stacks(strands) ? &kernel_ : nullptr;
  }
  subject::KstacksView* kstacks_view() override { return &kernel_; }
  subject::Percpu* boot_percpu() override { return kernel_.boot_percpu() ? &kernel_ : nullptr; }
  subject::PercpuView* percpu_view() override { return &kernel_; }
  subject::Cpus* cpus() override { return &kernel_; }
  subject::Promises promises() const override { return kernel_.promises(); }

 private:
  machine::ObjectLayer layer_ = machine::ObjectLayer::none;
  Kernel kernel_;
};

}  // namespace

std::unique_ptr<subject::Subject> make_subject() { return std::make_unique<KernelSubject>(); }

}  // namespace memtorture::kernel
