// A subject: something that can be tested. It owns a machine, offers facets, and states what it promises.
//
// One subject serves many runs; boot() is a fresh start whose cost depends on what the last run touched.
#pragma once

#include <memory>
#include <span>

#include "allocator/fault/plan.h"
#include "allocator/subject/buckets.h"
#include "allocator/subject/cpus.h"
#include "allocator/subject/debug.h"
#include "allocator/subject/kstacks.h"
#include "allocator/subject/mempools.h"
#include "allocator/subject/objects.h"
#include "allocator/subject/pages.h"
#include "allocator/subject/percpu.h"

namespace memtorture::subject {

class Subject {
 public:
  virtual ~Subject() = default;
  virtual void boot(const machine::Shape& shape, std::span<const fault::Rule> faults, PagesTrace& trace,
                    machine::Witness& witness) = 0;
  virtual machine::Machine& machine() = 0;
  virtual Pages& pages() = 0;
  virtual PagesView* pages_view() = 0;  // null: its structures cannot be looked at
  // The second step of a boot, on a machine that is to have objects. Null: it has none, or not enough memory for them.
  // No faults are injected meanwhile. Outside of any strand.
  virtual Objects* boot_objects() { return nullptr; }
  virtual ObjectDebug* object_debug() { return nullptr; }    // null: nobody watches objects; after boot_objects()
  virtual ObjectsView* objects_view() { return nullptr; }    // null: as above; after boot_objects()
  virtual BucketsView* buckets_view() { return nullptr; }    // null: as above; after boot_objects()
  virtual Mempools* mempools() { return nullptr; }           // null: it has none; after boot_objects()
  virtual MempoolsView* mempools_view() { return nullptr; }  // null: as above; after boot_objects()
  // The last step of a boot: stacks for what is going to run. Null: it has none, or not enough memory for them. As
  // boot_objects().
  virtual Kstacks* boot_stacks(std::span<const machine::Strand>) { return nullptr; }
  virtual KstacksView* kstacks_view() { return nullptr; }  // null: as above; after boot_stacks()
  // The third step of a boot, on a machine that is to have per-CPU memory. Null: it has none, or not enough memory for
  // it. No faults are injected meanwhile. After boot_objects(), outside of any strand.
  virtual Percpu* boot_percpu() { return nullptr; }
  virtual PercpuView* percpu_view() { return nullptr; }  // null: as above; after boot_percpu()
  virtual Cpus* cpus() { return nullptr; }               // null: its CPUs stay
  virtual Promises promises() const = 0;
};

}  // namespace memtorture::subject
