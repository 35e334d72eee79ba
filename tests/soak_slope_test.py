#!/usr/bin/env python3
"""The judgement of scripts/soak: it must see a slope in noise, and must not see one where there is none."""

import math
import pathlib
import random
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "scripts"))
import soak_slope

MIB = 2**20


def samples(value, seconds=480):
    """A point each two seconds; `value` gives the value at a time."""
    return [(at, value(at)) for at in range(0, seconds, 2)]


class Slope(unittest.TestCase):
    def setUp(self):
        random.seed(8)

    def test_the_line_is_that_of_the_points(self):
        line = soak_slope.fit(samples(lambda at: 5 + 0.25 * at))
        self.assertAlmostEqual(line.slope, 0.25)
        self.assertAlmostEqual(line.error, 0)
        self.assertEqual(line.span, 478)

    def test_nothing_moves(self):
        self.assertFalse(soak_slope.grows(soak_slope.fit(samples(lambda at: 25)), 1))

    def test_noise_is_no_growth(self):
        grown = sum(soak_slope.grows(soak_slope.fit(samples(lambda at: random.gauss(30 * MIB, MIB))), 512 * 1024)
                    for _ in range(200))
        self.assertEqual(grown, 0)

    def test_a_rhythm_is_no_growth(self):
        wave = samples(lambda at: 30 * MIB + 2 * MIB * math.sin(at / 40))
        self.assertFalse(soak_slope.grows(soak_slope.fit(wave), 512 * 1024))

    def test_a_leak_in_noise_is_growth(self):
        for _ in range(50):
            leak = samples(lambda at: random.gauss(30 * MIB, MIB / 4) + at * 4096)
            self.assertTrue(soak_slope.grows(soak_slope.fit(leak), 512 * 1024))

    def test_one_descriptor_now_and_then_is_growth(self):
        self.assertTrue(soak_slope.grows(soak_slope.fit(samples(lambda at: 25 + at // 60)), 1))

    def test_less_than_matters_is_not(self):
        leak = samples(lambda at: 30 * MIB + at * 100)
        self.assertFalse(soak_slope.grows(soak_slope.fit(leak), 512 * 1024))
        self.assertTrue(soak_slope.grows(soak_slope.fit(leak), 32 * 1024))

    def test_what_shrinks_does_not_grow(self):
        self.assertFalse(soak_slope.grows(soak_slope.fit(samples(lambda at: 30 * MIB - at * 4096)), 1))

    def test_three_points_have_no_error(self):
        with self.assertRaises(ValueError):
            soak_slope.fit([(0, 1), (1, 2), (2, 3)])


if __name__ == "__main__":
    unittest.main()
