# -*- coding: utf-8 -*-
"""Measures imagery in tasks: `tasks.py RUNS [PART ...]` with the scenes in PERIGEE_BENCH_IMAGERY. Prints one JSON
object a line: of, scenario, figure, unit. Every pixel that is read twice is compared."""
from __future__ import print_function

import json
import os
import sys
import time

from perigee import AsyncTasks, as_completed

PLAN = json.loads(os.environ["PERIGEE_BENCH_IMAGERY"])


def windows(uri, local, count, size):
    """Seconds of `count` reads of windows: through the cache, and of a local file by rasterio."""
    import random
    import time
    import rasterio
    from rasterio.windows import Window
    from perigee import imagery
    path = imagery.open(local)
    with rasterio.open(path) as scene:
        width, height = scene.width, scene.height
    places = random.Random(7)
    places = [(places.randrange(width - size), places.randrange(height - size)) for _ in range(count)]

    def ours(column, row):
        return imagery.read(uri, window=(column, row, size, size))[0]

    def theirs(column, row):
        with rasterio.open(path) as scene:
            return scene.read(window=Window(column, row, size, size))
    for place in places:
        assert (ours(*place) == theirs(*place)).all(), place
    spent = [0.0, 0.0]
    for at, place in enumerate(places):
        # Each goes first as often as the other.
        for which in ((0, 1) if at % 2 else (1, 0)):
            began = time.time()
            (ours, theirs)[which](*place)
            spent[which] += time.time() - began
    return spent


def views(uri, count):
    """Microseconds from the URI of a cached asset to the first byte of a block of its map."""
    import mmap
    import os
    import time
    from perigee import imagery
    size = os.path.getsize(imagery.open(uri))
    block = 4 * 1024 * 1024
    measured = []
    for at in range(count):
        offset = (at * block) % size
        began = time.time()
        with open(imagery.open(uri), "rb") as opened:
            view = mmap.mmap(opened.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)
            view[offset:offset + 1]
        measured.append(1e6 * (time.time() - began))
        view.close()
    return sorted(measured)


def pages(uri, seconds):
    """Bytes a second out of the cached file's own pages, and out of plain memory."""
    import time
    import numpy
    from perigee import imagery
    array = imagery.read(uri)[0]
    copy = numpy.array(array)
    target = numpy.empty_like(copy)
    assert (array == copy).all()
    rates = []
    for source in (array, copy):
        moved, began = 0, time.time()
        while time.time() - began < seconds:
            numpy.copyto(target, source)
            moved += target.nbytes
        rates.append(moved / (time.time() - began))
    return rates


def window_of(uri, column, row, size):
    import zlib
    from perigee import imagery
    pixels = imagery.read(uri, window=(column, row, size, size))[0]
    return zlib.crc32(pixels.tobytes()) & 0xffffffff


def curled_window_of(uri, column, row, size):
    import zlib
    import rasterio
    from rasterio.windows import Window
    with rasterio.open("/vsicurl/" + uri) as scene:
        pixels = scene.read(window=Window(column, row, size, size))
    return zlib.crc32(pixels.tobytes()) & 0xffffffff


def nothing(value):
    return value


def report(of, scenario, figure, unit):
    line = {"of": of, "scenario": "imagery: " + scenario, "figure": figure, "unit": unit}
    print(json.dumps(line, separators=(",", ":")))
    sys.stdout.flush()


def job(function, uri):
    """Seconds of the 64 windows, and what they read."""
    size = PLAN["windowSize"]
    step = (PLAN["side"] - size) // 7
    places = [(column * step, row * step) for row in range(8) for column in range(8)]
    began = time.time()
    tasks = function.map([uri] * 64, [x for x, _ in places], [y for _, y in places], [size] * 64)
    for _ in as_completed(tasks):
        pass
    seconds = time.time() - began
    return seconds, [task.result for task in tasks]


def cached_windows(mesh, runs):
    function = mesh.create_function(windows)
    for name in ("whole", "filled"):
        for _ in range(runs):
            ours, theirs = function(PLAN[name]["uri"], PLAN[name]["local"], PLAN["reads"], PLAN["windowSize"]).result
            told = {"whole": "of a whole file", "filled": "of a file filled as it is read"}[name]
            scenario = "cached windows %s, in the sandbox" % told
            report("product", scenario, PLAN["reads"] / ours, "windows/s")
            report("limit", scenario, PLAN["reads"] / theirs, "windows/s")


def mapped_views(mesh, runs):
    function = mesh.create_function(views)
    for _ in range(runs):
        measured = function(PLAN["raw"]["uri"], 2000).result
        report("product", "warm block to a mapped view p50", measured[len(measured) // 2], "us")
        report("product", "warm block to a mapped view p99", measured[len(measured) * 99 // 100], "us")
    report("limit", "warm block to a mapped view p99", 150.0, "us")


def throughput(mesh, runs):
    function = mesh.create_function(pages)
    for _ in range(runs):
        tasks = function.map([PLAN["raw"]["uri"]] * PLAN["nodes"], [PLAN["seconds"]] * PLAN["nodes"])
        rates = [task.result for task in tasks]
        scenario = "cached pages, all sandboxes together"
        report("product", scenario, sum(rate[0] for rate in rates) / 1e9, "GB/s")
        report("limit", scenario, sum(rate[1] for rate in rates) / 1e9, "GB/s")


def jobs(mesh, runs):
    ours = mesh.create_function(window_of)
    theirs = mesh.create_function(curled_window_of, network=True, environment={
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif",
        "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES", "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
        "VSI_CACHE": "TRUE"})
    # Workers are there before the clock runs.
    warm = mesh.create_function(nothing)
    assert all(task.result is not None for task in warm.map(range(100)))
    for function in (ours, theirs):
        job(function, PLAN["origin"] + "/warm-up/scene.tif")
    for run in range(runs):
        uri = "%s/cold-%d/scene.tif" % (PLAN["origin"], run)
        cold, first = job(ours, uri)
        again, second = job(ours, uri)
        other = "%s/curled-%d/scene.tif" % (PLAN["origin"], run)
        curled, third = job(theirs, other)
        curled_again, fourth = job(theirs, other)
        assert first == second == third == fourth, "the pixels are not the same"
        report("product", "job of 64 windows over HTTP, cold", cold, "s")
        report("/vsicurl", "job of 64 windows over HTTP, cold", curled, "s")
        report("product", "job of 64 windows over HTTP, warm", again, "s")
        report("/vsicurl", "job of 64 windows over HTTP, warm", curled_again, "s")


if __name__ == "__main__":
    CLIENT = AsyncTasks()
    PARTS = {"windows": cached_windows, "views": mapped_views, "throughput": throughput, "jobs": jobs}
    for part in sys.argv[2:] or ("windows", "views", "throughput", "jobs"):
        PARTS[part](CLIENT, int(sys.argv[1]))
