// The parts of fmt that its headers leave to libfmt.so, compiled into libvigil_agent.so: Debian has no static libfmt,
// and a program of its own may have another version of it.
#include <locale>

#include <fmt/format-inl.h>

template std::locale fmt::detail::locale_ref::get<std::locale>() const;
template fmt::detail::thousands_sep_result<char> fmt::detail::thousands_sep_impl(locale_ref);
template char fmt::detail::decimal_point_impl(locale_ref);
template void fmt::detail::vformat_to(buffer<char>&, string_view,
                                      basic_format_args<FMT_BUFFER_CONTEXT(char)>, locale_ref);
