"""Pickles by value what the image cannot import: cloudpickle, taught about the user's own modules."""
import io
import threading
import types

from perigee import _modules
from perigee._compat import PY2, pickle
from perigee.errors import PerigeeError

#: Function and image have the same minor version of Python, so the newest protocol is known to both.
PROTOCOL = 2 if PY2 else pickle.HIGHEST_PROTOCOL

#: What a module has that its copy must not take over.
_MODULE_INTERNALS = frozenset(['__builtins__', '__loader__', '__spec__', '__cached__'])
#: Values that need no trial: they always can be pickled, a module as a reference or as a copy.
_NO_TRIAL = (types.ModuleType, str, int, float, bool, type(None))
#: Values that a plain pickle only refers to, and so says nothing about.
_REFERRED_TO = (types.FunctionType, type) + ((types.ClassType,) if PY2 else ())

# cloudpickle's list of modules to pickle by value is one for the whole process.
_lock = threading.RLock()


def dumps(value):
    """The pickle of any value, functions and classes of the user's own modules by value.

    Raises
    ------
    Exception
        Whatever pickling raises; `perigee._culprit` finds out what it was about.
    """
    with _lock:
        return _dumps(value)


def load_cloudpickle():
    """The cloudpickle package; imported late, because a sandbox needs none to import perigee.

    Raises
    ------
    PerigeeError
        It is missing or too old.
    """
    try:
        import cloudpickle
    except ImportError:
        raise PerigeeError('The package cloudpickle is not installed.', code='setup_missing',
                           fix='pip install cloudpickle')
    if not PY2 and not hasattr(cloudpickle, 'register_pickle_by_value'):
        raise PerigeeError('cloudpickle %s is too old.' % cloudpickle.__version__,
                           code='setup_missing', fix='pip install --upgrade cloudpickle')
    return cloudpickle


def _module_copy(module):
    """How a user's module travels: an empty module, and what is in it as its state.

    The state comes after the module has been memoized, so two modules may refer to each other.
    What cannot be pickled (a lock, an open socket) stays behind: no task can use it anyway.
    """
    state = {}
    for name, value in list(vars(module).items()):
        if name not in _MODULE_INTERNALS and (isinstance(value, _NO_TRIAL) or _can_pickle(value)):
            state[name] = value
    return types.ModuleType, (module.__name__,), state


def _can_pickle(value):
    if not isinstance(value, _REFERRED_TO):
        try:
            pickle.dumps(value, PROTOCOL)
            return True
        except Exception:
            # Plain pickle gives up on many things that cloudpickle can do.
            return _can_pickle_by_value(value)
    return _can_pickle_by_value(value)


def _can_pickle_by_value(value):
    # Within a trial the copies of further modules leave out what would need a trial of its own:
    # each module's parts are tried once, when that module itself is copied.
    if getattr(_trial, 'is_under_way', False):
        return False
    _trial.is_under_way = True
    try:
        _dumps(value)
        return True
    except Exception:
        return False
    finally:
        _trial.is_under_way = False


_trial = threading.local()
_made_class = []


def _pickler_class():
    if not _made_class:
        _made_class.append(_make_pickler_class(load_cloudpickle().CloudPickler))
    return _made_class[0]


if PY2:
    def _dumps(value):
        stream = io.BytesIO()
        _pickler_class()(stream, protocol=PROTOCOL).dump(value)
        return stream.getvalue()

    def _make_pickler_class(base):
        # Only the base class of cloudpickle's own decides what is a reference: it has no setting.
        class Pickler(base):
            dispatch = base.dispatch.copy()

            def save_users_function(self, value, name=None):
                if _modules.is_users(value.__module__):
                    return self.save_function_tuple(value)
                return base.dispatch[types.FunctionType](self, value, name)

            def save_users_class(self, value, name=None):
                if name is None and _modules.is_users(getattr(value, '__module__', None)):
                    return self.save_dynamic_class(value)
                return base.dispatch[type](self, value, name)

            def save_users_module(self, value):
                if _modules.is_users(value.__name__):
                    return self.save_reduce(*_module_copy(value), obj=value)
                return base.dispatch[types.ModuleType](self, value)

            # pickle finds the class of a class in no table and calls this by its name.
            save_global = save_users_class
            dispatch[types.FunctionType] = save_users_function
            dispatch[type] = save_users_class
            dispatch[types.ClassType] = save_users_class
            dispatch[types.ModuleType] = save_users_module
        return Pickler
else:
    def _dumps(value):
        cloudpickle = load_cloudpickle()
        # The list of by-value modules is shared with the user's own calls: only what we added goes.
        added = []
        listed = cloudpickle.list_registry_pickle_by_value()
        for module in _modules.users_modules():
            if module.__name__ not in listed:
                cloudpickle.register_pickle_by_value(module)
                added.append(module)
        try:
            stream = io.BytesIO()
            _pickler_class()(stream, protocol=PROTOCOL).dump(value)
            return stream.getvalue()
        finally:
            for module in added:
                cloudpickle.unregister_pickle_by_value(module)

    def _make_pickler_class(base):
        class Pickler(base):
            def reducer_override(self, value):
                if isinstance(value, types.ModuleType) and _modules.is_users(value.__name__):
                    return _module_copy(value)
                return base.reducer_override(self, value)
        return Pickler
