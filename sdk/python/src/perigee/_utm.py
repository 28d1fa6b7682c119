"""Universal Transverse Mercator on WGS 84, north of the equator and, with negative y, south of it.

Krueger's series to the sixth order (as in Karney, Transverse Mercator with an accuracy of a few
nanometers, 2011): within a zone its error is far below a millimetre.
"""
from __future__ import division

import math

_RADIUS = 6378137.0
_FLATTENING = 1 / 298.257223563
_SCALE = 0.9996
_EASTING = 500000.0
_N = _FLATTENING / (2 - _FLATTENING)
_ECCENTRICITY = math.sqrt(_FLATTENING * (2 - _FLATTENING))
_RECTIFYING = _RADIUS / (1 + _N) * (1 + _N ** 2 / 4 + _N ** 4 / 64 + _N ** 6 / 256)


def _series(*rows):
    """Coefficients in powers of n, from row k's denominator-free fractions that begin at n**k."""
    return [sum(float(top) / bottom * _N ** (order + power)
                for power, (top, bottom) in enumerate(row)) for order, row in enumerate(rows, 1)]


_ALPHA = _series(
    [(1, 2), (-2, 3), (5, 16), (41, 180), (-127, 288), (7891, 37800)],
    [(13, 48), (-3, 5), (557, 1440), (281, 630), (-1983433, 1935360)],
    [(61, 240), (-103, 140), (15061, 26880), (167603, 181440)],
    [(49561, 161280), (-179, 168), (6601661, 7257600)],
    [(34729, 80640), (-3418889, 1995840)],
    [(212378941, 319334400)])
_BETA = _series(
    [(1, 2), (-2, 3), (37, 96), (-1, 360), (-81, 512), (96199, 604800)],
    [(1, 48), (1, 15), (-437, 1440), (46, 105), (-1118711, 3870720)],
    [(17, 480), (-37, 840), (-209, 4480), (5569, 90720)],
    [(4397, 161280), (-11, 504), (-830251, 7257600)],
    [(4583, 161280), (-108847, 3991680)],
    [(20648693, 638668800)])


def to_utm(latitude, longitude, zone):
    """Easting and northing in metres."""
    phi = math.radians(latitude)
    # The nearest way round, so that a place just beyond the antimeridian stays near.
    degrees = (longitude - _central_meridian(zone) + 180.0) % 360.0 - 180.0
    lam = math.radians(degrees)
    tau = math.tan(phi)
    sigma = math.sinh(_ECCENTRICITY * math.atanh(_ECCENTRICITY * math.sin(phi)))
    conformal = tau * math.hypot(1, sigma) - sigma * math.hypot(1, tau)
    xi = math.atan2(conformal, math.cos(lam))
    eta = math.asinh(math.sin(lam) / math.hypot(conformal, math.cos(lam)))
    north, east = xi, eta
    for order, alpha in enumerate(_ALPHA, 1):
        north += alpha * math.sin(2 * order * xi) * math.cosh(2 * order * eta)
        east += alpha * math.cos(2 * order * xi) * math.sinh(2 * order * eta)
    return _EASTING + _SCALE * _RECTIFYING * east, _SCALE * _RECTIFYING * north


def to_latlon(x, y, zone):
    """Latitude and longitude in degrees; the longitude within -180 to 180."""
    xi, eta = y / (_SCALE * _RECTIFYING), (x - _EASTING) / (_SCALE * _RECTIFYING)
    north, east = xi, eta
    for order, beta in enumerate(_BETA, 1):
        north -= beta * math.sin(2 * order * xi) * math.cosh(2 * order * eta)
        east -= beta * math.cos(2 * order * xi) * math.sinh(2 * order * eta)
    conformal = math.sin(north) / math.hypot(math.sinh(east), math.cos(north))
    tau = conformal
    # Newton's method; three steps reach the last bit, the fourth is for the poles.
    for _ in range(4):
        root = math.hypot(1, tau)
        sigma = math.sinh(_ECCENTRICITY * math.atanh(_ECCENTRICITY * tau / root))
        near = tau * math.hypot(1, sigma) - sigma * root
        tau += ((conformal - near) / math.hypot(1, near)
                * (1 + (1 - _ECCENTRICITY ** 2) * tau ** 2)
                / ((1 - _ECCENTRICITY ** 2) * root))
    longitude = math.degrees(math.atan2(math.sinh(east), math.cos(north))) + _central_meridian(zone)
    return math.degrees(math.atan(tau)), (longitude + 180.0) % 360.0 - 180.0


def _central_meridian(zone):
    return zone * 6.0 - 183.0
