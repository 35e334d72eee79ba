#include "endpoints/html_head.h"

#include <fmt/core.h>

#include "base/text.h"

namespace vigil::endpoints {

std::string html_head(std::string_view title, int refresh_seconds) {
  const std::string refresh =
      refresh_seconds == 0
          ? ""
          : fmt::format(R"(<noscript><meta http-equiv="refresh" content="{0}"></noscript>
<script>setInterval(() => {{ if (!document.querySelector("details[open]")) location.reload() }}, {0}000)</script>
)",
                        refresh_seconds);
  return fmt::format(R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{1}<title>{0}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #8884 }}
.number {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }}
.stuck {{ color: #c33; font-weight: 600 }} .recovered {{ opacity: .6 }}
form {{ display: flex; gap: 1rem; flex-wrap: wrap; align-items: baseline; margin: 1rem 0 }}
pre {{ font-size: 85%; overflow-x: auto; margin: .3rem 0 }}
</style>
</head>
<body>
<h1>{0}</h1>
)",
                     html_escaped(title), refresh);
}

}  // namespace vigil::endpoints
