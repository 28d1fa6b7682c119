"""What an output tells of its pixels, in the words of STAC and its extensions (projection, raster)."""
from __future__ import division

import datetime as dates
import math

from perigee._compat import native, string_types
from perigee.errors import BadRequestError

#: Bands whose statistics are told; more would be longer than what may be told.
_STATISTICS_BANDS_MAX = 64
#: Pixels looked at together: their copies as float64 stay small.
_PART_PIXELS = 1 << 20
_COMPLEX = {'complex64': 'cfloat32', 'complex128': 'cfloat64'}


def time_fields(when):
    """``datetime``, or ``start_datetime`` and ``end_datetime``, of a moment, a pair of them or None."""
    if when is None:
        return {}
    if isinstance(when, (tuple, list)):
        if len(when) != 2:
            raise BadRequestError('%r is no pair of times.' % (when,), fix='give one time, or (start, end)')
        return {'datetime': None, 'start_datetime': _moment(when[0]), 'end_datetime': _moment(when[1])}
    return {'datetime': _moment(when)}


def _moment(when):
    if isinstance(when, string_types):
        text = native(when)
        for form in ('%Y-%m-%dT%H:%M:%SZ', '%Y-%m-%dT%H:%M:%S.%fZ', '%Y-%m-%d'):
            try:
                return _format(dates.datetime.strptime(text, form))
            except ValueError:
                continue
        raise BadRequestError('%r is no time.' % text, fix='write 2001-07-10 or 2001-07-10T12:50:00Z (UTC)')
    if isinstance(when, dates.datetime):
        offset = when.utcoffset()
        return _format(when.replace(tzinfo=None) - (offset or dates.timedelta()))
    if isinstance(when, dates.date):
        return _format(dates.datetime(when.year, when.month, when.day))
    raise BadRequestError('%r is no time.' % (when,), fix='give a datetime, a date, or text such as 2001-07-10')


def _format(moment):
    return moment.isoformat() + 'Z'


def asset_fields(array, place, nodata, bands, resampler):
    """Fields of the asset: where its pixels lie, and what each band holds."""
    rows, columns = array.shape[1:]
    transform = place.transform
    corners = [transform * corner for corner in ((0, 0), (columns, 0), (columns, rows), (0, rows))]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    fields = {
        'proj:code': _code_of(place.crs),
        'proj:shape': [rows, columns],
        'proj:transform': [transform.a, transform.b, transform.c, transform.d, transform.e, transform.f],
        'proj:bbox': [min(xs), min(ys), max(xs), max(ys)],
        'raster:bands': [_band_fields(band, place, nodata, len(array)) for band in array],
        'perigee:overview_resampling': resampler,
    }
    if fields['proj:code'] is None and place.crs is not None:
        wkt = _wkt2_of(place.crs)
        if wkt is not None:
            fields['proj:wkt2'] = wkt
    if bands is not None:
        fields['bands'] = [{'name': native(band)} for band in bands]
    return fields


def _code_of(crs):
    if crs is None:
        return None
    number = crs.to_epsg()
    return None if number is None else 'EPSG:%d' % number


def _wkt2_of(crs):
    try:
        return native(crs.to_wkt(version='WKT2_2019'))
    except TypeError:
        return None  # before GDAL 3


def _band_fields(band, place, nodata, count):
    name = str(band.dtype)
    fields = {'data_type': _COMPLEX.get(name, name), 'sampling': 'area'}
    if nodata is not None and band.dtype.kind != 'c':
        fields['nodata'] = _number(nodata)
    if place.crs is not None and place.crs.is_projected and place.transform.b == 0 == place.transform.d:
        if str(getattr(place.crs, 'linear_units', '')).lower() in ('metre', 'meter', 'm'):
            fields['spatial_resolution'] = abs(place.transform.a)
    if band.dtype.kind != 'c' and count <= _STATISTICS_BANDS_MAX:
        fields['statistics'] = find_statistics(band, nodata)
    return fields


def _number(value):
    value = float(value)
    if value != value:
        return 'nan'
    if value in (float('inf'), float('-inf')):
        return 'inf' if value > 0 else '-inf'
    return int(value) if value == int(value) else value


def find_statistics(band, nodata):
    """Of the valid pixels of one band; only how many there are when there are none."""
    import numpy
    rows = max(1, _PART_PIXELS // max(1, band.shape[1]))
    count, mean, spread = 0, 0.0, 0.0
    low, high = None, None
    for start in range(0, band.shape[0], rows):
        part = band[start:start + rows]
        valid = numpy.isfinite(part) if part.dtype.kind == 'f' else numpy.ones(part.shape, bool)
        if nodata is not None and nodata == nodata:
            valid &= part != nodata
        values = part[valid].astype('float64')
        if not values.size:
            continue
        low = float(values.min()) if low is None else min(low, float(values.min()))
        high = float(values.max()) if high is None else max(high, float(values.max()))
        # Chan's way to join the parts' means and spreads.
        own = float(values.mean())
        step = own - mean
        total = count + values.size
        spread += float(((values - own) ** 2).sum()) + step ** 2 * count * values.size / total
        mean += step * values.size / total
        count = total
    found = {'valid_percent': 100.0 * count / band.size}
    if count:
        found.update(minimum=low, maximum=high, mean=mean, stddev=math.sqrt(spread / count))
    return dict((key, value) for key, value in found.items() if value - value == 0)
