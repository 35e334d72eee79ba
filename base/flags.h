// Command-line flags: a table of long options on top of getopt_long(3), with POSIX habits.
//
//   FlagTable flags("vigil-demo", "Serves the routes that show what vigil does.");
//   flags.add("listen", "A:P", "where to serve", host_port_flag(options.listen));
//   flags.add("stuck-after", "DURATION", "flag handlers older than this",
//   duration_flag(stuck_after)); if (auto status = flags.parse(argc, argv)) return *status;
//
// "--name=value" and "--name value" are the same. --help and --version are always there. A mistake
// is one line on stderr that names the flag, and exit status 2. For main(), before threads:
// getopt_long(3) has global state.
//
// Operands ("vigil profile 127.0.0.1:6060") only where the program says that it has some:
//
//   flags.add_operand("ADDRESS", host_port_flag(address));   // none or one, anywhere
//   flags.add_command("PROGRAM [ARGUMENT]…", command);       // all from the first one on, as env(1)
//
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/text.h"

namespace vigil {

// Takes a flag's value; an error's message says what was expected ("not a duration such as 250ms
// …").
using FlagSetter = std::function<Result<void>(std::string_view value)>;

// Setters that parse and store. The target must outlive the parse.
FlagSetter duration_flag(Duration& target);
FlagSetter host_port_flag(HostPort& target);
// Not empty.
FlagSetter text_flag(std::string& target);
// Whole numbers from `min` to `max`.
template <typename Number>
FlagSetter size_flag(Number& target, std::int64_t min, std::int64_t max) {
  return [&target, min, max](std::string_view text) -> Result<void> {
    const auto value = parse_integer(text, min, max);
    if (!value) return value.error();
    target = static_cast<Number>(*value);
    return {};
  };
}

// One of two words, each with what it stands for: choice_flag(log, {"on", Log::kOn}, {"off", …}).
template <typename T>
struct FlagChoice {
  std::string_view word;
  T value;
};
template <typename T>
FlagSetter choice_flag(T& target, std::type_identity_t<FlagChoice<T>> first,
                       std::type_identity_t<FlagChoice<T>> second) {
  return [&target, first, second](std::string_view text) -> Result<void> {
    for (const FlagChoice<T>& choice : {first, second}) {
      if (text != choice.word) continue;
      target = choice.value;
      return {};
    }
    return Error(ErrorCode::kInvalidArgument,
                 "not " + std::string(first.word) + " or " + std::string(second.word));
  };
}

class FlagTable {
 public:
  FlagTable(std::string program, std::string summary);

  // `name` without dashes; `value_hint` for the help text ("DURATION"), empty for a switch.
  void add(std::string name, std::string value_hint, std::string help, FlagSetter setter);

  // Without a value: "--name" sets `target` to `value`.
  template <typename T>
  void add_switch(std::string name, std::string help, T& target, T value) {
    add(std::move(name), "", std::move(help), [&target, value](std::string_view) -> Result<void> {
      target = value;
      return {};
    });
  }

  // "-o FILE" and "-oFILE" are "--output=FILE" too. `name`: a flag that has been added.
  void add_letter(char letter, std::string_view name);

  // An operand that may be given once.
  void add_operand(std::string hint, FlagSetter setter);

  // Everything from the first operand, or from "--", on: flags behind it are the command's. Not
  // together with add_operand(). `target` must outlive the parse.
  void add_command(std::string hint, std::vector<std::string>& target);

  // Sets what the command line says. nullopt: go on. Else the exit status: 0 after --help or
  // --version (printed to stdout), 2 after a mistake (one line on stderr). Operands that were not
  // added are a mistake.
  std::optional<int> parse(int argc, char** argv) const;

  // What --help prints.
  std::string help() const;

 private:
  struct Flag {
    std::string name;
    std::string value_hint;
    std::string help;
    FlagSetter setter;
    char letter = '\0';  // none
  };

  std::optional<int> refuse(std::string_view what) const;
  // What getopt_long(3) returned for a flag of ours; nullptr for something else.
  const Flag* flag_of(int found) const;
  std::optional<int> take_operands(int first, int argc, char** argv) const;

  std::string program_;
  std::string summary_;
  std::vector<Flag> flags_;
  std::string operand_hint_;
  FlagSetter operand_;  // none: empty
  std::vector<std::string>* command_ = nullptr;
};

}  // namespace vigil
