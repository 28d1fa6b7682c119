"""Finds out which part of a function or value cannot be pickled, so that the error can name it."""
import types

from perigee import _by_value
from perigee._compat import native

#: Steps from the object down to the culprit.
DEPTH_MAX = 8
#: Parts of one object that are tried.
WIDTH_MAX = 1000


def find_culprit(value, name):
    """Where in a value the innermost part is that cannot be pickled, and that part.

    Parameters
    ----------
    value : object
        It cannot be pickled itself.
    name : str
        What the caller calls it; the path begins with it.

    Returns
    -------
    path : str
        For example ``hello -> global 'session' -> .lock``.
    culprit : object
    """
    path = [name]
    seen = set([id(value)])
    for _ in range(DEPTH_MAX):
        for step, part in _parts(value):
            if id(part) not in seen and not _can_pickle(part):
                seen.add(id(part))
                path.append(step)
                value = part
                break
        else:
            break
    return ' -> '.join(path), value


def _can_pickle(value):
    try:
        _by_value.dumps(value)
        return True
    except Exception:
        return False


def _parts(value):
    """The named parts of an object that its pickle would hold."""
    if isinstance(value, types.MethodType):
        return [('its object', value.__self__), ('its function', value.__func__)]
    if isinstance(value, types.FunctionType):
        return _parts_of_function(value)
    if isinstance(value, dict):
        return [('[%s]' % _short(key), item) for key, item in list(value.items())[:WIDTH_MAX]]
    if isinstance(value, (list, tuple)):
        return [('[%d]' % index, item) for index, item in enumerate(value[:WIDTH_MAX])]
    if isinstance(value, (set, frozenset)):
        return [('an element', item) for item in list(value)[:WIDTH_MAX]]
    if isinstance(value, type):
        return [('.%s' % name, item) for name, item in list(vars(value).items())[:WIDTH_MAX]
                if not name.startswith('__')]
    attributes = getattr(value, '__dict__', None)
    if isinstance(attributes, dict):
        return [('.%s' % name, item) for name, item in list(attributes.items())[:WIDTH_MAX]]
    return []


def _parts_of_function(function):
    parts = []
    cells = function.__closure__ or ()
    for name, cell in zip(function.__code__.co_freevars, cells):
        try:
            parts.append(("enclosed variable '%s'" % name, cell.cell_contents))
        except ValueError:
            # Not assigned yet: there is nothing to pickle.
            continue
    for name in sorted(_names(function.__code__)):
        if name in function.__globals__:
            parts.append(("global '%s'" % name, function.__globals__[name]))
    for index, default in enumerate(function.__defaults__ or ()):
        parts.append(('default %d' % index, default))
    for name, default in sorted((getattr(function, '__kwdefaults__', None) or {}).items()):
        parts.append(("default of '%s'" % name, default))
    for name, item in sorted(vars(function).items()):
        parts.append(('.%s' % name, item))
    return parts


def _names(code):
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names


def _short(key):
    text = native(repr(key))
    return text if len(text) <= 40 else text[:37] + '...'
