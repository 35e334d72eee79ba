#include "base/flags.h"

#include "tests/support/catch.h"

namespace vigil {
namespace {

using namespace std::chrono_literals;

struct Parsed {
  HostPort listen{"127.0.0.1", 8080};
  Duration timeout = 1s;
  std::size_t limit = 0;
  std::optional<int> status;
};

Parsed parse(std::vector<std::string> arguments) {
  Parsed parsed;
  FlagTable flags("prog", "Does things.");
  flags.add("listen", "A:P", "where to serve", host_port_flag(parsed.listen));
  flags.add("idle-timeout", "DURATION", "how long", duration_flag(parsed.timeout));
  flags.add("limit", "N", "how many", size_flag(parsed.limit, 0, 10));
  arguments.insert(arguments.begin(), "prog");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  parsed.status = flags.parse(static_cast<int>(argv.size()) - 1, argv.data());
  return parsed;
}

TEST_CASE("flags set what they name, with = or a space") {
  const Parsed parsed = parse({"--listen=[::1]:0", "--idle-timeout", "250ms", "--limit=10"});
  CHECK(parsed.status == std::nullopt);
  CHECK(parsed.listen.host == "::1");
  CHECK(parsed.timeout == 250ms);
  CHECK(parsed.limit == 10);
}

TEST_CASE("without flags the defaults stay") {
  const Parsed parsed = parse({});
  CHECK(parsed.status == std::nullopt);
  CHECK(parsed.timeout == 1s);
}

TEST_CASE("a mistake is exit status 2") {
  for (std::vector<std::string> arguments :
       std::vector<std::vector<std::string>>{{"--nope"},
                                             {"--nope=1"},
                                             {"--limit=11"},
                                             {"--limit=x"},
                                             {"--idle-timeout=5"},
                                             {"--listen=example.org:80"},
                                             {"--limit"},
                                             {"stray"},
                                             {"-x"},
                                             {"--limit=1",
                                              "--"
                                              "nope"}}) {
    INFO(arguments[0]);
    CHECK(parse(arguments).status == 2);
  }
}

TEST_CASE("a switch takes no value") {
  int chosen = 1;
  FlagTable flags("program", "Does things.");
  flags.add_switch("quick", "do it quickly", chosen, 2);
  const auto parse_one = [&](const char* argument) {
    std::string program = "program", text = argument;
    char* arguments[] = {program.data(), text.data(), nullptr};
    return flags.parse(2, arguments);
  };
  CHECK(parse_one("--quick=3") == 2);
  CHECK(chosen == 1);
  CHECK(parse_one("--quick") == std::nullopt);
  CHECK(chosen == 2);
  CHECK(flags.help().find("--quick ") != std::string::npos);
}

TEST_CASE("a choice is one of its words, a text is not empty") {
  int level = 0;
  std::string name = "before";
  FlagTable flags("program", "Does things.");
  flags.add("level", "low|high", "how much", choice_flag(level, {"low", 1}, {"high", 9}));
  flags.add("name", "NAME", "whose", text_flag(name));
  const auto parse_one = [&](std::string argument) {
    std::string program = "program";
    char* arguments[] = {program.data(), argument.data(), nullptr};
    return flags.parse(2, arguments);
  };
  CHECK(parse_one("--level=high") == std::nullopt);
  CHECK(level == 9);
  CHECK(parse_one("--level=low") == std::nullopt);
  CHECK(level == 1);
  for (const char* wrong : {"--level=", "--level=hig", "--level=highest", "--level=LOW"}) {
    INFO(wrong);
    CHECK(parse_one(wrong) == 2);
  }
  CHECK(level == 1);
  CHECK(choice_flag(level, {"low", 1}, {"high", 9})("9").error().message() == "not low or high");
  CHECK(parse_one("--name=") == 2);
  CHECK(name == "before");
  CHECK(parse_one("--name=mine") == std::nullopt);
  CHECK(name == "mine");
}

TEST_CASE("help and version are exit status 0") {
  CHECK(parse({"--help"}).status == 0);
  CHECK(parse({"--version"}).status == 0);
}

// Parses `words` behind the program's name.
std::optional<int> parse_words(const FlagTable& flags, std::vector<std::string> words) {
  words.insert(words.begin(), "prog");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return flags.parse(static_cast<int>(words.size()), argv.data());
}

TEST_CASE("a letter is its flag, with and without a space") {
  std::string output;
  FlagTable flags("prog", "Does things.");
  flags.add("output", "FILE", "where to", text_flag(output));
  flags.add_letter('o', "output");
  CHECK_FALSE(parse_words(flags, {"-o", "a"}));
  CHECK(output == "a");
  CHECK_FALSE(parse_words(flags, {"-ob"}));
  CHECK(output == "b");
  CHECK_FALSE(parse_words(flags, {"--output=c"}));
  CHECK(output == "c");
  CHECK(parse_words(flags, {"-o"}) == 2);
  CHECK(parse_words(flags, {"-x"}) == 2);
  CHECK(flags.help().find("--output=FILE, -o ") != std::string::npos);
}

TEST_CASE("one operand where there may be one, anywhere among the flags") {
  std::string operand;
  int limit = 0;
  FlagTable flags("prog", "Does things.");
  flags.add("limit", "N", "how many", size_flag(limit, 0, 10));
  flags.add_operand("WHAT", [&operand](std::string_view text) -> Result<void> {
    if (text == "bad") return Error(ErrorCode::kInvalidArgument, "not good");
    operand = text;
    return {};
  });
  CHECK_FALSE(parse_words(flags, {}));
  CHECK(operand.empty());
  CHECK_FALSE(parse_words(flags, {"it", "--limit=3"}));
  CHECK(operand == "it");
  CHECK(limit == 3);
  CHECK(parse_words(flags, {"bad"}) == 2);
  CHECK(parse_words(flags, {"it", "them"}) == 2);
  CHECK(flags.help().find("usage: prog [OPTION]… [WHAT]\n") == 0);
}

TEST_CASE("a command takes everything from the first operand on") {
  std::vector<std::string> command;
  int limit = 0;
  FlagTable flags("prog", "Runs things.");
  flags.add("limit", "N", "how many", size_flag(limit, 0, 10));
  flags.add_command("PROGRAM", command);
  CHECK_FALSE(parse_words(flags, {"--limit=3", "ls", "--limit=4", "--", "x"}));
  CHECK(command == std::vector<std::string>{"ls", "--limit=4", "--", "x"});
  CHECK(limit == 3);
  CHECK_FALSE(parse_words(flags, {"--limit=5", "--", "--odd", "-x"}));
  CHECK(command == std::vector<std::string>{"--odd", "-x"});
  CHECK(limit == 5);
  CHECK_FALSE(parse_words(flags, {}));
  CHECK(command.empty());
}

}  // namespace
}  // namespace vigil
