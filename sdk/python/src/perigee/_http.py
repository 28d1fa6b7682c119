"""HTTP/1.1 over one socket, by hand: Python 2.7's httplib takes eight times as long for a request.

Sockets never block. Every wait goes through `wait_for`, so that deadlines hold and Ctrl-C ends it.
"""
import errno
import socket

from perigee._body import ChunkedDecoder, LengthDecoder
from perigee._compat import PY2, monotonic, native, to_bytes
from perigee._connect import connect, tls_want
from perigee._lost import ConnectionLost, TimedOut
from perigee._wakeup import wait_for
from perigee.errors import PerigeeError

#: Of an answer's head; a longer one is not HTTP.
HEAD_BYTES_MAX = 64 * 1024
#: Read at once from the socket.
READ_BYTES = 256 * 1024
#: Written at once: a larger piece would only be cut by the kernel.
WRITE_BYTES = 256 * 1024

_WOULD_BLOCK = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)


class Connection(object):
    """One keep-alive connection; serves one exchange at a time.

    Raises
    ------
    ConnectionLost
        From every method, when the connection is of no use any more.
    TimedOut
        From every method that takes a deadline, when that has passed.
    """

    def __init__(self, address, deadline):
        self.requests = 0
        self._received = b''
        self._socket = None
        self._socket = connect(address, deadline)

    def __del__(self):
        # A client that nobody closed: its sockets go with it, without a warning.
        if self._socket is not None:
            self.close()

    def fileno(self):
        """The descriptor of the socket."""
        return self._socket.fileno()

    def close(self):
        """Ends the connection; harmless to repeat."""
        try:
            self._socket.close()
        except (socket.error, OSError):
            return

    def send(self, head, body, deadline):
        """Writes a request whole; the body is bytes, or what gives its bytes in pieces."""
        self.requests += 1
        if not isinstance(body, (bytes, bytearray, memoryview)):
            self._send_bytes(head, deadline)
            for piece in body:
                self._send_bytes(piece, deadline)
            return
        # A small body goes out in one packet with its head.
        if len(body) <= WRITE_BYTES:
            self._send_bytes(head + bytes(body), deadline)
        else:
            self._send_bytes(head, deadline)
            self._send_bytes(body, deadline)

    def read_response(self, deadline, has_body=True):
        """Reads the head of an answer; returns a `Response` whose body is still to be read.

        The answer to HEAD has none, whatever length it names.
        """
        while True:
            end = self._received.find(b'\r\n\r\n')
            if end >= 0:
                break
            if len(self._received) > HEAD_BYTES_MAX:
                raise ConnectionLost('the answer is not HTTP')
            self._received += self._read_some(deadline)
        head, self._received = self._received[:end], self._received[end + 4:]
        status, headers = _parse_head(head)
        if 100 <= status < 200:
            return self.read_response(deadline, has_body)
        return Response(self, status, headers, has_body)

    def read(self, deadline, waker=None):
        """Some bytes that have arrived; empty bytes when the waker ended the wait."""
        if self._received:
            data, self._received = self._received, b''
            return data
        return self._read_some(deadline, waker)

    def give_back(self, data):
        """Puts back bytes that belong to the next answer."""
        self._received = data + self._received

    def has_received(self):
        """Whether something has arrived that nobody has read; an idle connection has nothing."""
        return bool(self._received) or bool(wait_for([self.fileno()], [], 0))

    def _send_bytes(self, data, deadline):
        view = memoryview(data)
        position = 0
        while position < len(view):
            # Python 2.7's ssl cannot take a memoryview.
            piece = view[position:position + WRITE_BYTES]
            sent = self._attempt(self._socket.send, piece.tobytes() if PY2 else piece)
            if sent is None:
                self._wait(deadline, writing=True)
            else:
                position += sent

    def _read_some(self, deadline, waker=None):
        while True:
            data = self._attempt(self._socket.recv, READ_BYTES)
            if data is not None:
                if not data:
                    raise ConnectionLost('the coordinator closed the connection')
                return data
            if not self._wait(deadline, waker=waker):
                return b''

    def _attempt(self, call, argument):
        """The call's result, or None when the socket is not ready for it."""
        try:
            return call(argument)
        except (socket.error, OSError) as error:
            self._want = tls_want(error)
            if self._want is None and error.args and error.args[0] not in _WOULD_BLOCK:
                raise ConnectionLost(str(error))
            return None

    def _wait(self, deadline, writing=False, waker=None):
        """Waits until the socket is ready; False when the waker was woken instead."""
        # TLS may have to read in order to write, and the other way round.
        writing = writing if self._want is None else self._want == 'write'
        descriptor = self.fileno()
        readable = [] if writing else [descriptor]
        if waker is not None:
            readable.append(waker.fileno())
        seconds = None if deadline is None else deadline - monotonic()
        if seconds is not None and seconds <= 0:
            raise TimedOut()
        ready = wait_for(readable, [descriptor] if writing else [], seconds)
        if waker is not None and waker.fileno() in ready:
            waker.clear()
            return descriptor in ready
        return True

    _want = None


class Response(object):
    """An answer whose body is read in pieces."""

    def __init__(self, connection, status, headers, has_body=True):
        self.status = status
        self.headers = headers
        self._connection = connection
        if status in (204, 304) or not has_body:
            self._decoder = LengthDecoder(0)
        elif 'chunked' in headers.get('transfer-encoding', ''):
            self._decoder = ChunkedDecoder()
        elif 'content-length' in headers:
            self._decoder = LengthDecoder(_content_length(headers))
        else:
            raise ConnectionLost('the answer has no length')

    @property
    def is_done(self):
        """Whether the body has been read to its end."""
        return self._decoder.is_done

    @property
    def keeps_alive(self):
        """Whether the connection may serve another exchange."""
        return self._decoder.is_done and self.headers.get('connection', '').lower() != 'close'

    def read_some(self, deadline, waker=None):
        """Bytes of the body as they arrive; may be empty before its end."""
        if self._decoder.is_done:
            return b''
        data = self._decoder.feed(self._connection.read(deadline, waker))
        if self._decoder.is_done and self._decoder.rest:
            self._connection.give_back(self._decoder.rest)
        return data

    def read_all(self, silence_seconds, deadline=None):
        """The rest of the body; `ConnectionLost` when nothing arrives for that long, or by the deadline."""
        pieces = []
        while not self._decoder.is_done:
            try:
                silent_at = monotonic() + silence_seconds
                pieces.append(self.read_some(silent_at if deadline is None else min(silent_at, deadline)))
            except TimedOut:
                raise ConnectionLost('the coordinator fell silent')
        return b''.join(pieces)


def encode_head(method, target, headers):
    """The head of a request as bytes.

    Parameters
    ----------
    headers : sequence of (str, str)
        In the order in which they are sent.
    """
    lines = ['%s %s HTTP/1.1' % (method, target)]
    for name, value in headers:
        # A line end inside a value would begin a header of its own.
        if '\r' in value or '\n' in value:
            raise PerigeeError('The value of header %s holds a line end.' % name, code='invalid_request')
        lines.append('%s: %s' % (name, value))
    return to_bytes('\r\n'.join(lines) + '\r\n\r\n')


def _parse_head(head):
    lines = native(head.decode('latin-1')).split('\r\n')
    words = lines[0].split(' ', 2)
    if len(words) < 2 or not words[0].startswith('HTTP/1.') or not words[1].isdigit():
        raise ConnectionLost('the answer is not HTTP')
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(':')
        headers[name.strip().lower()] = value.strip()
    return int(words[1]), headers


def _content_length(headers):
    text = headers['content-length']
    if not text.isdigit():
        raise ConnectionLost('the answer has no length')
    return int(text)
