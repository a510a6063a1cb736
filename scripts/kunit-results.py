# SPDX-License-Identifier: GPL-2.0
"""Prints each test of kunit.py's JSON as "suite.name<TAB>result"."""

import json
import sys

RESULT = {"PASS": "passed", "SKIP": "skipped"}


def walk(group, path):
    """Yields the name and the result of every test below a group."""
    for case in group.get("test_cases", []):
        name = ".".join(path + [case["name"]])
        yield name, RESULT.get(case["status"], "failed")
    for sub in group.get("sub_groups", []):
        yield from walk(sub, path + [sub["name"]])


with open(sys.argv[1], encoding="utf-8") as results:
    for test, result in walk(json.load(results), []):
        print(test, result, sep="\t")
