// The tables of the process and of the collectors; the server's are in metric_fields_server.cc. Names: vigil_* are ours,
// process_* those of the Prometheus client libraries.
#include "endpoints/metric_fields.h"

namespace vigil::endpoints {
namespace {

using sampler::ContentionCounters;
using sampler::HeapLoss;

constexpr MetricFamily kCpu{"process_cpu_seconds_total", MetricType::kCounter,
                            "Total user and system CPU time spent in seconds."};
constexpr MetricFamily kResident{"process_resident_memory_bytes", MetricType::kGauge,
                                 "Resident memory size in bytes."};
constexpr MetricFamily kVirtual{"process_virtual_memory_bytes", MetricType::kGauge,
                                "Virtual memory size in bytes."};
constexpr MetricFamily kOpenFds{"process_open_fds", MetricType::kGauge,
                                "Number of open file descriptors."};
constexpr MetricFamily kMaxFds{"process_max_fds", MetricType::kGauge,
                               "Maximum number of open file descriptors."};
constexpr MetricFamily kThreads{"process_threads", MetricType::kGauge,
                                "Number of OS threads in the process."};
constexpr MetricFamily kStartTime{"process_start_time_seconds", MetricType::kGauge,
                                  "Start time of the process since unix epoch in seconds."};
constexpr MetricFamily kTasks{"vigil_tasks", MetricType::kGauge,
                              "Tasks that run now: handler activations and other scoped work."};
constexpr MetricFamily kTasksStarted{"vigil_tasks_started_total", MetricType::kCounter,
                                     "Tasks begun."};
constexpr MetricFamily kTasksUntracked{"vigil_tasks_untracked_total", MetricType::kCounter,
                                       "Tasks begun while the task table was full."};
constexpr MetricFamily kThreshold{"vigil_watchdog_threshold_seconds", MetricType::kGauge,
                                  "Tasks older than this are flagged; 0 is off."};
constexpr MetricFamily kStuck{"vigil_watchdog_stuck_tasks", MetricType::kGauge,
                              "Tasks that are flagged and have not ended."};
constexpr MetricFamily kFlagged{"vigil_watchdog_flagged_total", MetricType::kCounter,
                                "Tasks flagged as stuck or leaked."};
constexpr MetricFamily kLeaked{"vigil_watchdog_leaked_total", MetricType::kCounter,
                               "Flagged tasks that went on past their own timeout."};
constexpr MetricFamily kStalled{"vigil_watchdog_stalled_total", MetricType::kCounter,
                                "Flagged streaming tasks that made no progress."};
constexpr MetricFamily kRecovered{"vigil_watchdog_recovered_total", MetricType::kCounter,
                                  "Flagged tasks that have ended, or stream on."};
constexpr MetricFamily kReportsDropped{"vigil_watchdog_reports_dropped_total", MetricType::kCounter,
                                       "Reports dropped for lack of room."};
constexpr MetricFamily kReported{"vigil_watchdog_reports_total", MetricType::kCounter,
                                 "Reports: one for all tasks that hang at the same place."};
constexpr MetricFamily kDeadlocks{"vigil_watchdog_deadlocks_total", MetricType::kCounter,
                                  "Cycles of threads that wait for each other's locks."};
constexpr MetricFamily kRecordsSuppressed{"vigil_watchdog_records_suppressed_total",
                                          MetricType::kCounter,
                                          "Log records about stuck tasks beyond the limit."};
constexpr MetricFamily kWatermarks{"vigil_watchdog_watermarks_total", MetricType::kCounter,
                                   "Times that tasks, threads or descriptors got more than their "
                                   "high watermark."};
constexpr MetricFamily kCallbacks{"vigil_watchdog_callbacks_total", MetricType::kCounter,
                                  "Calls of the program's callbacks, by what became of them: all "
                                  "that began, of these beyond their budget or failed; dropped.",
                                  "outcome"};
constexpr MetricFamily kCapturesRunning{"vigil_captures_running", MetricType::kGauge,
                                        "Captures that take their seconds now."};
constexpr MetricFamily kCapturesRefused{"vigil_captures_refused_total", MetricType::kCounter,
                                        "Captures refused because too many were running."};
constexpr MetricFamily kLabelsDropped{"vigil_labels_dropped_total", MetricType::kCounter,
                                      "Labels of the program that did not fit its samples."};
constexpr MetricFamily kHeapLosses{"vigil_heap_losses_total", MetricType::kCounter,
                                   "Heap samples that profiles lack.", "what"};
constexpr MetricFamily kContentionSamples{"vigil_contention_samples_total", MetricType::kCounter,
                                          "Samples of waits and of holders."};
constexpr MetricFamily kContentionSamplesLost{"vigil_contention_samples_lost_total",
                                              MetricType::kCounter,
                                              "Samples for which no slot was free."};
constexpr MetricFamily kContentionLostDelay{"vigil_contention_lost_delay_seconds_total",
                                            MetricType::kCounter,
                                            "Time of waiting that lost samples stood for."};
constexpr MetricFamily kContentionWaitersUnseen{"vigil_contention_waiters_unseen_total",
                                                MetricType::kCounter,
                                                "Waits that no holder could be charged for."};
constexpr MetricFamily kContentionHandoff{
    "vigil_contention_handoff_seconds_total", MetricType::kCounter,
    "From releases to the next owners' first instructions: no holder's time."};
constexpr MetricFamily kContentionStacks{"vigil_contention_stacks", MetricType::kGauge,
                                         "Different stacks that are kept."};
constexpr MetricFamily kContentionTableFull{"vigil_contention_table_full_samples_total",
                                            MetricType::kCounter,
                                            "Samples at stacks beyond those that are kept."};
constexpr MetricFamily kContentionThreadsUnseen{
    "vigil_contention_threads_unseen_total", MetricType::kCounter,
    "Threads created while the table of threads was full."};
constexpr MetricFamily kContentionWaiting{"vigil_contention_waiting_threads", MetricType::kGauge,
                                          "Threads that wait for a mutex or rwlock now."};
constexpr MetricFamily kContentionCpu{"vigil_contention_collector_cpu_seconds_total",
                                      MetricType::kCounter, "CPU time of the collector of waits."};

constexpr MetricField<Metrics> kProcessFields[] = {
    {"/process/cpu_seconds", &kCpu, "",
     [](const Metrics& from) -> MetricNumber { return from.process.cpu_seconds; }},
    {"/process/resident_bytes", &kResident, "",
     [](const Metrics& from) -> MetricNumber { return from.process.resident_bytes; }},
    {"/process/virtual_bytes", &kVirtual, "",
     [](const Metrics& from) -> MetricNumber { return from.process.virtual_bytes; }},
    {"/process/open_fds", &kOpenFds, "",
     [](const Metrics& from) -> MetricNumber { return from.process.open_fds; }},
    {"/process/max_fds", &kMaxFds, "",
     [](const Metrics& from) -> MetricNumber { return from.process.max_fds; }},
    {"/process/threads", &kThreads, "",
     [](const Metrics& from) -> MetricNumber { return from.process.threads; }},
    {"/process/start_time_unix_seconds", &kStartTime, "",
     [](const Metrics& from) -> MetricNumber { return from.process.start_time_seconds; }},
    {"/tasks/live", &kTasks, "",
     [](const Metrics& from) -> MetricNumber { return from.tasks.live; }},
    {"/tasks/started", &kTasksStarted, "",
     [](const Metrics& from) -> MetricNumber { return from.tasks.started; }},
    {"/tasks/untracked", &kTasksUntracked, "",
     [](const Metrics& from) -> MetricNumber { return from.tasks.untracked; }},
    {"/watchdog/threshold_seconds", &kThreshold, "",
     [](const Metrics& from) -> MetricNumber { return fractional_seconds(from.stuck_after); }},
    {"/watchdog/stuck_now", &kStuck, "",
     [](const Metrics& from) -> MetricNumber { return from.watchdog.stuck_now; }},
    {"/watchdog/flagged", &kFlagged, "",
     [](const Metrics& from) -> MetricNumber { return from.watchdog.flagged; }},
    {"/watchdog/leaked", &kLeaked, "",
     [](const Metrics& from) -> MetricNumber { return from.watchdog.leaked; }},
    {"/watchdog/stalled", &kStalled, "",
     [](const Metrics& from) -> MetricNumber { return from.watchdog.stalled; }},
    {"/watchdog/recovered", &kRecovered, "",
     [](const Metrics& from) -> MetricNumber { return from.watchdog.recovered; }},
    {"/watchdog/reports_dropped", &kReportsDropped, "",
     [](const Metrics& from) -> MetricNumber { return from.watchdog.reports_dropped; }},
    {"/watchdog/reports", &kReported, "",
     [](const Metrics& from) -> MetricNumber { return from.watchdog.reported; }},
    {"/watchdog/deadlocks", &kDeadlocks, "",
     [](const Metrics& from) -> MetricNumber { return from.watchdog.deadlocks; }},
    {"/watchdog/records_suppressed", &kRecordsSuppressed, "",
     [](const Metrics& from) -> MetricNumber { return from.watchdog.records_suppressed; }},
    {"/watchdog/watermarks_crossed", &kWatermarks, "",
     [](const Metrics& from) -> MetricNumber { return from.watchdog.watermarks; }},
    {"/watchdog/callbacks/called", &kCallbacks, "called",
     [](const Metrics& from) -> MetricNumber { return from.watchdog.callbacks.called; }},
    {"/watchdog/callbacks/overrun", &kCallbacks, "overrun",
     [](const Metrics& from) -> MetricNumber { return from.watchdog.callbacks.overrun; }},
    {"/watchdog/callbacks/failed", &kCallbacks, "failed",
     [](const Metrics& from) -> MetricNumber { return from.watchdog.callbacks.failed; }},
    {"/watchdog/callbacks/dropped", &kCallbacks, "dropped",
     [](const Metrics& from) -> MetricNumber { return from.watchdog.callbacks.dropped; }},
    {"/captures/running", &kCapturesRunning, "",
     [](const Metrics& from) -> MetricNumber { return std::uint64_t(from.captures_running); }},
    {"/captures/refused", &kCapturesRefused, "",
     [](const Metrics& from) -> MetricNumber { return from.captures_refused; }},
    {"/captures/labels_dropped", &kLabelsDropped, "",
     [](const Metrics& from) -> MetricNumber { return from.labels_dropped; }},
};

constexpr MetricField<HeapLoss> kHeapFields[] = {
    {"/heap/samples_lost", &kHeapLosses, "samples_lost",
     [](const HeapLoss& from) -> MetricNumber { return std::uint64_t(from.samples_lost); }},
    {"/heap/samples_untracked", &kHeapLosses, "samples_untracked",
     [](const HeapLoss& from) -> MetricNumber { return std::uint64_t(from.samples_untracked); }},
    {"/heap/buckets_full", &kHeapLosses, "buckets_full",
     [](const HeapLoss& from) -> MetricNumber { return std::uint64_t(from.buckets_full); }},
};

constexpr MetricField<ContentionCounters> kContentionFields[] = {
    {"/contention/samples", &kContentionSamples, "",
     [](const ContentionCounters& from) -> MetricNumber { return from.samples; }},
    {"/contention/samples_lost", &kContentionSamplesLost, "",
     [](const ContentionCounters& from) -> MetricNumber { return from.samples_lost; }},
    {"/contention/lost_delay_seconds", &kContentionLostDelay, "",
     [](const ContentionCounters& from) -> MetricNumber {
       return fractional_seconds(from.lost_delay);
     }},
    {"/contention/waiters_unseen", &kContentionWaitersUnseen, "",
     [](const ContentionCounters& from) -> MetricNumber { return from.waiters_unseen; }},
    {"/contention/handoff_seconds", &kContentionHandoff, "",
     [](const ContentionCounters& from) -> MetricNumber {
       return fractional_seconds(from.handoff);
     }},
    {"/contention/stacks", &kContentionStacks, "",
     [](const ContentionCounters& from) -> MetricNumber { return from.stacks; }},
    {"/contention/table_full_samples", &kContentionTableFull, "",
     [](const ContentionCounters& from) -> MetricNumber { return from.table_full; }},
    {"/contention/threads_unseen", &kContentionThreadsUnseen, "",
     [](const ContentionCounters& from) -> MetricNumber { return from.threads_unseen; }},
    {"/contention/waiting", &kContentionWaiting, "",
     [](const ContentionCounters& from) -> MetricNumber { return from.waiting; }},
    {"/contention/collector_cpu_seconds", &kContentionCpu, "",
     [](const ContentionCounters& from) -> MetricNumber {
       return fractional_seconds(from.collector_cpu);
     }},
};

}  // namespace

std::span<const MetricField<Metrics>> process_fields() { return kProcessFields; }
std::span<const MetricField<HeapLoss>> heap_fields() { return kHeapFields; }
std::span<const MetricField<ContentionCounters>> contention_fields() { return kContentionFields; }

}  // namespace vigil::endpoints
