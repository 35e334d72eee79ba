#include "sampler/trace_span.h"

#include "sampler/thread_work.h"

namespace vigil {

using sampler::TraceKind;

TraceName TraceName::intern(std::string_view text) {
  return TraceName(Interned{sampler::work_name(text)->text});
}

void TraceSpan::begin(TraceName name) noexcept {
  name_ = name.text();
  begin_ns_ = sampler::trace::now_ns();
  sampler::trace::emit({.kind = TraceKind::kSpanBegin, .begin_ns = begin_ns_, .name = name_});
}

void TraceSpan::end() noexcept {
  sampler::trace::emit({.kind = TraceKind::kSpan,
                        .begin_ns = begin_ns_,
                        .end_ns = sampler::trace::now_ns(),
                        .name = name_});
}

}  // namespace vigil
