"""Every exception of Perigee. All are `PerigeeError`, with a ``code`` and a ``fix``."""
import sys

from perigee._compat import PY2, native, pickle

if PY2:
    import exceptions as _builtin_module

    class _BuiltinTimeoutError(Exception):
        """Python 2.7 has no TimeoutError of its own."""
else:
    import builtins as _builtin_module

    _BuiltinTimeoutError = TimeoutError

_HAS_NOTES = sys.version_info >= (3, 11)


class PerigeeError(Exception):
    """Base of all errors of Perigee.

    Attributes
    ----------
    code : str
        A stable word for the kind of error; ``docs/errors.md`` lists those of the coordinator.
    message : str
        What happened.
    fix : str or None
        What to do about it.
    details : dict
        What the coordinator said besides, for programs; mostly empty.
    """

    code = 'internal'
    details = {}

    def __init__(self, message, code=None, fix=None):
        # Not by super(): the next class may be UnicodeDecodeError, which wants five arguments.
        Exception.__init__(self, message)
        self.message = native(message)
        self.fix = native(fix)
        if code is not None:
            self.code = native(code)

    def __str__(self):
        if not self.fix:
            return self.message
        return '%s\n  fix: %s' % (self.message, self.fix)

    def __reduce__(self):
        return (_rebuild_error, (type(self), self.message, self.code, self.fix))


class ConfigError(PerigeeError):
    """The address or the token of the mesh is missing, or the config file cannot be trusted."""

    code = 'config'


class AuthError(PerigeeError):
    """The token is missing, wrong, expired or revoked, or may not do that."""

    code = 'forbidden'


class NotFoundError(PerigeeError):
    """There is no such task, group or blob in this namespace."""

    code = 'not_found'


class BadRequestError(PerigeeError):
    """A field of the request is not valid."""

    code = 'invalid_request'


class ConflictError(PerigeeError):
    """The request contradicts what is already recorded."""

    code = 'conflict'


class GroupTerminalException(ConflictError):
    """The group takes no more tasks: it was terminated."""

    code = 'group_terminated'


class ImageUnknownError(PerigeeError):
    """No node, pool or provider of the mesh has that image."""

    code = 'image_unknown'


class BuildError(PerigeeError):
    """An image with the function's requirements could not be built."""

    code = 'build_failed'


class IncludeError(BadRequestError, ValueError):
    """What include_modules or include_data names is not there, or cannot travel."""


class VersionMismatchError(PerigeeError):
    """The function was pickled by another Python than the image runs."""

    code = 'version_mismatch'


class UnsatisfiableError(PerigeeError):
    """No node, pool or provider could ever meet the request."""

    code = 'unsatisfiable'


class TooLargeError(PerigeeError):
    """The payload is over the limit."""

    code = 'too_large'


class WindowError(BadRequestError):
    """A window, box or band that the scene does not have."""


class OutputError(PerigeeError):
    """A file that a task gives out could not be handed to the node, or was not had whole."""

    code = 'unreachable'


class AssetError(PerigeeError):
    """An imagery file could not be had or read; the text names the scene and the window."""

    code = 'asset_invalid'


class AssetNotFoundError(AssetError, NotFoundError):
    """The origin has no such file."""

    code = 'asset_not_found'


class AssetDeniedError(AssetError):
    """The origin, or a rule of the node, refuses the file."""

    code = 'asset_denied'


class AssetUnreachableError(AssetError):
    """The origin could not be read; trying again may help."""

    code = 'asset_unreachable'


class AssetInvalidError(AssetError):
    """It is no file that can be read: not a URI, not a raster, truncated or damaged."""

    code = 'asset_invalid'


class AssetChangedError(AssetError):
    """The file changed at its origin while it was read; no pixels of two versions are mixed."""

    code = 'asset_changed'


class ResultExpiredError(NotFoundError):
    """The task, its result, its arguments or its log is not kept any more."""

    code = 'result_expired'


class RateLimitError(PerigeeError):
    """The mesh holds as many unfinished batches as it may, or the token calls too often."""

    code = 'queue_full'


class ServerError(PerigeeError):
    """The coordinator could not do what was asked."""


class DiskFullError(ServerError):
    """The coordinator's disk, or the node's, has no room; what was accepted is safe."""

    code = 'disk_full'


class UnreachableError(ServerError):
    """The coordinator cannot be reached, after trying again for `PERIGEE_RETRY_SECONDS`."""

    code = 'unreachable'


class PicklingError(PerigeeError, pickle.PicklingError):
    """A function or an argument cannot be pickled. Nothing was submitted of it.

    Attributes
    ----------
    path : str
        Where in the object the culprit is, for example ``hello -> global 'session'``.
    """

    code = 'unpicklable'

    def __init__(self, message, code=None, fix=None, path=''):
        super(PicklingError, self).__init__(message, code, fix)
        self.path = path


class ResultError(PerigeeError):
    """The task succeeded, but its result cannot be decoded here."""

    code = 'result_undecodable'


class TimeoutError(PerigeeError, _BuiltinTimeoutError):  # noqa: A001 - the name that users catch
    """A wait took longer than its ``timeout``. The tasks go on."""

    code = 'timed_out'


class TransientResultException(PerigeeError):
    """The task is not done yet, and the caller did not want to wait."""

    code = 'not_done'


TransientResultError = TransientResultException


class MapError(PerigeeError):
    """Submission failed part-way.

    Attributes
    ----------
    tasks : list of FutureTask
        The tasks that are on disk and will run, in order.
    cause : Exception
        What stopped the submission.
    """

    def __init__(self, message, code=None, fix=None, tasks=(), cause=None):
        super(MapError, self).__init__(message, code, fix)
        self.tasks = list(tasks)
        self.cause = cause


class TaskFailed(PerigeeError):
    """A task ended in failure.

    Where the remote exception is a builtin one, the raised object is an instance of that class
    too, so that ``except KeyError`` works.

    Attributes
    ----------
    code : str
        ``exception``, ``oom``, ``timeout``, ``crash``, ``cancelled``, ``version_mismatch``, ``lost``.
    name : str
        Class name of the remote exception.
    message : str
        Its message.
    traceback : str
        The remote traceback.
    log_tail : str
        The last 4 KiB of the task's output.
    attempts : int
        How many times the task was tried.
    guid, tuid : str
        Ids of the group and the task.
    node : str or None
        The node of the last attempt.
    """

    code = 'exception'

    def __init__(self, fields):
        PerigeeError.__init__(self, fields['message'], fields['code'])
        self.name = fields['name']
        self.traceback = fields['traceback']
        self.log_tail = fields['log_tail']
        self.attempts = fields['attempts']
        self.guid = fields['guid']
        self.tuid = fields['tuid']
        self.node = fields['node']
        # PEP 678: shown below the traceback, without being part of the text.
        if _HAS_NOTES and self.traceback:
            self.add_note('Remote traceback:\n%s' % self.traceback.rstrip())

    def __str__(self):
        head = self.name if not self.message else '%s: %s' % (self.name, self.message)
        tries = 'attempt' if self.attempts == 1 else 'attempts'
        text = '%s (task %s, %s, %d %s)' % (head, self.tuid, self.code, self.attempts, tries)
        if self.traceback and not _HAS_NOTES:
            text += '\nRemote traceback:\n%s' % self.traceback.rstrip()
        return text

    def __reduce__(self):
        return (task_failed, (self.fields(),))

    def fields(self):
        """The attributes as a dict, from which `task_failed` makes an equal exception."""
        return {
            'code': self.code, 'name': self.name, 'message': self.message,
            'traceback': self.traceback, 'log_tail': self.log_tail, 'attempts': self.attempts,
            'guid': self.guid, 'tuid': self.tuid, 'node': self.node,
        }


# A generator that let one of the first two out would end in silence, and a loop over it too. A group
# of exceptions is nothing without them, and they stay where the task ran.
_NEVER_RAISED_AS = ('StopIteration', 'StopAsyncIteration', 'ExceptionGroup')
_combined_classes = {}


def task_failed(fields):
    """A `TaskFailed` that is also an instance of the builtin class of ``fields['name']``."""
    try:
        return _failed_class(fields['name'], fields['code'])(fields)
    except Exception:
        # Not every class, of this Python or of one to come, can be made of what is known here.
        return TaskFailed(fields)


def _failed_class(name, code):
    remote = getattr(_builtin_module, name, None) if code == 'exception' else None
    if not isinstance(remote, type) or not issubclass(remote, Exception) or remote is Exception:
        return TaskFailed
    if name in _NEVER_RAISED_AS:
        return TaskFailed
    if name not in _combined_classes:
        # The builtin's own __init__ and __new__ want arguments of their own shape (OSError,
        # UnicodeDecodeError); the combined class takes only ours.
        members = {'__module__': TaskFailed.__module__, '__init__': TaskFailed.__init__}
        _combined_classes[name] = type('TaskFailed', (TaskFailed, remote), members)
    return _combined_classes[name]


_BY_CODE = {
    'invalid_request': BadRequestError,
    'ambiguous_id': BadRequestError,
    'stac_invalid': BadRequestError,
    'token_missing': AuthError,
    'token_wrong': AuthError,
    'token_expired': AuthError,
    'token_revoked': AuthError,
    'forbidden': AuthError,
    'not_found': NotFoundError,
    'conflict': ConflictError,
    'group_terminated': GroupTerminalException,
    'build_failed': BuildError,
    'image_building': ConflictError,
    'image_unknown': ImageUnknownError,
    'version_mismatch': VersionMismatchError,
    'unsatisfiable': UnsatisfiableError,
    'too_large': TooLargeError,
    'result_expired': ResultExpiredError,
    'queue_full': RateLimitError,
    'rate_limited': RateLimitError,
    'disk_full': DiskFullError,
    'unreachable': UnreachableError,
    'asset_not_found': AssetNotFoundError,
    'asset_denied': AssetDeniedError,
    'asset_unreachable': AssetUnreachableError,
    'asset_invalid': AssetInvalidError,
    'asset_changed': AssetChangedError,
}


def error_of_asset(code, message, fix):
    """The exception for what a node answered to a request for imagery."""
    return _BY_CODE.get(code, PerigeeError)(message, code=code, fix=fix)


def error_of_problem(status, problem):
    """The exception for an ``application/problem+json`` answer.

    Parameters
    ----------
    status : int
        The HTTP status.
    problem : dict
        The decoded body; may lack any field.
    """
    code = native(problem.get('code')) or 'http_%d' % status
    message = problem.get('detail') or problem.get('title') or 'HTTP status %d' % status
    error = _BY_CODE.get(code, ServerError)(message, code=code, fix=problem.get('fix'))
    details = problem.get('details')
    if isinstance(details, dict):
        error.details = details
    return error


def _rebuild_error(error_class, message, code, fix):
    return error_class(message, code=code, fix=fix)
