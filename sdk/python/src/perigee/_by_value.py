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
#: Of the pickle that is being made.
_carried = ()


def dumps(value, carried=()):
    """The pickle of any value, functions and classes of the user's own modules by value.

    Parameters
    ----------
    value
    carried : sequence of str
        Names of the user's own modules that the reader can import: they go by reference.

    Raises
    ------
    Exception
        Whatever pickling raises; `perigee._culprit` finds out what it was about.
    """
    global _carried
    with _lock:
        _carried = carried
        try:
            return _dumps(value)
        finally:
            _carried = ()


def _goes_by_value(name):
    return _modules.is_users(name) and not (_carried and _modules.is_carried(name, _carried))


def _names_emptied(data):
    # Its own loop: `any` over a generator costs twice what the pickling of a number does.
    for mark in _EMPTIED_MARKS:
        if mark in data:
            return True
    return False


def plain_dumps(value):
    """The pickle of a value by pickle itself, in C.

    Raises
    ------
    Exception
        Whatever pickling raises, or the value may be one that it would send without its content;
        `dumps` can tell.
    """
    data = pickle.dumps(value, PROTOCOL)
    if PY2 and _names_emptied(data):
        raise pickle.PicklingError('it may hold what has no content of its own')
    return data


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
            plain_dumps(value)
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
    #: How pickles refer to the classes of which pickle in C would send no content; see `_is_emptied`.
    _EMPTIED_MARKS = (b'c_socket\nsocket\n', b'csqlite3\nConnection\n', b'csqlite3\nCursor\n',
                      b'cselect\nepoll\n', b'cmmap\nmmap\n', b'c_ssl\n_SSLContext\n',
                      b'cssl\nSSLContext\n', b'cthread\n_local\n')
    #: Of type.__flags__: the class was made by a class statement.
    _HEAP_TYPE = 1 << 9
    #: Classes in C whose content pickle sends all the same, or that have none.
    _SENT_WHOLE = (object, list, dict)

    def _is_emptied(args):
        """Whether pickle would send an object as its bare class, without the content that C keeps of it.

        Python 2 does so with sockets, database connections and the like: they would arrive dead.
        """
        cls = args[0]
        if len(args) > 1 or cls.__reduce__ is not object.__reduce__:
            return False
        if hasattr(cls, '__getstate__') or hasattr(cls, '__setstate__'):
            return False
        return next(base for base in cls.__mro__ if not base.__flags__ & _HEAP_TYPE) not in _SENT_WHOLE

    def _dumps(value):
        stream = io.BytesIO()
        _pickler_class()(stream, protocol=PROTOCOL).dump(value)
        return stream.getvalue()

    def _make_pickler_class(base):
        # Only the base class of cloudpickle's own decides what is a reference: it has no setting.
        class Pickler(base):
            dispatch = base.dispatch.copy()

            def save_users_function(self, value, name=None):
                if _goes_by_value(value.__module__):
                    return self.save_function_tuple(value)
                return base.dispatch[types.FunctionType](self, value, name)

            def save_users_class(self, value, name=None):
                if name is None and _goes_by_value(getattr(value, '__module__', None)):
                    return self.save_dynamic_class(value)
                return base.dispatch[type](self, value, name)

            def save_users_module(self, value):
                if _goes_by_value(value.__name__):
                    return self.save_reduce(*_module_copy(value), obj=value)
                return base.dispatch[types.ModuleType](self, value)

            def save_reduce(self, func, args, *rest, **named):
                if getattr(func, '__name__', '') == '__newobj__' and _is_emptied(args):
                    raise pickle.PicklingError("can't pickle %s objects" % args[0].__name__)
                return base.save_reduce(self, func, args, *rest, **named)

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
            if module.__name__ not in listed and _goes_by_value(module.__name__):
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
                if isinstance(value, types.ModuleType) and _goes_by_value(value.__name__):
                    return _module_copy(value)
                return base.reducer_override(self, value)
        return Pickler
