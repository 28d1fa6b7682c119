# -*- coding: utf-8 -*-
"""Measures one mesh from a client of Python 2.7: `scenarios.py NAME RUNS`. Prints one JSON object a
line: scenario, figure, unit. Every result is compared."""
from __future__ import print_function

import json
import os
import sys
import time

from perigee import AsyncTasks, as_completed


def nothing(value):
    return value


def talk(value):
    print("value %d" % value)
    return value


def sleep_ms(value):
    import time
    time.sleep(value / 1000.0)
    return value


def echo(value):
    return value


def flood(megabytes):
    import sys
    line = b"x" * 1023 + b"\n"
    out = getattr(sys.stdout, "buffer", sys.stdout)
    for _ in range(megabytes * 1024):
        out.write(line)
    out.flush()
    return megabytes


def report(scenario, figure, unit):
    print(json.dumps({"scenario": scenario, "figure": figure, "unit": unit},
                     separators=(",", ":")))
    sys.stdout.flush()


def look(value):
    import geopandas
    import rasterio
    return geopandas is not rasterio


def rate(function, count):
    """Tasks a second, from the call of map to the last result in the client."""
    began = time.time()
    seen = bytearray(count)
    for task in as_completed(function.map(range(count))):
        seen[task.result] += 1
    seconds = time.time() - began
    assert all(times == 1 for times in seen), "results are missing or wrong"
    return count / seconds


def warm(mesh, body):
    function = mesh.create_function(body)
    rate(function, 1000)
    return function


def first(mesh, runs):
    began = time.time()
    assert mesh.create_function(nothing)(0).result == 0
    report("first result with no node", time.time() - began, "s")


def maps(mesh, runs):
    function = warm(mesh, nothing)
    for count in (1000, 10000, 20000, 100000):
        for _ in range(runs):
            report("no-op map of %d" % count, rate(function, count), "tasks/s")


def million(mesh, runs):
    report("no-op map of 1000000", rate(warm(mesh, nothing), 1000000), "tasks/s")


def short(mesh, runs):
    function = warm(mesh, nothing)
    report("no-op map of 1000", rate(function, 1000), "tasks/s")


def trips(mesh, runs):
    function = warm(mesh, nothing)
    for _ in range(runs):
        measured = []
        for value in range(300):
            began = time.time()
            assert function(value).result == value
            measured.append(time.time() - began)
        measured.sort()
        report("round trip p50", 1000 * measured[150], "ms")
        report("round trip p99", 1000 * measured[296], "ms")


def beside(mesh, runs):
    """The round trip of one namespace's call while a bulk map fills both cores."""
    bulk, single = warm(mesh, nothing), mesh.create_function(echo)
    assert single(0).result == 0
    tasks = bulk.map(range(300000))
    measured = []
    for value in range(100):
        began = time.time()
        assert single(value).result == value
        measured.append(time.time() - began)
    measured.sort()
    left = sum(1 for task in tasks[-1000:] if task.state != "done")
    assert left > 0, "the bulk map ended too soon to be beside it"
    report("round trip beside a bulk map p50", 1000 * measured[50], "ms")


def sleeps(mesh, runs):
    function = mesh.create_function(sleep_ms)
    list(as_completed(function.map([1] * 200)))
    for length, count in ((10, 600), (100, 100), (1000, 20)):
        for _ in range(runs):
            began = time.time()
            tasks = function.map([length] * count)
            assert all(task.result == length for task in as_completed(tasks))
            ideal = count * length / 1000.0 / int(os.environ["PERIGEE_BENCH_SLOTS"])
            report("%d ms tasks, share of ideal" % length, 100 * ideal / (time.time() - began), "%")


def payloads(mesh, runs):
    function = mesh.create_function(echo)
    assert function(1).result == 1
    for megabytes in (1, 100):
        body = os.urandom(1000000) * megabytes
        for _ in range(runs):
            began = time.time()
            assert function(body).result == body
            seconds = time.time() - began
            report("%d MB there and back" % megabytes, 2 * megabytes / seconds, "MB/s")


def logs(mesh, runs):
    function = mesh.create_function(flood)
    assert function(1).result == 1
    for _ in range(runs):
        began = time.time()
        task = function(7)
        assert task.result == 7
        assert len(task.log_bytes) == 7 * 1024 * 1024
        report("log of 7 MiB, printed to read back", 7 * 1.048576 / (time.time() - began), "MB/s")
    talker = warm(mesh, talk)
    for _ in range(runs):
        report("printing map of 1000", rate(talker, 1000), "tasks/s")


def cold(mesh, runs):
    """The first call of a function on a node that is up and has the image, but no worker for it."""
    assert mesh.create_function(look)(0).result
    python = "Python %d.%d" % sys.version_info[:2]
    for _ in range(runs):
        for what, body in (("cold start", nothing), ("cold start and import geopandas", look)):
            function = mesh.create_function(body)
            began = time.time()
            assert function(1).result == 1
            report("%s, %s" % (what, python), 1000 * (time.time() - began), "ms")


def use(mesh, runs):
    """The first call on a node that lacks the image."""
    function = mesh.create_function(nothing)
    began = time.time()
    assert function(1).result == 1
    report(os.environ["PERIGEE_BENCH_SCENARIO"], time.time() - began, "s")


if __name__ == "__main__":
    globals()[sys.argv[1]](AsyncTasks(), int(sys.argv[2]))
