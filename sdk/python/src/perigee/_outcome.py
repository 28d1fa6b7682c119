"""How a task ended, from a record of the completion stream or from the task's JSON document."""
import json
import struct

from perigee._compat import native

STATUSES = ('success', 'exception', 'oom', 'timeout', 'crash', 'cancelled', 'version_mismatch', 'lost')

#: kind, outcome number, batch, index: all that the follower looks at.
RECORD_HEAD = struct.Struct('>BQIH')
#: The same, then status, attempt, runtime in seconds, peak memory and log in bytes, length of the failure's
#: JSON; then, where there is no failure, what `_RESULT_HEAD` is: one call for a success.
_RECORD = struct.Struct('>BQIHBHdQQIBI')
#: Behind the failure: whether a result follows, and its length.
_RESULT_HEAD = struct.Struct('>BI')
_FAILURE_AT = _RECORD.size - _RESULT_HEAD.size


class Outcome(object):
    """The one recorded end of a task.

    Attributes
    ----------
    code : str
        ``success`` or a failure code.
    number : int
        Its place in the completion order of the namespace.
    payload : bytes or None
        The result when it came along; else it has to be fetched, if there is one.
    """

    __slots__ = ('code', 'number', 'attempt', 'runtime_seconds', 'peak_memory_bytes', 'log_bytes',
                 'exception', 'message', 'traceback', 'log_tail', 'node', 'payload')

    @property
    def is_success(self):
        """Whether the function returned."""
        return self.code == 'success'


def outcome_of_record(record):
    """Reads a record of the stream, without its length."""
    outcome = Outcome()
    (_, outcome.number, _, _, status, outcome.attempt, outcome.runtime_seconds,
     outcome.peak_memory_bytes, outcome.log_bytes, failure_bytes, has_result,
     result_bytes) = _RECORD.unpack_from(record)
    position = _RECORD.size
    # A newer coordinator may know more ways to end.
    outcome.code = STATUSES[status] if status < len(STATUSES) else 'status_%d' % status
    if failure_bytes:
        end = _FAILURE_AT + failure_bytes
        _set_failure(outcome, json.loads(record[_FAILURE_AT:end].decode('utf-8')))
        has_result, result_bytes = _RESULT_HEAD.unpack_from(record, end)
        position = end + _RESULT_HEAD.size
    else:
        outcome.exception = outcome.message = outcome.traceback = None
        outcome.log_tail = outcome.node = None
    outcome.payload = record[position:position + result_bytes] if has_result else None
    return outcome


def outcome_of_document(document):
    """Reads the JSON document of a task that is done."""
    outcome = Outcome()
    is_success = document['status'] == 'SUCCESS'
    outcome.code = 'success' if is_success else native(document['code'])
    outcome.number = document.get('outcomeNumber') or 0
    attempts = document.get('attempts') or []
    outcome.attempt = max([attempt.get('attempt') or 0 for attempt in attempts] or [0])
    outcome.runtime_seconds = document.get('runtimeSeconds') or 0.0
    outcome.peak_memory_bytes = document.get('peakMemoryBytes') or 0
    outcome.log_bytes = document.get('logBytes') or 0
    _set_failure(outcome, {} if is_success else document)
    outcome.node = native(document.get('node'))
    outcome.payload = None
    return outcome


def _set_failure(outcome, failure):
    outcome.exception = native(failure.get('exception'))
    outcome.message = native(failure.get('message'))
    outcome.traceback = native(failure.get('traceback'))
    outcome.log_tail = native(failure.get('logTail'))
    outcome.node = native(failure.get('node'))
