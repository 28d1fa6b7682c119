"""`AsyncTasks`: the entry point. `Client` is the same class by a newer name."""
import base64
import difflib
import importlib
import platform
import re
import threading

from perigee._compat import integer_types, monotonic, native, quote, string_types
from perigee._follower import Follower
from perigee._function_pickle import cloudpickle_zip, pickle_function
from perigee._image_build import await_image, build_image
from perigee._include import collect
from perigee._include_archive import IncludeArchive
from perigee._results import Results
from perigee._submission import Blobs
from perigee._transport import Transport
from perigee.errors import ConflictError, UnsatisfiableError
from perigee.function import CloudFunction
from perigee.settings import load_settings
from perigee.task import FutureTask

#: A function up to this is sent within the request, a larger one as a blob.
INLINE_FUNCTION_BYTES_MAX = 256 * 1024
NAME_CHARS_MAX = 63

#: Parameters of DLRun that mean nothing here: workers come and go by themselves.
_ACCEPTED = ('gpus', 'minimum_concurrency', 'minimum_seconds')
_KNOWN = ('f', 'image', 'name', 'cpus', 'memory', 'maximum_concurrency', 'task_timeout', 'retry_count',
          'network', 'environment', 'priority', 'queue_timeout', 'isolation', 'result_format',
          'requirements', 'include_modules', 'include_data', 'build_timeout') + _ACCEPTED


class AsyncTasks(object):
    """A client of one mesh.

    Parameters
    ----------
    url : str, optional
        Of the coordinator; by default ``PERIGEE_URL``, else the config file's.
    token : str, optional
        By default ``PERIGEE_TOKEN``, else the config file's.
    auth, retries : optional
        Taken for the sake of old scripts, and not used.

    Raises
    ------
    ConfigError
        No mesh is known, or the config file can be read by others.

    Examples
    --------
    >>> at = AsyncTasks()                                           # doctest: +SKIP
    >>> hello = at.create_function(lambda i: 'hello %d' % i)        # doctest: +SKIP
    >>> hello(5).result                                             # doctest: +SKIP
    'hello 5'
    """

    _function_class = CloudFunction
    _future_class = FutureTask

    def __init__(self, url=None, token=None, auth=None, retries=None):
        self._transport = Transport(load_settings(url, token))
        self._follower = Follower(self._transport)
        self._results = Results(self._transport)
        self._blobs = Blobs(self._transport)
        # Of the functions made or found here, by group id: what a progress line calls their tasks.
        self._names = {}
        # By group id, the modules that its workers can import: arguments refer to them.
        self._carried = {}

    @property
    def url(self):
        """Of the coordinator."""
        return self._transport.settings.url

    def create_namespace(self):
        """Makes sure that the token's own namespace is there; harmless to repeat.

        Returns
        -------
        bool
            True.
        """
        name = native(self._transport.get_json('/v1/whoami')['namespace'])
        self._transport.request('PUT', '/v1/namespaces/' + quote(name, safe=''))
        return True

    def create_function(self, f, image=None, name=None, cpus=1, memory='2Gi',
                        maximum_concurrency=None, task_timeout=1800, retry_count=0, network=False,
                        environment=None, priority=0, queue_timeout=None, isolation='worker',
                        result_format='pickle', requirements=None, include_modules=None,
                        include_data=None, build_timeout=None, **kwargs):
        """Puts a function on the mesh.

        It is pickled by value with everything of your own that it refers to: globals, helper
        functions, classes, your own modules. Changes made later are not seen. What only an
        ``import`` inside of it refers to travels when ``include_modules`` names it.

        Parameters
        ----------
        f : callable or str
            A function, or its dotted name, for example ``'ndvi.main'``.
        image : str, optional
            The environment it runs in. By default one with this interpreter: for Python 2.7 the
            geospatial one. The names that DLRun knew work too. A registry's reference, for example
            ``docker.io/library/python:3.11-slim``, is brought in, with a log on standard error.
        name : str, optional
            For people; at most 63 characters. By default the function's own.
        cpus : float
            Cores for each task.
        memory : str or int
            For each task: bytes, or a text with ``Mi``, ``Gi``, ``MB`` or ``GB``. A task that takes
            more ends as ``oom``.
        maximum_concurrency : int, optional
            Tasks of the group that run at once, on the whole mesh. By default no limit.
        task_timeout : float
            Seconds; a task that takes longer is killed and ends as ``timeout``.
        retry_count : int
            How often a task is tried again after an exception, a timeout or a crash.
        network : bool
            Whether the function may use the network, where the namespace may.
        environment : dict, optional
            Environment variables, text to text.
        priority : int
            Larger goes first within the namespace.
        queue_timeout : float, optional
            Seconds that a task may wait in the queue before it ends as ``timeout``.
        isolation : str
            ``'worker'``: tasks run one after another in a warm process and share its globals and
            ``/tmp``. ``'task'``: every task has a process and a ``/tmp`` of its own.
        result_format : str
            ``'pickle'``, or ``'json'`` to refuse results that are not plain data: then a hostile
            node cannot run code here.
        requirements : list of str or path, optional
            Packages of the package index that the function needs besides the image's, as lines of a
            requirements file, or the path of one. An image with them is built once by the
            coordinator, with a log on standard error; the same set is there at once afterwards.
        include_modules : list of str or module, optional
            Modules and packages of your own, by name, with everything in their folders: they can be
            imported in the task, and what refers to them is pickled as a reference.
        include_data : list of str or path, optional
            Files, folders and patterns (``*``, ``?``, ``[...]``, ``**``). In the task they are at the
            same relative paths, below the folder that it starts in and for `perigee.include_path`.
        build_timeout : float, optional
            Seconds to wait for an image that is being built or brought in; by default without end.
            It is made all the same, and the next call finds it.
        **kwargs
            ``gpus=0``, ``minimum_concurrency`` and ``minimum_seconds`` are taken for the sake of
            old scripts.

        Returns
        -------
        CloudFunction

        Raises
        ------
        BuildError
            The image could not be built or brought in; in pip's or the registry's own words.
        IncludeError
            What is to be included is not there, or cannot travel; names it.
        TimeoutError
            ``build_timeout`` has passed.
        PicklingError
            The function refers to something that cannot be pickled; names it.
        ImageUnknownError, VersionMismatchError, UnsatisfiableError
            The mesh could never run it; the error says what to change.
        TypeError
            A parameter is not known, or ``f`` cannot be called.
        """
        _check_extra(kwargs)
        if isinstance(f, string_types):
            f = _find_function(f)
        if not callable(f):
            raise TypeError('create_function takes a function, not a %s' % type(f).__name__)
        name = native(name) if name else _name_of(f)
        request = {
            'name': name,
            'image': native(image) if image else None,
            'python': {'implementation': platform.python_implementation(),
                       'version': platform.python_version()},
            'cpus': cpus,
            'taskTimeoutSeconds': task_timeout,
            'retryCount': retry_count,
            'priority': priority,
            'isolation': isolation,
            'network': bool(network),
            'environment': _checked_environment(environment),
            'resultFormat': result_format,
        }
        if isinstance(memory, integer_types):
            request['memoryBytes'] = memory
        else:
            request['memory'] = memory
        if maximum_concurrency is not None:
            request['maximumConcurrency'] = maximum_concurrency
        if queue_timeout is not None:
            request['queueTimeoutSeconds'] = queue_timeout
        include = collect(include_modules, include_data)
        carried = tuple(include.modules) if include else ()
        deadline = None if build_timeout is None else monotonic() + build_timeout
        if requirements:
            request['image'] = build_image(self._transport, requirements, image, deadline)
        # Last, when all else is right: pickling and its blobs cost the most.
        request['function'] = self._send_function(pickle_function(f, name, carried))
        version, archive = cloudpickle_zip()
        request['cloudpickle'] = {'version': version, 'blob': self._blobs.put(archive)}
        if include is not None:
            request['include'] = {'blob': self._blobs.put_archive(IncludeArchive(include.files)),
                                  'modules': include.modules, 'arch': include.arch}
        group = self._post_group(request, deadline)
        self._carried[native(group['id'])] = carried
        return self._function_class(group['id'], name=group.get('name', name), client=self,
                                    retry_count=retry_count)

    def get_function_by_id(self, group_id):
        """The function of a group that exists already.

        Raises
        ------
        NotFoundError
            There is no such group in this namespace.
        """
        group = self._transport.get_json('/v1/groups/' + quote(native(group_id), safe=''))
        group = group.get('group', group)
        include = group.get('include') or {}
        self._carried[native(group['id'])] = tuple(map(native, include.get('modules') or ()))
        return self._function_class(group['id'], name=group['name'], client=self,
                                    retry_count=group.get('retryCount') or 0)

    def get_task(self, guid, tuid):
        """A `FutureTask` by its ids."""
        return self._future_class(guid, tuid, client=self)

    def wait_for_completion(self, group_id, show_progress=False, timeout=None):
        """See `CloudFunction.wait_for_completion`."""
        self.get_function_by_id(group_id).wait_for_completion(show_progress, timeout)

    def terminate_function(self, group_id, drain=False):
        """See `CloudFunction.terminate`."""
        self.get_function_by_id(group_id).terminate(drain)

    def close(self):
        """Closes the connections; a later call opens them again."""
        self._follower.close()
        self._transport.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def __repr__(self):
        return '%s(url=%r)' % (type(self).__name__, self.url)

    def _post_group(self, request, deadline):
        while True:
            try:
                group = self._transport.send_json('POST', '/v1/groups', request)
                return group.get('group', group)
            except ConflictError as error:
                if error.code != 'image_building' or 'digest' not in error.details:
                    raise
                await_image(self._transport, native(error.details['digest']), deadline)

    def _send_function(self, data):
        if len(data) > INLINE_FUNCTION_BYTES_MAX:
            return {'kind': 'pickle', 'blob': self._blobs.put(data)}
        return {'kind': 'pickle', 'inline': native(base64.b64encode(data))}


Client = AsyncTasks

_default = {}
_default_lock = threading.Lock()


def default_client(client_class=AsyncTasks):
    """The client that the environment describes, one for the whole process.

    Raises
    ------
    ConfigError
        It describes none.
    """
    with _default_lock:
        if client_class not in _default:
            _default[client_class] = client_class()
        return _default[client_class]


def _check_extra(kwargs):
    for name in sorted(kwargs):
        if name not in _ACCEPTED:
            near = difflib.get_close_matches(name, _KNOWN, 1)
            hint = '; did you mean %r?' % near[0] if near else ''
            raise TypeError('create_function got an unknown parameter %r%s' % (name, hint))
    if kwargs.get('gpus'):
        raise UnsatisfiableError('No node of this mesh offers gpus.', fix='leave out gpus, or set it to 0')


def _find_function(dotted_name):
    module_name, _, rest = dotted_name.rpartition('.')
    while module_name:
        try:
            value = importlib.import_module(module_name)
        except ImportError:
            module_name, _, more = module_name.rpartition('.')
            rest = '%s.%s' % (more, rest)
            continue
        try:
            for part in rest.split('.'):
                value = getattr(value, part)
        except AttributeError:
            break
        return value
    raise NameError('%r cannot be found; it is the dotted name of a function, for example '
                    "'ndvi.main'" % dotted_name)


def _name_of(function):
    name = getattr(function, '__name__', None) or type(function).__name__
    return re.sub(r'[^A-Za-z0-9_.-]+', '', name)[:NAME_CHARS_MAX] or 'function'


def _checked_environment(environment):
    checked = {}
    for name, value in (environment or {}).items():
        if not isinstance(name, string_types) or not isinstance(value, string_types):
            raise TypeError('environment maps text to text; %r is %r' % (name, value))
        checked[native(name)] = native(value)
    return checked
