"""Requests to the coordinator: a few kept connections, tried again until the mesh is back.

Every call that changes something names its own id (a batch's uuid, a blob's hash) or may be repeated
without harm, so a request whose answer was lost is simply sent again.
"""
import json
import logging
import platform
import random
import sys
import threading
import time
from collections import namedtuple

from perigee._compat import monotonic, to_text
from perigee._connect import Address
from perigee._fork import ForkGuard
from perigee._http import Connection, encode_head
from perigee._lost import ConnectionLost, TimedOut
from perigee._version import __version__
from perigee.errors import PerigeeError, UnreachableError, error_of_problem

_log = logging.getLogger('perigee')

#: Connections kept for the next request.
IDLE_CONNECTIONS_MAX = 4
#: Making a connection.
CONNECT_SECONDS = 10.0
#: Without a byte, a request counts as lost.
SILENCE_SECONDS = 60.0
#: For so long a wait may ask the coordinator, however short its timeout: one that only ever looks would
#: learn nothing else.
LOOK_SECONDS = 1.0
#: First and longest pause between two tries; each is twice the one before, give or take half.
BACKOFF_SECONDS = 0.05
BACKOFF_SECONDS_MAX = 2.0

_RETRIED_STATUSES = (429, 502, 503, 504)
_AGENT = 'perigee-python/%s %s/%s' % (
    __version__, platform.python_implementation(), '.'.join(map(str, sys.version_info[:3])))


#: When a request is given up with `TimedOut`, by `monotonic`, and whether it is given up at the first loss.
Bounds = namedtuple('Bounds', 'deadline tries_once')
UNBOUNDED = Bounds(None, False)


def look_until(deadline):
    """The `Bounds` of a request made on behalf of a wait that ends then."""
    return Bounds(None if deadline is None else max(deadline, monotonic() + LOOK_SECONDS), False)


class Answer(object):
    """A whole answer of the coordinator."""

    __slots__ = ('status', 'headers', 'body')

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        """The body as a JSON value.

        Raises
        ------
        PerigeeError
            It is none.
        """
        try:
            return json.loads(to_text(self.body))
        except ValueError:
            raise PerigeeError('The coordinator answered something that is not JSON.',
                               fix='check that PERIGEE_URL is the address of a Perigee coordinator')


class Transport(object):
    """Talks to one coordinator in the name of one token. Safe to share between threads.

    Parameters
    ----------
    settings : perigee.settings.Settings
    """

    def __init__(self, settings):
        self.settings = settings
        self._address = Address(settings.url, settings.ca_path)
        self._has_answered = False
        self._fork_guard = ForkGuard(self._start_anew)
        self._start_anew()

    def request(self, method, path, body=b'', headers=(), bounds=UNBOUNDED):
        """Sends a request and returns its `Answer`.

        Raises
        ------
        PerigeeError
            The coordinator refused it, or could not be reached for as long as the settings say.
        TimedOut
            The deadline has passed; only where there is one.
        """
        return self.start(method, path, body, headers, bounds).finish()

    def get_json(self, path, bounds=UNBOUNDED):
        """The JSON value that ``GET path`` answers."""
        return self.request('GET', path, bounds=bounds).json()

    def send_json(self, method, path, value):
        """Sends a JSON value; returns the JSON value of the answer, None when it has no body."""
        body = json.dumps(value).encode('utf-8')
        answer = self.request(method, path, body, [('Content-Type', 'application/json')])
        return answer.json() if answer.body else None

    def start(self, method, path, body=b'', headers=(), bounds=UNBOUNDED):
        """Sends a request without waiting for the answer; `Exchange.finish` does."""
        return Exchange(self, method, path, body, headers, bounds)

    def start_stream(self, path, deadline):
        """Asks for ``GET path`` on a connection of its own; returns the `AwaitedStream`.

        Raises
        ------
        ConnectionLost
            Also when the deadline has passed.
        """
        connection = self._connect(deadline)
        try:
            connection.send(self._head('GET', path, b'', ()), b'', _sooner(deadline, SILENCE_SECONDS))
            return AwaitedStream(self, connection, path)
        except TimedOut:
            connection.close()
            raise ConnectionLost('the coordinator fell silent')
        except BaseException:
            connection.close()
            raise

    def close(self):
        """Closes the kept connections; the next request makes a new one."""
        self._fork_guard.enter()
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def retrying(self):
        """A fresh `Retry` by the settings."""
        seconds = self.settings.retry_seconds
        if not self._has_answered:
            seconds = self.settings.first_retry_seconds
        return Retry(self._address, seconds)

    def _start_anew(self):
        self._lock = threading.Lock()
        # A forked child must not speak on its parent's connections, nor end their TLS.
        self._idle = []

    def _take_idle(self):
        self._fork_guard.enter()
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return None

    def _keep(self, connection):
        self._fork_guard.enter()
        with self._lock:
            if len(self._idle) < IDLE_CONNECTIONS_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self, deadline=None):
        return Connection(self._address, _sooner(deadline, CONNECT_SECONDS))

    def _head(self, method, path, body, headers):
        fields = [
            ('Host', self._address.netloc),
            ('Authorization', 'Bearer ' + self.settings.token),
            ('User-Agent', _AGENT),
        ]
        if body or method in ('PUT', 'POST', 'PATCH'):
            fields.append(('Content-Length', str(len(body))))
        fields.extend(headers)
        return encode_head(method, self._address.prefix + path, fields)


class AwaitedStream(object):
    """A stream that was asked for and may not have answered yet."""

    def __init__(self, transport, connection, path):
        self.path = path
        self.connection = connection
        self._transport = transport
        self._lost_at = monotonic() + SILENCE_SECONDS

    def finish(self, deadline):
        """Waits for the answer; returns the `Response`.

        Raises
        ------
        TimedOut
            The deadline has passed: it can be waited for again.
        ConnectionLost, PerigeeError
        """
        until = self._lost_at if deadline is None else min(deadline, self._lost_at)
        try:
            response = self.connection.read_response(until)
            if response.status != 200:
                raise _refusal(Answer(response.status, response.headers,
                                      response.read_all(SILENCE_SECONDS)))
            self._transport._has_answered = True
            return response
        except TimedOut:
            if monotonic() < self._lost_at:
                raise
            self.connection.close()
            raise ConnectionLost('the coordinator fell silent')
        except BaseException:
            self.connection.close()
            raise


class Exchange(object):
    """One request on its way. `finish` must be called, or `abandon`."""

    def __init__(self, transport, method, path, body, headers, bounds=UNBOUNDED):
        self._transport = transport
        self._bounds = bounds
        self._method = method
        self._path = path
        self._body = body
        self._headers = list(headers)
        # What has arrived of an answer that can be gone on with after a cut. Who asks for a part goes on by himself.
        self._resumes = method == 'GET' and 'Range' not in dict(self._headers)
        self._held, self._held_bytes = [], 0
        self._failure = None
        self._connection = None
        try:
            self._connection = self._send(transport._take_idle())
        except ConnectionLost as error:
            self._failure = error

    def finish(self):
        """Waits for the answer, sending the request again as often as that helps.

        Raises
        ------
        PerigeeError
            The coordinator refused the request, or could not be reached.
        TimedOut
        """
        deadline = self._bounds.deadline
        retry = self._retrying()
        while True:
            if self._connection is not None:
                # A kept connection may have been closed meanwhile: that says nothing of the mesh.
                was_kept = self._connection.requests > 1
                held_bytes = self._held_bytes
                try:
                    answer = self._receive()
                    self._transport._has_answered = True
                    if answer.status not in _RETRIED_STATUSES:
                        return _checked(answer)
                    retry.after_refusal(answer, deadline)
                except ConnectionLost as error:
                    if self._held_bytes > held_bytes:
                        # As long as it moves, the line is not given up.
                        retry = self._retrying()
                    elif not was_kept:
                        retry.after_loss(error, deadline)
            else:
                retry.after_loss(self._failure, deadline)
            try:
                self._connection = self._send(None)
            except ConnectionLost as error:
                self._connection, self._failure = None, error

    def abandon(self):
        """Lets go of the answer; whether the request was performed is not known."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _retrying(self):
        return Retry(self._transport._address, 0.0) if self._bounds.tries_once else self._transport.retrying()

    def _silent_at(self, seconds=SILENCE_SECONDS):
        return _sooner(self._bounds.deadline, seconds)

    def _send(self, kept):
        connection = kept
        if connection is not None and connection.has_received():
            connection.close()
            connection = None
        if connection is None:
            connection = self._transport._connect(self._bounds.deadline)
        try:
            connection.send(self._head(), self._body,
                            self._silent_at(SILENCE_SECONDS + len(self._body) / 1e5))
            return connection
        except TimedOut:
            connection.close()
            raise ConnectionLost('the coordinator fell silent')
        except ConnectionLost:
            # It may have answered before it closed, with what it did not like about a long body.
            return connection
        except BaseException:
            connection.close()
            raise

    def _head(self):
        headers = self._headers
        if self._held_bytes:
            headers = headers + [('Range', 'bytes=%d-' % self._held_bytes)]
        return self._transport._head(self._method, self._path, self._body, headers)

    def _read_body(self, response):
        """The whole body: what earlier tries have received, then the rest."""
        if self._resumes and response.status == 206:
            if not response.headers.get('content-range', '').startswith('bytes %d-' % self._held_bytes):
                self._held, self._held_bytes = [], 0
                raise ConnectionLost('the answer is another part than was asked for')
        else:
            self._held, self._held_bytes = [], 0
        if (not self._resumes or response.status not in (200, 206)
                or response.headers.get('accept-ranges') != 'bytes'):
            return response.read_all(SILENCE_SECONDS, self._bounds.deadline)
        while not response.is_done:
            try:
                piece = response.read_some(self._silent_at())
            except TimedOut:
                raise ConnectionLost('the coordinator fell silent')
            self._held.append(piece)
            self._held_bytes += len(piece)
        return b''.join(self._held)

    def _receive(self):
        connection, self._connection = self._connection, None
        try:
            has_body = self._method != 'HEAD'
            response = connection.read_response(self._silent_at(), has_body)
            answer = Answer(response.status, response.headers, self._read_body(response))
        except TimedOut:
            connection.close()
            raise ConnectionLost('the coordinator fell silent')
        except BaseException:
            connection.close()
            raise
        if response.keeps_alive:
            self._transport._keep(connection)
        else:
            connection.close()
        return answer


class Retry(object):
    """Pauses between tries, until there has been no answer for too long."""

    def __init__(self, address, seconds):
        self._address = address
        self._seconds = seconds
        self._since = None
        self._pause_seconds = BACKOFF_SECONDS
        # When the present pause is over.
        self._due_at = None

    def after_loss(self, error, deadline=None):
        """Pauses after a lost connection, until ``deadline`` at most.

        Raises
        ------
        UnreachableError
            It has lasted too long.
        TimedOut
            The deadline has passed.
        """
        if self._is_over():
            raise UnreachableError(
                'The coordinator at %s cannot be reached: %s' % (self._address.netloc, error),
                fix='check PERIGEE_URL, or start a mesh with `scripts/perigee up`')
        self._pause(self._pause_seconds, error, deadline)

    def after_refusal(self, answer, deadline=None):
        """Pauses after a 429 or 5xx answer; raises what it says when that has lasted too long.

        A full queue, or a rate, is waited for without end: the coordinator is well, and says so each
        time.
        """
        refusal = _refusal(answer)
        if refusal.code not in ('queue_full', 'rate_limited') and self._is_over():
            raise refusal
        told = answer.headers.get('retry-after', '')
        self._pause(max(self._pause_seconds, float(told) if told.isdigit() else 0.0), refusal, deadline)

    def _is_over(self):
        if self._since is None:
            self._since = monotonic()
        return monotonic() - self._since >= self._seconds

    def pause(self, deadline=None):
        """The rest of the present pause.

        Raises
        ------
        TimedOut
            The deadline comes first; the rest is for the next time.
        """
        if self._due_at is None:
            return
        seconds = self._due_at - monotonic()
        if deadline is not None and deadline < self._due_at:
            time.sleep(max(deadline - monotonic(), 0.0))
            raise TimedOut()
        time.sleep(max(seconds, 0.0))
        self._due_at = None

    def _pause(self, seconds, reason, deadline=None):
        _log.info('trying again in %.2f s: %s', seconds, reason)
        # Jitter keeps a thousand clients from coming back in step.
        self._due_at = monotonic() + seconds * (0.5 + random.random() / 2)
        self._pause_seconds = min(self._pause_seconds * 2, BACKOFF_SECONDS_MAX)
        self.pause(deadline)


def _checked(answer):
    if answer.status >= 400:
        raise _refusal(answer)
    return answer


def _refusal(answer):
    try:
        problem = json.loads(to_text(answer.body))
    except ValueError:
        problem = {}
    return error_of_problem(answer.status, problem if isinstance(problem, dict) else {})


def _sooner(deadline, seconds):
    own = monotonic() + seconds
    return own if deadline is None else min(own, deadline)
