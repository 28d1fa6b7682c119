import mmap

import ndvi

FIRST = 1
NUMBERS = {'red': 3, 'nir': 4}
# Cannot be pickled; no task needs it.
GENERATOR = (n for n in ())
MAP = mmap.mmap(-1, 1)


def number_of(name):
    # The two modules refer to each other.
    assert ndvi.SCALE > 0
    return NUMBERS[name]
