// The facet of CPUs that go and come while everybody works (domain.md 6.4, 10.5, P-PCP-8).
//
// All possible CPUs are online at boot, and CPU 0 always. What ran on a CPU that goes, or was going to, goes on on CPU
// 0. What layers kept for that CPU goes back where it came from: pages of its lists, objects of its arrays, stacks that
// were kept there; with the last CPU of a node also objects of other nodes that were on their way home. Copies of
// per-CPU data stay valid (P-PERCPU-9).
#pragma once

namespace memtorture::subject {

class Cpus {
 public:
  virtual ~Cpus() = default;
  // Sleepable process context; what it calls may find itself on CPU 0 afterwards. False, and nothing has changed: there
  // is no such CPU, it has gone (is there) already, it is CPU 0, or the caller may not sleep, which is reported.
  virtual bool cpu_down(unsigned cpu) = 0;
  virtual bool cpu_up(unsigned cpu) = 0;
};

}  // namespace memtorture::subject
