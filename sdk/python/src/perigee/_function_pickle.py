"""A function as it is sent: its pickle, and the very cloudpickle that can read it."""
import os
import zipfile
from io import BytesIO

from perigee import _by_value
from perigee._culprit import find_culprit
from perigee._modules import users_roots
from perigee.errors import PicklingError

#: Files are given this date: the zip of one version is the same bytes everywhere.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)

_FUNCTION_FIX = ('make it inside the function, or pass what it is made from (a path, a URL) '
                 'as an argument')
_ARGUMENT_FIX = 'pass what it is made from (a path, a URL), and make it inside the function'

_zips = {}


def pickle_function(function, name, carried=()):
    """The pickle of a callable, with everything of the user's own that it refers to.

    What is of the ``carried`` modules is referred to by its name.

    Raises
    ------
    PicklingError
        Something that it refers to cannot be pickled; names it.
    """
    return _dumps(function, name, 'The function', _FUNCTION_FIX, carried)


def pickle_arguments(args, kwargs, carried=()):
    """The pickle of ``(args, kwargs)``; what is of the ``carried`` modules goes by its name.

    Raises
    ------
    PicklingError
        One of them cannot be pickled; names it.
    """
    call = (args, kwargs)
    try:
        # In C, and enough for nearly all arguments.
        data = _by_value.plain_dumps(call)
    except Exception:
        return _pickle_arguments_by_value(args, kwargs, carried)
    # For each of a million calls, and mostly of none.
    whole = set(name.encode('utf-8') for name in carried) if carried else ()
    for root in users_roots():
        # It may refer to a class that the image cannot import; a chance hit costs only time.
        if root not in whole and root in data:
            return _pickle_arguments_by_value(args, kwargs, carried)
    return data


def cloudpickle_zip():
    """The version of cloudpickle and a zip of its package, the same bytes for the same version."""
    cloudpickle = _by_value.load_cloudpickle()
    version = cloudpickle.__version__
    if version not in _zips:
        _zips[version] = _zip_package('cloudpickle', os.path.dirname(cloudpickle.__file__))
    return version, _zips[version]


def _pickle_arguments_by_value(args, kwargs, carried):
    try:
        return _by_value.dumps((args, kwargs), carried)
    except Exception as error:
        named = [('argument %d' % index, value) for index, value in enumerate(args)]
        named += [("argument '%s'" % name, value) for name, value in sorted(kwargs.items())]
        for name, value in named:
            _dumps(value, name, 'An argument', _ARGUMENT_FIX, carried)
        raise _error('An argument', 'arguments', (args, kwargs), error, _ARGUMENT_FIX)


def _dumps(value, name, what, fix, carried):
    try:
        return _by_value.dumps(value, carried)
    except Exception as error:
        path, culprit = find_culprit(value, name)
        raise _error(what, path, culprit, error, fix)


def _error(what, path, culprit, error, fix):
    kind = type(culprit)
    kind_name = kind.__name__ if kind.__module__ in ('__builtin__', 'builtins') else (
        '%s.%s' % (kind.__module__, kind.__name__))
    return PicklingError(
        '%s cannot be pickled: %s is a %s (%s: %s). Nothing of it was submitted.'
        % (what, path, kind_name, type(error).__name__, error), fix=fix, path=path)


def _zip_package(name, folder):
    stream = BytesIO()
    # Not compressed: another zlib would make other bytes.
    with zipfile.ZipFile(stream, 'w', zipfile.ZIP_STORED) as archive:
        for entry in sorted(os.listdir(folder)):
            if not entry.endswith('.py'):
                continue
            info = zipfile.ZipInfo('%s/%s' % (name, entry), _ZIP_DATE)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            with open(os.path.join(folder, entry), 'rb') as source:
                archive.writestr(info, source.read())
    return stream.getvalue()
