// A history as text: the program as it happened, its results as comments.
#include <fmt/format.h>

#include <bit>
#include <iterator>

#include "model/program/op_table.h"
#include "model/program/text.h"
#include "model/program/words.h"
#include "model/run/names.h"

namespace memtorture::run {

using machine::Pfn;
using oracle::EventKind;

std::string frame_name(const machine::Shape& shape, Pfn pfn) {
  if (pfn >= shape.frames()) return fmt::format("nowhere/{:#x}", pfn);
  const std::uint64_t address = std::uint64_t{pfn} << shape.page_shift;
  unsigned kind = 0;
  while (kind != std::size(shape.zone_end_bytes) && address >= shape.zone_end_bytes[kind]) ++kind;
  return fmt::format("{}/{:#x}", machine::zone_names[kind], pfn);
}

std::string context_name(const Case& the_case, ContextId who) {
  if (who < the_case.programs.size()) return the_case.programs[who].name;
  if (machine::is_daemon(who)) return program::daemon_name(who);
  return "harness";
}

std::string operation_text(const Case& the_case, ContextId who, std::uint32_t op) {
  if (who >= the_case.programs.size()) return context_name(the_case, who);
  const auto& ops = the_case.programs[who].ops;
  return op < ops.size() ? program::print_op(ops[op], the_case) : "end";
}

namespace {

bool tells_a_number(const program::Op& op) {
  return std::holds_alternative<program::PageCount>(op) || std::holds_alternative<program::NrFreePages>(op) ||
         std::holds_alternative<program::ClientAdd>(op) || std::holds_alternative<program::ClientDrop>(op) ||
         std::holds_alternative<program::ClientTouch>(op) || std::holds_alternative<program::SmpProcessorId>(op);
}

std::string object_result_text(const Case& the_case, const program::Op& op, const Event& event) {
  const bool cache = std::holds_alternative<program::CacheCreate>(op);
  const bool pool = program::makes_pool(op);
  if (program::field_of<program::Out>(op) == nullptr) {
    const bool tells =
        std::holds_alternative<program::Ksize>(op) || std::holds_alternative<program::CacheSize>(op) ||
        std::holds_alternative<program::CacheShrink>(op) || std::holds_alternative<program::CacheDestroy>(op) ||
        std::holds_alternative<program::PoolResize>(op) || std::holds_alternative<program::PoolDestroy>(op);
    return tells ? fmt::format("= {}", static_cast<std::int64_t>(event.value)) : "";
  }
  if (event.value == 0) return "= refused";
  if (event.value == subject::zero_size_ptr) return "= ZERO_SIZE_PTR";
  if (cache || pool) return fmt::format("= {} {:#x}", cache ? "cache" : "pool", event.value);
  const std::uint64_t within = event.value & (the_case.shape.page_bytes() - 1);
  std::string text = fmt::format("= {}/{:#x}", frame_name(the_case.shape, event.pfn), within);
  if (event.value2 != ~std::uint64_t{0}) text += fmt::format(", byte {} is not what it has to be", event.value2);
  return text;
}

std::string stack_result_text(const program::Op& op, const Event& event) {
  if (std::holds_alternative<program::ExitTask>(op)) return "";
  if (std::holds_alternative<program::StackNotUsed>(op)) return fmt::format("= {}", event.value);
  if (std::holds_alternative<program::PopFrame>(op)) return fmt::format("= returns to {:#x}", event.value);
  if (!std::holds_alternative<program::ForkTask>(op)) return fmt::format("= at {:#x}", event.value);
  if (event.value == subject::no_task) return "= refused";
  std::string text = fmt::format("= task {:#x}", event.value);
  if (event.value2 != ~std::uint64_t{0}) text += fmt::format(", byte {} is not zero", event.value2);
  return text;
}

std::string percpu_result_text(const Case& the_case, const program::Op& op, const Event& event) {
  if (program::makes_percpu(op)) return event.value == 0 ? "= refused" : fmt::format("= area {:#x}", event.value);
  if (program::makes_copy(op)) {
    const auto frame = (event.value - machine::Ram::linear_base) >> the_case.shape.page_shift;
    return fmt::format("= {}/{:#x}", frame_name(the_case.shape, static_cast<Pfn>(frame)),
                       event.value & (the_case.shape.page_bytes() - 1));
  }
  if (std::holds_alternative<program::GetCpu>(op) || std::holds_alternative<program::PerCpuSum>(op))
    return fmt::format("= {}", event.value);
  if (std::holds_alternative<program::ThisCpuAdd>(op)) return fmt::format("on cpu{}", event.order);
  if (program::field_of<program::Count>(op) != nullptr)
    return fmt::format("on cpu{}, to {}{}", event.order, event.value, event.detail != 0 ? ", and loses an update" : "");
  return "";
}

std::string result_text(const Case& the_case, const Event& event) {
  if (event.op == harness_op || event.who >= the_case.programs.size()) return "";
  const auto& ops = the_case.programs[event.who].ops;
  if (event.op >= ops.size()) return "";
  const program::Op& op = ops[event.op];
  if (std::holds_alternative<program::PageAddress>(op)) return fmt::format("= {:#x}", event.value);
  if (std::holds_alternative<program::CpuDown>(op) || std::holds_alternative<program::CpuUp>(op) ||
      std::holds_alternative<program::SetMemsAllowed>(op))
    return event.value != 0 ? "= done" : "= refused";
  if (tells_a_number(op)) return fmt::format("= {}", static_cast<std::int64_t>(event.value));
  if (program::is_for_percpu(op)) return percpu_result_text(the_case, op, event);
  if (program::is_for_objects(op)) return object_result_text(the_case, op, event);
  if (program::is_for_stacks(op)) return stack_result_text(op, event);
  if (op.index() > 8) return "";
  if (event.pfn == machine::no_pfn) return "= refused";
  std::string text = fmt::format("= {} order {}", frame_name(the_case.shape, event.pfn), event.order);
  if (event.value != 0) text += fmt::format(" at {:#x}", event.value);
  if (event.value2 != ~std::uint64_t{0}) text += fmt::format(", byte {} is not zero", event.value2);
  return text;
}

// The line that a K26 kernel would print (domain.md 1.7, 2.6, 9.5, 9.7, 20.4), for those reports that it has one for.
std::string kernel_line(const Case& the_case, const Event& event) {
  using enum machine::ReportKind;
  const std::string comm = context_name(the_case, event.who);
  const std::string_view header = machine::row(static_cast<machine::ReportKind>(event.detail)).header;
  switch (static_cast<machine::ReportKind>(event.detail)) {
    case bad_page: return fmt::format("{}{}  pfn:{:05x}", header, comm, event.pfn);
    case allocation_failure: return fmt::format("{}: {}. order:{}, mode:{:#x}", comm, header, event.order, event.gfp);
    case oom_kill: return fmt::format("{}{}{:#x}, order={}, oom_adj=0", comm, header, event.gfp, event.order);
    case sleeping:
      return fmt::format("{} the allocator: in_atomic(): {}, irqs_disabled(): {}, pid: {}, name: {}", header,
                         event.preempt_count != 0 ? 1 : 0, event.irqs == machine::IrqFlag::off ? 1 : 0, event.who,
                         comm);
    case scheduling: return fmt::format("{} {}/{}/{:#010x}", header, comm, event.who, event.preempt_count);
    case processor_id: return fmt::format("{}{:08x}] code: {}/{}", header, event.preempt_count, comm, event.who);
    case lock_recursion:
    case lock_unowned: return fmt::format("{}{}, {}/{}", header, event.cpu, comm, event.who);
    case object_invalid_free:
    case object_wrong_cache:
    case out_of_bounds:
    case use_after_free:
    case wild_access: return fmt::format("{}{}", header, operation_text(the_case, event.who, event.op));
    case percpu_illegal:
      return fmt::format("WARNING: illegal size ({}) or align ({}) for percpu allocation", event.value2, event.gfp);
    case percpu_failed:
      return fmt::format("{}{} align={}, {}", header, event.value2, event.gfp,
                         machine::percpu_failures[event.order % std::size(machine::percpu_failures)]);
    case object_leak: return fmt::format("{}{:x}", header, event.value2);
    default: return std::string(header);
  }
}

std::string report_text(const Case& the_case, const Event& event) {
  const auto kind = static_cast<machine::ReportKind>(event.detail);
  std::string text = kernel_line(the_case, event) + fmt::format(" [{}", machine::row(kind).name);
  if (event.pfn != machine::no_pfn) text += " " + frame_name(the_case.shape, event.pfn);
  if (event.value != 0 && event.value < std::size(machine::bad_page_reasons))
    text += fmt::format(", {}", machine::bad_page_reasons[event.value]);
  if ((event.gfp != 0 && kind != machine::ReportKind::percpu_failed && kind != machine::ReportKind::percpu_illegal) ||
      kind == machine::ReportKind::allocation_failure)
    text += ", " + program::print_gfp(event.gfp);
  return text + "]";
}

std::string left_text(const Event& event) {  // 255: that many or more
  return event.detail == 0 ? "" : fmt::format(", {} free objects left", event.detail);
}

std::string lock_text(const Event& event) {
  std::string under;
  for (machine::LockSet left = event.value; left != 0; left &= left - 1) {
    const unsigned lock = static_cast<unsigned>(std::countr_zero(left));
    under += fmt::format("{}{}", under.empty() ? "" : ", ", machine::LockClass::at(lock).name());
  }
  return fmt::format("waits for {} under {}", machine::LockClass::at(event.detail).name(), under);
}

// As show_mem prints it.
std::string zone_text(const Case& the_case, const Event& event) {
  const auto kb = [&](std::uint64_t pages) { return pages << (the_case.shape.page_shift - 10); };
  return fmt::format("zone {} free:{}kB min:{}kB low:{}kB high:{}kB", event.detail, kb(event.value), kb(event.pfn),
                     kb(event.gfp), kb(event.value2));
}

std::string nested_text(const Case& the_case, const Event& event) {
  const auto frame = [&] { return frame_name(the_case.shape, event.pfn); };
  const auto client = [&] { return subject::client_names[event.detail]; };
  switch (event.kind) {
    case EventKind::call:
    case EventKind::skipped:
    case EventKind::result: return result_text(the_case, event);
    case EventKind::contents:
      if (event.detail == 2)
        return fmt::format("the copy of cpu{} holds {}{}", event.order, event.value,
                           event.gfp != 0 ? fmt::format(", and byte {} is damaged", event.gfp - 1) : "");
      return static_cast<std::int64_t>(event.value) < 0
                 ? fmt::format("contents of {} as written", frame())
                 : fmt::format("contents of {} damaged at byte {}", frame(), event.value);
    case EventKind::reported: return report_text(the_case, event);
    case EventKind::slept: return "slept";
    case EventKind::faulted: return fmt::format("fault {}", machine::Site::at(event.detail).name());
    case EventKind::parked: return fmt::format("parked {} on cpu{}", frame(), event.cpu);
    case EventKind::refilled: return fmt::format("refilled cpu{} with {}", event.cpu, frame());
    case EventKind::drained: return fmt::format("drained {} of cpu{}", frame(), event.cpu);
    case EventKind::client_granted:
      return event.detail == static_cast<std::uint8_t>(subject::ClientKind::process)
                 ? fmt::format("process {} got {}", event.value, frame())
                 : fmt::format("client {} got {}", client(), frame());
    case EventKind::client_released: return fmt::format("client {} gives up {}", client(), frame());
    case EventKind::layer_requests:
      return fmt::format("asks for pages: order {} {}{}", event.order, program::print_gfp(event.gfp), left_text(event));
    case EventKind::layer_granted:
      return event.pfn == machine::no_pfn ? "gets no pages" + left_text(event) : fmt::format("gets {}", frame());
    case EventKind::layer_releases: return fmt::format("gives back {} order {}", frame(), event.order);
    case EventKind::shrink_began:
      return event.gfp == 0 ? "the reaper looks around"
                            : fmt::format("slabs shrink for {}", program::print_gfp(event.gfp));
    case EventKind::shrink_ended: return fmt::format("{} pages of slabs came back", event.value);
    case EventKind::reclaim_began: return fmt::format("direct reclaim for {}", program::print_gfp(event.gfp));
    case EventKind::reclaim_ended: return fmt::format("direct reclaim freed {}", event.value);
    case EventKind::kswapd_woken: return fmt::format("wakes kswapd{}", event.value);
    case EventKind::io_started: return "starts I/O";
    case EventKind::fs_called: return "calls a filesystem";
    case EventKind::client_writing: return fmt::format("a device begins to write {}", frame());
    case EventKind::client_written: return fmt::format("{} is written, and clean", frame());
    case EventKind::oom_chose: return fmt::format("chooses process {}", event.value);
    case EventKind::oom_exited: return fmt::format("process {} is gone", event.value);
    case EventKind::zone_shown: return zone_text(the_case, event);
    case EventKind::oom_killed: return fmt::format("OOM kill, {} pages", event.value);
    case EventKind::panicked: return fmt::format("panic: {}", machine::panic_texts[event.detail]);
    case EventKind::locked: return event.value != 0 ? lock_text(event) : "";
    case EventKind::entered:
      return event.value == machine::no_context
                 ? fmt::format("runs at {:#x}", event.value2)
                 : fmt::format("runs on top of {} at {:#x}",
                               context_name(the_case, static_cast<ContextId>(event.value)), event.value2);
    case EventKind::left: return "end";
    case EventKind::work_began: return "the work item of per-CPU memory runs";
    case EventKind::percpu_place:
    case EventKind::work_ended:
    case EventKind::layer_released:
    case EventKind::quiet: break;
  }
  return "";
}

}  // namespace

std::string print_history(const Case& the_case, const std::vector<Event>& history,
                          std::span<const ObjectReport> reports) {
  std::string text;
  auto out = std::back_inserter(text);
  auto report = reports.begin();
  for (const Event& event : history) {
    const std::string who = context_name(the_case, event.who);
    if (event.kind == EventKind::call || event.kind == EventKind::skipped) {
      if (event.op == harness_op && event.detail == oracle::clean_up_object) {
        fmt::format_to(out, "cpu{} harness: frees the object at {:#x}\n", event.cpu, event.value);
      } else if (event.op == harness_op && event.detail == oracle::clean_up_cache) {
        fmt::format_to(out, "cpu{} harness: destroys cache {:#x}\n", event.cpu, event.value);
      } else if (event.op == harness_op && event.detail == oracle::clean_up_pool) {
        fmt::format_to(out, "cpu{} harness: destroys pool {:#x}\n", event.cpu, event.value);
      } else if (event.op == harness_op && event.detail == oracle::clean_up_task) {
        fmt::format_to(out, "cpu{} harness: ends task {:#x}\n", event.cpu, event.value);
      } else if (event.op == harness_op && event.detail == oracle::clean_up_stacks) {
        fmt::format_to(out, "cpu{} harness: gives back stacks\n", event.cpu);
      } else if (event.op == harness_op && event.detail == oracle::clean_up_percpu) {
        fmt::format_to(out, "cpu{} harness: frees the per-CPU area {:#x}\n", event.cpu, event.value);
      } else if (event.op == harness_op && event.detail == oracle::clean_up_leak_scan) {
        fmt::format_to(out, "cpu{} harness: looks for leaks\n", event.cpu);
      } else if (event.op == harness_op) {
        fmt::format_to(out, "cpu{} harness: frees {} order {}\n", event.cpu, frame_name(the_case.shape, event.pfn),
                       event.order);
      } else {
        fmt::format_to(out, "cpu{} {}.{}: {}{}\n", event.cpu, who, event.op,
                       operation_text(the_case, event.who, event.op),
                       event.kind == EventKind::skipped ? "  # skipped" : "");
      }
      continue;
    }
    const std::string what = nested_text(the_case, event);
    if (!what.empty()) fmt::format_to(out, "  # {} {}\n", who, what);
    const auto index = static_cast<std::size_t>(&event - history.data());
    for (; report != reports.end() && report->event == index; ++report) text += print_object_report(the_case, *report);
  }
  return text;
}

}  // namespace memtorture::run
