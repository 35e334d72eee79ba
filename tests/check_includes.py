#!/usr/bin/env python3
"""Checks the layers of docs/architecture.md from the #include lines.

usage: check_includes.py ROOT

A folder includes only itself and folders below it; nothing includes agent/ or tests/; a third-party header is included
only where the layers table allows it; sampler/sigsafe/ includes only what is safe in a signal handler. Prints each
breach as FILE:LINE: MESSAGE. Exit status: 0 none, 1 some, 2 usage.
"""

import pathlib
import re
import sys

LAYERS = ["base", "sampler", "leakwatch", "server-core", "endpoints", "agent"]

# The first part of a third-party include, and the folders that may name it.
THIRD_PARTY = {
    "fmt": set(LAYERS),
    "nlohmann": {"endpoints"},
    "llhttp.h": {"server-core"},
    "nghttp2": {"server-core"},
    "openssl": {"server-core"},
    "wslay": {"server-core"},
    "catch2": {"leakwatch"},
    "gtest": {"leakwatch"},
    "gperftools": {"sampler"},
    "libunwind.h": {"sampler"},
    "libunwind-x86_64.h": {"sampler"},
    "elfutils": {"sampler"},
    "dwarf.h": {"sampler"},
    "libelf.h": {"sampler"},
    "gelf.h": {"sampler"},
    "protozero": {"sampler"},
    "zlib.h": {"sampler"},
    "httplib.h": {"leakwatch", "agent"},
    "archive.h": {"endpoints"},
    "archive_entry.h": {"endpoints"},
    "boost": {"leakwatch", "agent"},
    "grpcpp": {"leakwatch"},
}

SIGSAFE_STANDARD = {"atomic", "cstdint", "cstddef", "span", "array"}

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')


def breaches(root):
    for layer in LAYERS:
        for path in sorted((root / layer).rglob("*")):
            if path.suffix not in (".h", ".cc"):
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                match = INCLUDE.match(line)
                if not match:
                    continue
                message = breach(layer, path.relative_to(root), match[1], match[2])
                if message:
                    yield f"{path.relative_to(root)}:{number}: {message}"


def breach(layer, path, quote, name):
    first = name.split("/")[0]
    if quote == '"':
        if first == "tests":
            return "nothing includes tests/"
        if first not in LAYERS:
            return f'"{name}" is not written from the top of the project'
        if LAYERS.index(first) > LAYERS.index(layer):
            return f"{layer}/ may not include {first}/, which is above it"
        if path.parts[:2] == ("sampler", "sigsafe") and not name.startswith("sampler/sigsafe/"):
            return f"sampler/sigsafe/ may not include {name}: it must stay safe in a signal handler"
        return None
    if path.parts[:2] == ("sampler", "sigsafe") and not (name in SIGSAFE_STANDARD or name.endswith(".h")):
        return f"sampler/sigsafe/ may not include <{name}>: it must stay safe in a signal handler"
    allowed = THIRD_PARTY.get(first)
    if allowed is not None and layer not in allowed:
        return f"<{name}> may be included only in {', '.join(sorted(allowed))}"
    return None


def main():
    if len(sys.argv) != 2:
        print(__doc__.split("\n\n")[1], file=sys.stderr)
        return 2
    root = pathlib.Path(sys.argv[1])
    if not all((root / layer).is_dir() for layer in LAYERS):
        print(f"check_includes.py: {root} does not hold the folders of the layers table", file=sys.stderr)
        return 2
    found = list(breaches(root))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
