# -*- coding: utf-8 -*-
"""A vegetation index as a picture with its colour legend."""
from __future__ import unicode_literals

import matplotlib

matplotlib.use("Agg")  # no display on a server

import numpy  # noqa: E402
from matplotlib import pyplot  # noqa: E402
from matplotlib.ticker import FixedLocator  # noqa: E402

#: Index and colour (red, green, blue of 0-255): water, built and bare ground, then ever denser
#: plants. The bands are raw counts, not reflectances, so that built ground lies below zero.
RAMP = [
    (-0.70, (18, 52, 96)),
    (-0.45, (70, 124, 170)),
    (-0.32, (166, 186, 196)),
    (-0.18, (204, 200, 192)),
    (-0.02, (226, 208, 174)),
    (0.12, (222, 214, 132)),
    (0.26, (150, 188, 88)),
    (0.42, (52, 128, 58)),
    (0.58, (10, 72, 40)),
]

MARGIN = 40
LEGEND_WIDTH = 200
HEADER = 84
DOTS_PER_INCH = 100.0


def color_pixels(index):
    """Colours of an index.

    Parameters
    ----------
    index : numpy.ndarray
        Float, (height, width), -1 to 1.

    Returns
    -------
    numpy.ndarray
        uint8 of (height, width, 3); between two stops of the ramp the colours are mixed in
        proportion and rounded half up, beyond its ends they stay.
    """
    stops = numpy.array([value for value, _ in RAMP])
    channels = [
        numpy.floor(numpy.interp(index, stops, [color[channel] for _, color in RAMP]) + 0.5)
        for channel in range(3)
    ]
    return numpy.dstack(channels).astype(numpy.uint8)


def draw_ndvi(index, path):
    """Write a PNG: every pixel of `index` as one pixel at (MARGIN, HEADER), title and legend."""
    height, width = index.shape
    full_width = MARGIN + width + LEGEND_WIDTH
    full_height = HEADER + height + MARGIN
    figure = pyplot.figure(
        figsize=(full_width / DOTS_PER_INCH, full_height / DOTS_PER_INCH), dpi=DOTS_PER_INCH,
        facecolor="#FBFBF9")
    figure.figimage(color_pixels(index), xo=MARGIN, yo=MARGIN, origin="upper")
    ink, muted = "#16201C", "#56625C"
    left = MARGIN / float(full_width)
    figure.text(left, 1 - 36.0 / full_height, "NDVI, Olinda, Brazil", fontsize=19, color=ink,
                va="center")
    figure.text(left, 1 - 64.0 / full_height,
                "Landsat 7 ETM+, bands 3 and 4, resampled to %d × %d pixels; computed by Perigee "
                "in windows of 128 × 128" % (width, height), fontsize=11, color=muted, va="center")
    draw_legend(figure, [
        (MARGIN + width + 34.0) / full_width, (MARGIN + 0.2 * height) / full_height,
        24.0 / full_width, 0.6 * height / full_height], ink, muted)
    figure.savefig(path, dpi=DOTS_PER_INCH, facecolor=figure.get_facecolor())
    pyplot.close(figure)


def draw_legend(figure, place, ink, muted):
    """The ramp from its lowest to its highest stop, with ticks and words, at `place`."""
    lowest, highest = RAMP[0][0], RAMP[-1][0]
    axes = figure.add_axes(place)
    values = numpy.linspace(lowest, highest, 512).reshape(-1, 1)
    axes.imshow(color_pixels(values), aspect="auto", origin="lower",
                extent=[0, 1, lowest, highest])
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_major_locator(FixedLocator([-0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6]))
    axes.tick_params(axis="y", labelsize=11, labelcolor=ink, color=muted, length=4)
    for spine in axes.spines.values():
        spine.set_edgecolor(muted)
        spine.set_linewidth(0.6)
    axes.set_title("NDVI", fontsize=12, color=ink, pad=12)
    for value, word in [(-0.55, "water"), (-0.22, "built"), (-0.02, "bare"), (0.2, "sparse"),
                        (0.5, "dense")]:
        axes.text(3.7, value, word, fontsize=10, color=muted, va="center", style="italic")
