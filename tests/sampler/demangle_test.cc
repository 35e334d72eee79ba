#include "sampler/demangle.h"

#include <string_view>
#include <vector>

#include "tests/support/catch.h"

namespace vigil::sampler {
namespace {

struct Case {
  std::string_view in;
  std::string_view out;
};

void check_all(const std::vector<Case>& cases, std::string (*convert)(std::string_view)) {
  for (const Case& c : cases) {
    INFO("input: " << c.in);
    CHECK(convert(c.in) == c.out);
  }
}

}  // namespace

TEST_CASE("a symbol becomes a readable name") {
  check_all(
      {
          {"_ZN4demo8checksumESt4spanIKhLm18446744073709551615EE", "demo::checksum"},
          {"_ZN12_GLOBAL__N_14pollEi", "(anonymous namespace)::poll"},
          {"_ZN4demo12_GLOBAL__N_14pollEi.part.0", "demo::(anonymous namespace)::poll"},
          {"_ZN4demo4pollEi.isra.0.cold", "demo::poll"},
          {"_ZN4demo4pollEi.constprop.0", "demo::poll"},
          {"_ZN4demo4pollEi.llvm.1234567890", "demo::poll"},
          {"_ZNSt6vectorIiSaIiEE9push_backERKi",
           "std::vector<int, std::allocator<int> >::push_back"},
          {"_ZZN4demo3runEvENKUliE_clEi", "demo::run()::{lambda(int)#1}::operator()"},
          {"_ZN4demo3FooC2Ev", "demo::Foo::Foo"},
          {"_ZN4demo3FooC4Ev", "demo::Foo::Foo"},
          {"_ZN4demo3FooD0Ev", "demo::Foo::~Foo"},
          {"_ZThn16_N4demo3Foo3runEv", "non-virtual thunk to demo::Foo::run"},
          {"_ZNK4demo3FoocvbEv", "demo::Foo::operator bool"},
          {"_ZStlsISt11char_traitsIcEERSt13basic_ostreamIcT_ES5_PKc",
           "std::operator<< <std::char_traits<char> >"},
          {"_Znwm", "operator new"},
          {"_ZdaPv", "operator delete[]"},
          {"_Z4pickIiET_S0_", "pick<int>"},
          {"main", "main"},
          {"__libc_start_main", "__libc_start_main"},
          {"__GI_getpid", "getpid"},
          {"__GI___clock_nanosleep", "__clock_nanosleep"},
          {"do_work.part.0", "do_work"},
          {"do_work.isra.0", "do_work"},
          {"_RNvCs1234_7mycrate3foo", "_RNvCs1234_7mycrate3foo"},
          {"_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write::h0123456789abcdef"},
          {"_Znot_a_symbol", "_Znot_a_symbol"},
          {"my.module.symbol", "my.module.symbol"},
          {".cold", ".cold"},
          {"", ""},
      },
      &readable_name);
}

TEST_CASE("a demangled name loses return type, parameters and qualifiers") {
  check_all(
      {
          {"f()", "f"},
          {"f(int, char const*)", "f"},
          {"a::b::f(std::function<void (int)>)", "a::b::f"},
          {"int a::pick<int>(int)", "a::pick<int>"},
          {"unsigned long a::pick<int>(int)", "a::pick<int>"},
          {"std::map<int, std::pair<int, char> > a::pick<int>()", "a::pick<int>"},
          {"char const* a::pick<(a::Kind)1>(int)", "a::pick<(a::Kind)1>"},
          {"std::enable_if<(4>3), void>::type f<int>(int)", "f<int>"},
          {"decltype (({parm#1}.size)()) f<A>(A)", "f<A>"},
          {"decltype(nullptr) f<A>(A)", "f<A>"},
          {"void (*pick<int>(int))(char)", "pick<int>"},
          {"a::f() const", "a::f"},
          {"a::f() const &", "a::f"},
          {"a::f() &&", "a::f"},
          {"a::f() volatile", "a::f"},
          {"(anonymous namespace)::f(int)", "(anonymous namespace)::f"},
          {"a::(anonymous namespace)::B a::(anonymous namespace)::f<int>(int)",
           "a::(anonymous namespace)::f<int>"},
          {"a::operator()(int)", "a::operator()"},
          {"void a::operator()<int>(int) const", "a::operator()<int>"},
          {"a::operator<(int) const", "a::operator<"},
          {"bool a::operator< <int>(a::X<int> const&)", "a::operator< <int>"},
          {"bool a::operator-<int>(a::X<int> const&)", "a::operator-<int>"},
          {"a::operator<=>(a::X const&)", "a::operator<=>"},
          {"a::operator->() const", "a::operator->"},
          {"a::operator->*(int)", "a::operator->*"},
          {"a::operator>>(std::istream&, int)", "a::operator>>"},
          {"a::operator[](unsigned long)", "a::operator[]"},
          {"a::operator,(int)", "a::operator,"},
          {"operator new(unsigned long)", "operator new"},
          {"operator new[](unsigned long)", "operator new[]"},
          {"operator delete(void*, std::align_val_t)", "operator delete"},
          {"operator\"\" _ms(unsigned long long)", "operator\"\" _ms"},
          {"a::operator std::function<void (int)>() const",
           "a::operator std::function<void (int)>"},
          {"a::operator unsigned long() const", "a::operator unsigned long"},
          {"a::operators(int)", "a::operators"},
          {"a::my_operator(int)", "a::my_operator"},
          {"a::run()::{lambda(int)#1}::operator()(int) const",
           "a::run()::{lambda(int)#1}::operator()"},
          {"a::run(int) const::{lambda()#2}::operator()() const",
           "a::run(int) const::{lambda()#2}::operator()"},
          {"auto a::run<int>(int)::{lambda(auto:1)#1}::operator()<char>(char) const",
           "a::run<int>(int)::{lambda(auto:1)#1}::operator()<char>"},
          {"a::run()::{lambda(int)#1}::_FUN(int)", "a::run()::{lambda(int)#1}::_FUN"},
          {"void std::invoke<a::run()::{lambda()#1}>(a::run()::{lambda()#1}&&)",
           "std::invoke<a::run()::{lambda()#1}>"},
          {"void f<&(a::operator<(int, int))>(int)", "f<&(a::operator<(int, int))>"},
          {"std::to_string[abi:cxx11](int)", "std::to_string[abi:cxx11]"},
          {"f(int) [clone .part.0]", "f"},
          {"f(int) [clone .isra.0] [clone .cold]", "f"},
          {"f [clone .cold]", "f"},
          {"vtable for a::B", "vtable for a::B"},
          {"virtual thunk to a::f(int)", "virtual thunk to a::f"},
          {"core::fmt::write::h0123", "core::fmt::write::h0123"},
          {"f(int", "f(int"},
          {"f<int(", "f<int("},
          {"()", "()"},
          {"", ""},
      },
      &strip_signature);
}

TEST_CASE("every prefix of a long name is handled without a crash") {
  const std::string_view name =
      "auto a::operator< <int>(b::(anonymous "
      "namespace)::C<(char)60>)::{lambda(auto:1)#1}::operator()"
      "<char>(char) const [clone .cold]";
  for (std::size_t n = 0; n <= name.size(); ++n) {
    const std::string out = strip_signature(name.substr(0, n));
    CHECK(out.size() <= n);
  }
}

}  // namespace vigil::sampler
