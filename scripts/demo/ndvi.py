# -*- coding: utf-8 -*-
"""The main job: the vegetation of a real Landsat 7 scene, window by window, on the mesh.

Run by ``npm run demo``; on a mesh of your own: ``scripts/perigee python scripts/demo/ndvi.py FOLDER
data:scenes`` (the mesh must have been started with ``--mount scenes=scripts/demo/scenes``).
"""
from __future__ import print_function

import csv
import json
import os
import sys
import time

import numpy
import perigee

from picture import draw_ndvi

SCENE_PIXELS = 1024
WINDOW_PIXELS = 128


def ndvi(window, scenes):
    """Vegetation index of one window.

    Parameters
    ----------
    window : (int, int, int, int)
        Column, row, width and height, in pixels of the scene.
    scenes : str
        URI of the folder with the scene's bands.

    Returns
    -------
    dict
        ``window``; ``mean``, ``minimum``, ``maximum`` of the index (-1 to 1, no unit);
        ``vegetated``, the share of pixels above 0.3; ``bytes`` of the files it opened; ``pixels``, float32 of (height, width).

    Raises
    ------
    ValueError
        When the window does not lie within the scene.
    """
    import os

    import numpy
    import rasterio
    from perigee import imagery
    from rasterio.windows import Window

    column, row, width, height = window
    print("window %r of the red and near infrared bands" % (window,))
    bands = []
    bytes_read = 0
    for name in ("red", "nir"):
        path = imagery.open("%s/L7_%s.tif" % (scenes, name))
        bytes_read += os.path.getsize(path)
        with rasterio.open(path) as scene:
            if column + width > scene.width or row + height > scene.height:
                raise ValueError(
                    "window %r does not lie within the scene of %d x %d pixels"
                    % (window, scene.width, scene.height)
                )
            bands.append(scene.read(1, window=Window(*window)).astype(numpy.float32))
    red, infrared = bands
    total = infrared + red
    index = numpy.zeros(total.shape, numpy.float32)
    numpy.divide(infrared - red, total, out=index, where=total != 0)
    print("means: red %.1f, near infrared %.1f, NDVI %.3f"
          % (red.mean(), infrared.mean(), index.mean()))
    return {
        "window": window,
        "mean": float(index.mean()),
        "minimum": float(index.min()),
        "maximum": float(index.max()),
        "vegetated": float((index > 0.3).mean()),
        "pixels": index,
        "bytes": bytes_read,
    }


def main(folder, scenes):
    """Map the function over the scene and put picture and table into `folder`."""
    mesh = perigee.AsyncTasks()
    mesh.create_namespace()
    function = mesh.create_function(ndvi, name="ndvi", image="perigee/geospatial:py2.7")

    steps = range(0, SCENE_PIXELS, WINDOW_PIXELS)
    windows = [(column, row, WINDOW_PIXELS, WINDOW_PIXELS) for row in steps for column in steps]
    # One window beyond the edge of the scene: what a failure looks like.
    windows.append((SCENE_PIXELS, 0, WINDOW_PIXELS, WINDOW_PIXELS))

    print("NDVI of %d windows of %d x %d pixels, one of them beyond the edge of the scene"
          % (len(windows), WINDOW_PIXELS, WINDOW_PIXELS))
    began = time.time()
    bands = ["%s/L7_%s.tif" % (scenes, name) for name in ("red", "nir")]
    tasks = function.map(windows, [scenes] * len(windows), assets=lambda window, scenes: bands)
    scene = numpy.zeros((SCENE_PIXELS, SCENE_PIXELS), numpy.float32)
    rows = []
    nodes = set()
    failed = []
    for task in perigee.as_completed(tasks, show_progress=True):
        if not task.is_success:
            failed.append(task)
            continue
        result = task.result
        column, row, width, height = result["window"]
        scene[row:row + height, column:column + width] = result.pop("pixels")
        nodes.add(task.node)
        rows.append(result)
    seconds = time.time() - began

    for task in failed:
        print("\nA task that failed, as the guide shows it:")
        print("  task.exception  %s" % task.exception)
        print("  task.log        %s" % (task.log.strip() or "(it printed nothing)"))
        print("  traceback       %s" % task.traceback.strip().replace("\n", "\n                  "))

    if not os.path.isdir(folder):
        os.makedirs(folder)
    picture = os.path.join(folder, "ndvi.png")
    draw_ndvi(scene, picture)
    numpy.save(os.path.join(folder, "ndvi.npy"), scene)
    table = os.path.join(folder, "ndvi.csv")
    write_table(rows, table)

    print("\n%d windows done and %d failed in %.1f s" % (len(rows), len(failed), seconds))
    print("mean NDVI %.3f, %.0f %% of the pixels vegetated (NDVI above 0.3)"
          % (scene.mean(), 100.0 * (scene > 0.3).mean()))
    print("nodes     %d" % len(nodes))
    print("tasks/s   %.1f (the start of the nodes counted)" % (len(tasks) / seconds))
    print("table     %s" % table)
    print("picture   %s" % picture)
    with open(os.path.join(folder, "summary.json"), "w") as file:
        json.dump({"done": len(rows), "failed": len(failed), "nodes": len(nodes),
                   "seconds": seconds, "bytesRead": sum(row["bytes"] for row in rows)}, file)
    return 0 if len(failed) == 1 and len(rows) == len(windows) - 1 else 1


def write_table(rows, path):
    """One line per window, in the order of the scene."""
    with open(path, "wb" if sys.version_info[0] == 2 else "w") as file:
        writer = csv.writer(file)
        writer.writerow(["column", "row", "mean", "minimum", "maximum", "vegetated"])
        for result in sorted(rows, key=lambda result: result["window"][1::-1]):
            writer.writerow(list(result["window"][:2]) + [
                "%.4f" % result[name] for name in ("mean", "minimum", "maximum", "vegetated")])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "perigee-demo",
                  sys.argv[2] if len(sys.argv) > 2 else "data:scenes"))
