// CPUs that go away and come back: what the machine does of K26's cpu_down and cpu_up.
//
// All CPUs are online at boot. CPU 0 is the boot processor and stays. When a CPU goes, nothing is lost that ran there
// or was going to: its tasks go on elsewhere, interrupts that were still to come arrive elsewhere. A CPU goes only at
// an instant at which whatever it executes could be preempted (K26: stop_machine), so nobody who holds a pin or a lock,
// or has interrupts off, ever finds himself on another CPU. Per-CPU data of the CPU are nobody's then: each layer gives
// back what it kept there (cpu_dead), and nothing may come there again before the CPU does.
//
// Where things go is CPU 0, which is always there. They do not come back by themselves, but for daemons that are bound
// to their CPU. Offline is not absent: a possible CPU has its copies of per-CPU data all the time (P-PERCPU-9).
//
// Not here: what layers do about it; and that one CPU at a time goes or comes, which the caller sees to.
#pragma once

namespace memtorture::machine {

bool cpu_online(unsigned cpu);  // any context; may change at any point, but for the CPU that asks while it is pinned
// Process context that may sleep, with no other call of these two in flight. Returns when the CPU has gone; whoever
// calls it there goes on elsewhere. False: it is CPU 0 or has gone already, or the caller may not sleep (reported).
bool take_cpu_down(unsigned cpu);
bool bring_cpu_up(unsigned cpu);  // false: it is there already, or the caller may not sleep (reported)

}  // namespace memtorture::machine
