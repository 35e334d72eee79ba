#include "tests/support/pprof_checker.h"

#include <set>

#include "base/text.h"

namespace vigil::test {
namespace {

// Collects complaints; each check is one function of a part of the message.
class Checker {
 public:
  explicit Checker(const PprofProfile& profile) : p_(profile) {}

  std::vector<std::string> run() {
    check_strings();
    check_types();
    check_ids("mapping", p_.mappings);
    check_ids("location", p_.locations);
    check_ids("function", p_.functions);
    check_mappings();
    check_locations();
    check_functions();
    check_main_mapping();
    check_samples();
    check_samples_differ();
    check_flags();
    return std::move(complaints_);
  }

 private:
  void complain(std::string what) { complaints_.push_back(std::move(what)); }

  void check_string(std::int64_t number, const char* what) {
    if (number < 0 || static_cast<std::size_t>(number) >= p_.strings.size()) {
      complain(std::string("string of ") + what + " is out of range");
    }
  }

  void check_strings() {
    if (p_.strings.empty() || !p_.strings.front().empty()) complain("string_table[0] is not empty");
    for (const std::string& text : p_.strings) {
      if (valid_utf8(text) != text) complain("a string is not valid UTF-8");
    }
    for (const std::int64_t comment : p_.comments) check_string(comment, "a comment");
  }

  void check_types() {
    if (p_.sample_types.empty()) complain("no sample_type");
    bool default_found = p_.default_sample_type == 0;
    for (const PprofValueType& type : p_.sample_types) {
      check_string(type.type, "a sample type");
      check_string(type.unit, "a sample unit");
      const std::string name = p_.text(type.type);
      if (name.empty()) complain("a sample type has no name");
      if (name.find('-') != std::string::npos) complain("a sample type has '-' in its name");
      default_found = default_found || type.type == p_.default_sample_type;
    }
    if (!default_found) complain("default_sample_type is no sample type");
    if (p_.time_nanos <= 0) complain("time_nanos is not set");
    if (p_.duration_nanos < 0) complain("duration_nanos is negative");
  }

  template <typename Part>
  void check_ids(const char* what, const std::vector<Part>& parts) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (parts[i].id != i + 1) {
        complain(std::string(what) + " id is not sequential");
        return;
      }
    }
  }

  void check_mappings() {
    for (const PprofMapping& mapping : p_.mappings) {
      check_string(mapping.filename, "a mapping's file name");
      check_string(mapping.build_id, "a build-id");
      if (mapping.memory_start >= mapping.memory_limit) complain("a mapping has no extent");
      if (p_.text(mapping.filename).empty()) complain("a mapping has no file name");
      if (p_.text(mapping.build_id).find_first_not_of("0123456789abcdef") != std::string::npos) {
        complain("a build-id is not lower-case hex");
      }
    }
  }

  void check_locations() {
    std::set<std::uint64_t> addresses;
    for (const PprofLocation& location : p_.locations) {
      if (location.address == 0) complain("a location's address is zero");
      if (!addresses.insert(location.address).second) complain("two locations share an address");
      if (location.mapping_id > p_.mappings.size()) {
        complain("a location's mapping does not exist");
      } else if (location.mapping_id != 0) {
        const PprofMapping& mapping = p_.mappings[location.mapping_id - 1];
        if (location.address < mapping.memory_start || location.address >= mapping.memory_limit) {
          complain("a location is outside its mapping");
        }
      }
      for (const PprofLine& line : location.lines) {
        if (line.function_id == 0 || line.function_id > p_.functions.size()) {
          complain("a line's function does not exist");
        }
      }
    }
  }

  void check_functions() {
    for (const PprofFunction& function : p_.functions) {
      check_string(function.name, "a function's name");
      check_string(function.system_name, "a system name");
      check_string(function.filename, "a function's file name");
      if (p_.text(function.name).empty()) complain("a function has no name");
    }
  }

  void check_samples() {
    for (const PprofSample& sample : p_.samples) {
      if (sample.values.size() != p_.sample_types.size()) {
        complain("a sample has not one value for each sample_type");
      }
      if (sample.location_ids.empty()) complain("a sample has no location");
      for (const std::uint64_t id : sample.location_ids) {
        if (id == 0 || id > p_.locations.size()) complain("a sample's location does not exist");
      }
      for (const PprofLabel& label : sample.labels) check_label(label);
    }
  }

  // Alloy's fastdelta tells samples apart by their addresses and labels alone.
  void check_samples_differ() {
    std::set<std::vector<std::int64_t>> seen;
    for (const PprofSample& sample : p_.samples) {
      std::vector<std::int64_t> key(sample.location_ids.begin(), sample.location_ids.end());
      for (const PprofLabel& label : sample.labels) {
        key.insert(key.end(), {-1, label.key, label.str, label.num});
      }
      if (!seen.insert(std::move(key)).second) {
        return complain("two samples have the same addresses and labels");
      }
    }
  }

  // mapping[0] is the program: its base name is what go tool pprof calls the profile.
  void check_main_mapping() {
    if (!p_.mappings.empty() && !p_.text(p_.mappings.front().filename).starts_with("/")) {
      complain("the first mapping is not a file's");
    }
    if (p_.period_type.type == 0 || p_.period <= 0) complain("no period");
  }

  void check_label(const PprofLabel& label) {
    check_string(label.key, "a label's key");
    check_string(label.str, "a label's value");
    check_string(label.num_unit, "a label's unit");
    if (label.key == 0) complain("a label has no key");
    if (p_.text(label.key).starts_with("pprof::")) complain("a label has a reserved key");
    if (label.str != 0 && label.num != 0) complain("a label is both text and number");
  }

  void check_flags() {
    for (const PprofLocation& location : p_.locations) {
      if (location.mapping_id == 0 || location.mapping_id > p_.mappings.size()) continue;
      const PprofMapping& mapping = p_.mappings[location.mapping_id - 1];
      if (mapping.has_functions && location.lines.empty()) {
        complain("has_functions, but a location has none");
      }
      for (const PprofLine& line : location.lines) {
        if (line.function_id == 0 || line.function_id > p_.functions.size()) continue;
        const PprofFunction& function = p_.functions[line.function_id - 1];
        if (mapping.has_filenames && function.filename == 0) {
          complain("has_filenames, but a function has no file");
        }
        // What has no symbol is named after its place ("libfoo.so+0x12"), and has no line.
        const bool is_place = p_.text(function.name).find("+0x") != std::string::npos;
        if (mapping.has_line_numbers && line.line == 0 && !is_place) {
          complain("has_line_numbers, but a line has none");
        }
      }
    }
  }

  const PprofProfile& p_;
  std::vector<std::string> complaints_;
};

}  // namespace

std::string PprofProfile::text(std::int64_t number) const {
  if (number < 0 || static_cast<std::size_t>(number) >= strings.size()) return "?";
  return strings[static_cast<std::size_t>(number)];
}

std::vector<std::string> check_pprof(const PprofProfile& profile) { return Checker(profile).run(); }

std::int64_t pprof_total(const PprofProfile& profile, std::string_view type,
                         std::string_view function) {
  std::size_t column = 0;
  while (column < profile.sample_types.size() &&
         profile.text(profile.sample_types[column].type) != type) {
    ++column;
  }
  const auto has_function = [&](const PprofSample& sample) {
    for (const std::uint64_t id : sample.location_ids) {
      for (const PprofLine& line : profile.locations.at(id - 1).lines) {
        if (profile.text(profile.functions.at(line.function_id - 1).name) == function) return true;
      }
    }
    return false;
  };
  std::int64_t total = 0;
  for (const PprofSample& sample : profile.samples) {
    if (has_function(sample)) total += sample.values.at(column);
  }
  return total;
}

}  // namespace vigil::test
