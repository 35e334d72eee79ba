"""Reads what valgrind's callgrind writes: instructions by source file.

The format: https://valgrind.org/docs/manual/cl-format.html. Only self costs are of interest here: the line that follows "calls="
is what the callee took, and is left out.
"""

import re

NAME = re.compile(r"\((\d+)\)(?: (.*))?")


class Names:
    """Names come once with a number, then the number alone."""

    def __init__(self):
        self.known = {}

    def of(self, text):
        number, name = NAME.fullmatch(text).groups()
        if name is not None:
            self.known[number] = name
        return self.known[number]


def self_costs(text):
    """(object, file of the function, function, file of the instruction): instructions. The two files differ for inlined code."""
    objects, files, functions = Names(), Names(), Names()
    place = {"ob": "", "fl": "", "fn": "", "at": ""}
    costs, skip = {}, False
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and key in ("ob", "cob"):
            name = objects.of(value)
            place["ob"] = name if key == "ob" else place["ob"]
        elif equals and key in ("fl", "fi", "fe", "cfi", "cfl"):
            name = files.of(value)
            if key in ("fl", "fi", "fe"):
                place["at"] = name
            if key == "fl":
                place["fl"] = name
        elif equals and key in ("fn", "cfn"):
            name = functions.of(value)
            if key == "fn":
                place["fn"], place["at"] = name, place["fl"]
        elif equals and key == "calls":
            skip = True
        elif line[:1] in "0123456789+-*" and line:
            if skip:
                skip = False
                continue
            where = (place["ob"], place["fl"], place["fn"], place["at"])
            costs[where] = costs.get(where, 0) + int(line.split()[1])
    return costs
