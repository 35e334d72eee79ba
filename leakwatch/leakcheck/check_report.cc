#include "leakwatch/leakcheck/check_report.h"

#include <algorithm>
#include <optional>

#include <fmt/core.h>

#include "base/text.h"

namespace vigil::leakwatch {
namespace {

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

std::string details(const Finding& finding) {
  std::string text = finding.title + "\n";
  if (!finding.created.empty()) text += "created by:\n" + finding.created;
  if (!finding.stack.empty()) {
    const bool is_heap = finding.kind == "heap";
    text += fmt::format("{}{}", is_heap ? "allocated by:\n" : "now ", finding.stack);
  }
  return text;
}

std::size_t count_of(const std::vector<Finding>& findings, std::string_view kind) {
  return static_cast<std::size_t>(
      std::count_if(findings.begin(), findings.end(),
                    [kind](const Finding& finding) { return finding.kind == kind; }));
}

// "2 threads, 1 socket".
std::string counts_text(const std::vector<Finding>& findings) {
  std::string text;
  for (const std::string& kind : finding_kinds()) {
    const std::size_t count = count_of(findings, kind);
    if (count == 0) continue;
    fmt::format_to(std::back_inserter(text), "{}{} {}", text.empty() ? "" : ", ", count, kind);
  }
  return text;
}

// The sentence about a kind that could not be looked at: those begin with the kind's name.
std::optional<std::string> missing_of(const Comparison& comparison, std::string_view kind) {
  for (const std::string& sentence : comparison.missing) {
    if (sentence.starts_with(kind)) return sentence;
  }
  return std::nullopt;
}

// Also without the control characters that XML 1.0 cannot have.
std::string xml_escaped(std::string_view text) {
  std::string out = html_escaped(valid_utf8(text));
  std::erase_if(out, [](unsigned char c) { return c < 0x20 && c != '\n' && c != '\t'; });
  return out;
}

std::string json_text(std::string_view text) {
  std::string out = "\"";
  append_json_escaped(out, text);
  return out + "\"";
}

std::string json_finding(const Finding& finding) {
  return fmt::format("{{\"kind\":{},\"title\":{},\"name\":{},\"created\":{},\"stack\":{}",
                     json_text(finding.kind), json_text(finding.title), json_text(finding.name),
                     json_text(finding.created), json_text(finding.stack));
}

// `items` in brackets, a line each.
template <typename Items, typename Format>
std::string json_list(const Items& items, Format format) {
  std::string out;
  for (const auto& item : items) out += (out.empty() ? "\n  " : ",\n  ") + format(item);
  return "[" + out + "]";
}

}  // namespace

std::string report_text(const CheckReport& report) {
  const Comparison& comparison = report.comparison;
  std::string text;
  if (comparison.clean()) {
    text = fmt::format("no leaks at {} after {}\n", report.target, report.drive);
  } else {
    text = fmt::format("{} {} at {} after {}: {}\n", comparison.leaks.size(),
                       comparison.leaks.size() == 1 ? "leak" : "leaks", report.target, report.drive,
                       counts_text(comparison.leaks));
  }
  for (const Finding& finding : comparison.leaks) text += "\nleaked: " + details(finding);
  for (const Comparison::Allowed& allowed : comparison.allowed) {
    fmt::format_to(std::back_inserter(text), "\nallowed by line {} ({}): {}\n", allowed.by.line,
                   allowed.by.reason, allowed.finding.title);
  }
  for (const AllowEntry& entry : comparison.unused) {
    fmt::format_to(std::back_inserter(text), "\nallow-list line {} was not needed: {}\n",
                   entry.line, format_allow_entry(entry));
  }
  for (const std::string& sentence : comparison.missing) {
    text += "\nnot looked at: " + sentence + "\n";
  }
  return valid_utf8(text);
}

std::string report_junit(const CheckReport& report) {
  const Comparison& comparison = report.comparison;
  std::size_t failures = 0;
  std::size_t skipped = 0;
  std::string cases;
  for (const std::string& kind : finding_kinds()) {
    fmt::format_to(std::back_inserter(cases),
                   "    <testcase classname=\"vigil-leakcheck\" name=\"no {} leaks\" "
                   "time=\"{:.3f}\"",
                   kind, seconds(report.took) / static_cast<double>(finding_kinds().size()));
    const std::size_t count = count_of(comparison.leaks, kind);
    const auto missing = missing_of(comparison, kind);
    if (count > 0) {
      ++failures;
      fmt::format_to(std::back_inserter(cases), ">\n      <failure message=\"{} leaked\">", count);
      for (const Finding& finding : comparison.leaks) {
        if (finding.kind == kind) cases += xml_escaped(details(finding)) + "\n";
      }
      cases += "</failure>\n    </testcase>\n";
    } else if (missing) {
      ++skipped;
      fmt::format_to(std::back_inserter(cases),
                     ">\n      <skipped message=\"{}\"/>\n    </testcase>\n",
                     xml_escaped(*missing));
    } else {
      cases += "/>\n";
    }
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n"
      "  <testsuite name=\"vigil-leakcheck {}\" tests=\"{}\" failures=\"{}\" errors=\"0\" "
      "skipped=\"{}\" time=\"{:.3f}\">\n{}  </testsuite>\n</testsuites>\n",
      xml_escaped(report.target), finding_kinds().size(), failures, skipped, seconds(report.took),
      cases);
}

std::string report_json(const CheckReport& report) {
  const Comparison& comparison = report.comparison;
  const auto leak = [](const Finding& finding) { return json_finding(finding) + "}"; };
  const auto allowed = [](const Comparison::Allowed& entry) {
    return fmt::format("{},\"line\":{},\"reason\":{}}}", json_finding(entry.finding), entry.by.line,
                       json_text(entry.by.reason));
  };
  const auto unused = [](const AllowEntry& entry) {
    return fmt::format("{{\"line\":{},\"entry\":{}}}", entry.line,
                       json_text(format_allow_entry(entry)));
  };
  return fmt::format(
      "{{\"result\":\"{}\",\n \"target\":{},\n \"drive\":{},\n \"seconds\":{:.3f},\n"
      " \"leaks\":{},\n \"allowed\":{},\n \"unused_allow_entries\":{},\n \"not_looked_at\":{}}}\n",
      comparison.clean() ? "clean" : "leaks", json_text(report.target), json_text(report.drive),
      seconds(report.took), json_list(comparison.leaks, leak),
      json_list(comparison.allowed, allowed), json_list(comparison.unused, unused),
      json_list(comparison.missing, [](const std::string& text) { return json_text(text); }));
}

}  // namespace vigil::leakwatch
