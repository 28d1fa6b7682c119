"""What the tasks of `in-task.test.ts` write."""
import numpy

from perigee import errors, imagery

PLACE = {'geotransform': (300000.0, 30.0, 0.0, 9120000.0, 0.0, -30.0), 'crs': 'EPSG:32725', 'nodata': -9999.0}


def f(order):
    return globals()[order]()


def ramp(rows, columns):
    return (numpy.arange(rows * columns, dtype='float64') / (rows * columns - 1)).reshape(rows, columns)


def arrays():
    ndvi = ramp(1100, 1500).astype('float32')
    ndvi[:1, :] = -9999
    imagery.write('ndvi', ndvi, like=PLACE, bands=['ndvi'], datetime='2001-07-10T12:00:00Z',
                  properties={'eo:cloud_cover': 3})
    # As a scene has it: place, nodata and shape of what was read.
    pixels, meta = imagery.read('mem://mine/red.tif', window=(10, 20, 700, 600))
    imagery.write('classes', (pixels[0] // 16).astype('uint8'), like=meta)
    imagery.write('bool', pixels[0] > 100, like=dict(meta, nodata=None))
    array, meta = imagery.ndarray('mem://mine/etm.tif')
    imagery.write('image', array, like=meta, nodata=None)
    imagery.write('four', numpy.stack([pixels[0]] * 4), like=PLACE, nodata=0)
    imagery.write('small', ramp(17, 33).astype('float64'), transform=PLACE['geotransform'], crs='EPSG:32725')
    masked = numpy.ma.masked_less(ramp(300, 200).astype('float32'), 0.5)
    imagery.write('masked', masked, like=PLACE, nodata=float('nan'))
    tile = imagery.tile_from_key('256:0:30.0:25:-27:-4')
    imagery.write('tile', ramp(256, 256).astype('int16'), like=tile)
    imagery.write('turned', ramp(600, 600).astype('float32'), transform=(700000.0, 300.0, 0.0, 100000.0, 0.0, -300.0), crs='EPSG:32660')


def refusals():
    small = ramp(10, 20)
    found = []
    for call in (
        lambda: imagery.write('x', small),
        lambda: imagery.write('x', small, like=dict(PLACE, shape=(1, 11, 20))),
        lambda: imagery.write('x', small.astype('uint8'), like=PLACE),
        lambda: imagery.write('x', small[0], like=PLACE),
        lambda: imagery.write('x', small.astype('S'), like=PLACE),
        lambda: imagery.write('x', small, like=PLACE, crs='nonsense'),
        lambda: imagery.write('x', small, like=PLACE, resampler='max'),
        lambda: imagery.write('x', small, like=PLACE, bands=['a', 'b']),
        lambda: imagery.write('x', numpy.ma.masked_less(small, 0.5), like=PLACE, nodata=None),
    ):
        try:
            call()
            found.append(None)
        except errors.PerigeeError as caught:
            found.append([type(caught).__name__, bool(caught.fix)])
    return found
