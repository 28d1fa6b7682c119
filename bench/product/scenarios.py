# -*- coding: utf-8 -*-
"""Measures one mesh from a client of Python 2.7: `scenarios.py NAME RUNS`. Prints one JSON object a
line: scenario, figure, unit. Every result is compared."""
from __future__ import print_function

import json
import os
import select
import struct
import subprocess
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


def megabyte(value):
    import hashlib
    import struct
    head = struct.pack(">Q", value)
    return (head + hashlib.sha256(head).digest()) * 25000


def flood(megabytes):
    import sys
    line = b"x" * 1023 + b"\n"
    out = getattr(sys.stdout, "buffer", sys.stdout)
    for _ in range(megabytes * 1024):
        out.write(line)
    out.flush()
    return megabytes


def say(line):
    print(json.dumps(line, separators=(",", ":")))
    sys.stdout.flush()


def look(value):
    import geopandas
    import rasterio
    return geopandas is not rasterio


def report(scenario, figure, unit, tasks=None):
    """With `tasks` the processor time since the last line is counted to them."""
    line = {"scenario": scenario, "figure": figure, "unit": unit}
    if tasks is not None:
        line["tasks"] = tasks
    say(line)


def mark():
    """What was done so far is not measured."""
    say({"mark": True})


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
    mark()
    return function


def first(mesh, runs):
    began = time.time()
    assert mesh.create_function(nothing)(0).result == 0
    report("first result with no node", time.time() - began, "s")


def maps(mesh, runs):
    function = warm(mesh, nothing)
    for count in (1000, 10000, 20000, 100000):
        for _ in range(runs):
            report("no-op map of %d" % count, rate(function, count), "tasks/s", count)


def million(mesh, runs):
    count = 1000000
    report("no-op map of %d" % count, rate(warm(mesh, nothing), count), "tasks/s", count)


def short(mesh, runs):
    function = warm(mesh, nothing)
    report("no-op map of 1000", rate(function, 1000), "tasks/s", 1000)


def report_trips(function, count, name):
    measured = []
    for value in range(count):
        began = time.time()
        assert function(value).result == value, "a result is wrong"
        measured.append(time.time() - began)
    measured.sort()
    report(name + " p50", 1000 * measured[count // 2], "ms", count)
    report(name + " p99", 1000 * measured[count - count // 75], "ms")


def trips(mesh, runs):
    function = warm(mesh, nothing)
    # Warm is what V8 has compiled, at both ends of the line: with a few hundred calls it is at it.
    for value in range(1000):
        assert function(value).result == value
    mark()
    for _ in range(runs):
        report_trips(function, 300, "round trip")


def beside(mesh, runs):
    """The round trip of one namespace's call while another's bulk map fills both cores."""
    single = warm(mesh, echo)
    bulk = subprocess.Popen(
        [sys.executable, os.path.abspath(__file__), "bulk", "1"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, env=dict(os.environ, PERIGEE_TOKEN=os.environ["PERIGEE_BENCH_TOKEN"]))
    try:
        # It says so once its queue is full.
        line = bulk.stdout.readline()
        while line and json.loads(line.decode("utf-8")).get("figure") is None:
            line = bulk.stdout.readline()
        for value in range(20):
            assert single(value).result == value
        mark()
        for _ in range(runs):
            report_trips(single, 100, "round trip beside a bulk map")
    finally:
        bulk.stdin.close()
        rest = bulk.stdout.read().decode("utf-8")
        assert bulk.wait() == 0, "the bulk map failed"
    report("bulk map meanwhile", json.loads(rest.splitlines()[-1])["figure"], "tasks/s")


def bulk(mesh, runs):
    """Keeps the queue full until its standard input ends; says then how many tasks a second were done."""
    function = warm(mesh, nothing)
    count, done, queued = 20000, 0, []
    began = time.time()
    while True:
        queued.append(function.map(range(count)))
        if len(queued) == 3:
            report("queued", 3 * count, "tasks")
        if len(queued) < 3:
            continue
        values = sorted(task.result for task in as_completed(queued.pop(0)))
        assert values == list(range(count)), "results are missing or wrong"
        done += count
        if select.select([sys.stdin], [], [], 0)[0]:
            break
    seconds = time.time() - began
    function.terminate()
    report("done", done / seconds, "tasks/s")


def sleeps(mesh, runs):
    function = mesh.create_function(sleep_ms)
    list(as_completed(function.map([1] * 200)))
    mark()
    for length, count in ((10, 600), (100, 100), (1000, 20)):
        for _ in range(runs):
            began = time.time()
            tasks = function.map([length] * count)
            assert all(task.result == length for task in as_completed(tasks))
            ideal = count * length / 1000.0 / int(os.environ["PERIGEE_BENCH_SLOTS"])
            report("%d ms tasks, share of ideal" % length, 100 * ideal / (time.time() - began), "%", count)


def payloads(mesh, runs):
    function = mesh.create_function(echo)
    assert function(1).result == 1
    for megabytes in (1, 100):
        for run in range(runs + 1):
            # Another one each time: what is on the mesh already is not sent again.
            body = os.urandom(1000000) * megabytes
            began = time.time()
            assert function(body).result == body
            seconds = time.time() - began
            if run == 0:
                mark()
            else:
                report("%d MB there and back" % megabytes, 2 * megabytes / seconds, "MB/s", 1)
    many = mesh.create_function(megabyte)
    for run in range(runs + 1):
        count = 400
        values = range(count * run, count * (run + 1))
        began = time.time()
        seen = set()
        for task in as_completed(many.map(values)):
            value = struct.unpack_from(">Q", task.result)[0]
            assert task.result == megabyte(value), "a result is wrong"
            seen.add(value)
        seconds = time.time() - began
        assert seen == set(values), "results are missing"
        # The first run starts the workers and compiles what moves bytes.
        if run == 0:
            mark()
        else:
            report("results of 1 MB, a map of %d" % count, count / seconds, "MB/s", count)


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
