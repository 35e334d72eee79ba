#!/usr/bin/env python3
"""The include check must complain about each kind of breach, and about nothing else."""

import importlib.util
import pathlib
import tempfile
import unittest

HERE = pathlib.Path(__file__).parent
spec = importlib.util.spec_from_file_location("check_includes", HERE / "check_includes.py")
check = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check)


def breaches_of(path, include):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for layer in check.LAYERS:
            (root / layer).mkdir()
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(f"// a file\n#include {include}\n")
        return list(check.breaches(root))


class IncludeDirection(unittest.TestCase):
    def test_complains(self):
        for path, include in [
            ("base/a.h", '"sampler/address.h"'),
            ("leakwatch/a.cc", '"server-core/server.h"'),
            ("endpoints/a.cc", '"agent/agent.h"'),
            ("base/a.cc", '"tests/support/catch.h"'),
            ("base/a.cc", '"clock.h"'),
            ("endpoints/a.cc", "<llhttp.h>"),
            ("server-core/a.h", "<boost/asio/post.hpp>"),
            ("server-core/a.cc", "<elfutils/libdwfl.h>"),
            ("sampler/sigsafe/a.cc", "<string>"),
            ("sampler/sigsafe/a.cc", '"base/clock.h"'),
        ]:
            with self.subTest(path=path, include=include):
                found = breaches_of(path, include)
                self.assertEqual(len(found), 1)
                self.assertTrue(found[0].startswith(f"{path}:2: "))

    def test_accepts(self):
        for path, include in [
            ("agent/a.cc", '"base/clock.h"'),
            ("sampler/a.cc", '"sampler/address.h"'),
            ("sampler/a.cc", "<libunwind.h>"),
            ("sampler/sigsafe/a.cc", "<atomic>"),
            ("sampler/sigsafe/a.cc", "<signal.h>"),
            ("server-core/a.cc", "<llhttp.h>"),
            ("base/a.cc", "<fmt/format.h>"),
        ]:
            with self.subTest(path=path, include=include):
                self.assertEqual(breaches_of(path, include), [])


if __name__ == "__main__":
    unittest.main()
