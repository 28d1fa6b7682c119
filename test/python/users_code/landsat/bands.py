import ndvi

FIRST = 1
NUMBERS = {'red': 3, 'nir': 4}
# Cannot be pickled; no task needs it.
GENERATOR = (n for n in ())


def number_of(name):
    # The two modules refer to each other.
    assert ndvi.SCALE > 0
    return NUMBERS[name]
