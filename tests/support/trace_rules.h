// What a Chrome trace must keep to so that its readers show it rightly.
//
//   const nlohmann::json trace = nlohmann::json::parse(body);
//   CHECK(trace_violations(trace) == std::vector<std::string>{});
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace vigil::test {

// A sentence for each rule that is broken (at most 20), from "Trace Event Format" by Google:
//   - the top is an object with displayTimeUnit and traceEvents; each event has ph, pid, name, and,
//     but for metadata, tid and ts, a number that is not negative
//   - "X": has dur; those of one thread ascend, and nest
//   - "b" and "e" of one id are balanced, their names match, and their times ascend
//   - "f" comes after an "s" with its id
//   - each thread that has an "X" has one name, each process has one
std::vector<std::string> trace_violations(const nlohmann::json& trace);

}  // namespace vigil::test
