# -*- coding: utf-8 -*-
"""Measures one mesh from a client, and prints one JSON object a line: scenario, figure, unit."""
from __future__ import print_function

import json
import sys
import time

from perigee import AsyncTasks, as_completed


def nothing(value):
    return value


def talk(value):
    print("value %d" % value)
    return value


def nap(value):
    import time
    time.sleep(0.01)
    return value


def report(scenario, figure, unit):
    print(json.dumps({"scenario": scenario, "figure": figure, "unit": unit}))
    sys.stdout.flush()


def rate(function, count):
    """Tasks a second, from the call of map to the last result in the client."""
    began = time.time()
    results = sorted(task.result for task in as_completed(function.map(range(count))))
    seconds = time.time() - began
    assert results == list(range(count)), "results are missing or wrong"
    return count / seconds


def main(runs):
    mesh = AsyncTasks()
    began = time.time()
    function = mesh.create_function(nothing)
    assert function(0).result == 0
    report("first result with no node", time.time() - began, "s")
    rate(function, 1000)  # both nodes are there, and the code is warm
    for _ in range(runs):
        for count in (1000, 20000):
            report("no-op map of %d" % count, rate(function, count), "tasks/s")
        trips = []
        for value in range(200):
            began = time.time()
            assert function(value).result == value
            trips.append(time.time() - began)
        trips.sort()
        report("round trip, median", 1000 * trips[100], "ms")
        report("round trip, 99 of 100", 1000 * trips[197], "ms")
    talker, sleeper = mesh.create_function(talk), mesh.create_function(nap)
    rate(talker, 100)
    rate(sleeper, 20)
    for _ in range(runs):
        report("printing map of 1000", rate(talker, 1000), "tasks/s")
        report("10 ms map of 400", rate(sleeper, 400), "tasks/s")


if __name__ == "__main__":
    main(int(sys.argv[1]))
