"""A module such as a user has beside the script: nothing of it is on the node."""
import math
import threading
from collections import namedtuple

import landsat.bands
from landsat import bands as band_table

SCALE = 10000.0
LOCK = threading.Lock()
Window = namedtuple('Window', 'row column')


class Scene(object):
    """By value with its methods, and with what they refer to."""

    def __init__(self, red, nir):
        self.red = red
        self.nir = nir

    def index(self):
        return ratio(self.red, self.nir)


class Masked(Scene):
    def index(self):
        return super(Masked, self).index() + 0.0


def ratio(red, nir):
    return math.floor((nir - red) / float(nir + red) * SCALE) / SCALE


def compute(red, nir):
    """Uses a helper of the same module, a class, a submodule and a constant."""
    return [ratio(red, nir), Masked(red, nir).index(), landsat.bands.number_of('nir'),
            band_table.FIRST]


def locked():
    with LOCK:
        return 1
