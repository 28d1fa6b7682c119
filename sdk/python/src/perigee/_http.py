"""HTTP/1.1 over one socket, by hand: Python 2.7's httplib takes eight times as long for a request.

Sockets never block. Every wait goes through `wait_for`, so that deadlines hold and Ctrl-C ends it.
"""
import errno
import socket

from perigee._compat import PY2, monotonic, native, to_bytes, urlsplit
from perigee._wakeup import wait_for
from perigee.errors import ConfigError, PerigeeError

#: Of an answer's head; a longer one is not HTTP.
HEAD_BYTES_MAX = 64 * 1024
#: Read at once from the socket.
READ_BYTES = 256 * 1024
#: Written at once: a larger piece would only be cut by the kernel.
WRITE_BYTES = 256 * 1024

_WOULD_BLOCK = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)


class ConnectionLost(Exception):
    """The connection broke, could not be made, or fell silent. Never leaves the package."""


class TimedOut(Exception):
    """The caller's own deadline has passed. Never leaves the package."""


class Address(object):
    """Where the coordinator listens.

    Raises
    ------
    ConfigError
        The text is not an http or https URL.
    """

    def __init__(self, url, ca_path=None):
        parts = urlsplit(native(url))
        if parts.scheme not in ('http', 'https') or not parts.hostname:
            raise ConfigError('%r is not the URL of a coordinator.' % native(url),
                              fix='set PERIGEE_URL to something like http://127.0.0.1:7480')
        self.is_tls = parts.scheme == 'https'
        self.host = parts.hostname
        self.port = parts.port or (443 if self.is_tls else 80)
        self.prefix = parts.path.rstrip('/')
        self.netloc = parts.netloc.rpartition('@')[2]
        self._ca_path = ca_path
        self._context = None

    def tls_context(self):
        """Verifies the server's certificate and name; made once."""
        if self._context is None:
            # Not at the top: a sandbox, which never connects, should not pay for it.
            import ssl
            try:
                self._context = ssl.create_default_context(cafile=self._ca_path)
                # Python 2.7 cannot match addresses: `_check_name` does what it leaves out.
                self._context.check_hostname = not PY2
            except (IOError, OSError) as error:
                raise ConfigError('PERIGEE_CA %s cannot be read: %s' % (self._ca_path, error),
                                  fix='name a file of PEM certificates')
        return self._context


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
        self._socket = _connect(address, deadline)

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
        """Writes a request whole."""
        self.requests += 1
        # A small body goes out in one packet with its head.
        if len(body) <= WRITE_BYTES:
            self._send_bytes(head + bytes(body), deadline)
        else:
            self._send_bytes(head, deadline)
            self._send_bytes(body, deadline)

    def read_response(self, deadline):
        """Reads the head of an answer; returns a `Response` whose body is still to be read."""
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
            return self.read_response(deadline)
        return Response(self, status, headers)

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
            self._want = _tls_want(error)
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

    def __init__(self, connection, status, headers):
        self.status = status
        self.headers = headers
        self._connection = connection
        if status in (204, 304):
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

    def read_all(self, silence_seconds):
        """The rest of the body; `ConnectionLost` when nothing arrives for that long."""
        pieces = []
        while not self._decoder.is_done:
            try:
                pieces.append(self.read_some(monotonic() + silence_seconds))
            except TimedOut:
                raise ConnectionLost('the coordinator fell silent')
        return b''.join(pieces)

    def skip_body(self):
        """Says that there is none: the answer to HEAD names the length of a body that never comes."""
        self._decoder = LengthDecoder(0)


class LengthDecoder(object):
    """A body of known length."""

    def __init__(self, length):
        self._left = length
        self.is_done = length == 0
        self.rest = b''

    def feed(self, data):
        """The part of ``data`` that is body."""
        if len(data) > self._left:
            self.rest = data[self._left:]
            data = data[:self._left]
        self._left -= len(data)
        self.is_done = self._left == 0
        return data


class ChunkedDecoder(object):
    """A chunked body (RFC 9112, 7.1); extensions and trailers are passed over."""

    def __init__(self):
        self.is_done = False
        self.rest = b''
        self._pending = b''
        # Bytes of the current chunk still to come, with the line end behind it.
        self._chunk_left = 0

    def feed(self, data):
        """The part of ``data`` that is body."""
        pieces = []
        data = self._pending + data if self._pending else data
        self._pending = b''
        position = 0
        while position < len(data) and not self.is_done:
            if self._chunk_left > 0:
                end = position + self._chunk_left
                body_end = min(end - 2, len(data))
                if body_end > position:
                    pieces.append(data[position:body_end])
                self._chunk_left = max(0, end - len(data))
                position = min(end, len(data))
                continue
            line_end = data.find(b'\r\n', position)
            if line_end < 0:
                if len(data) - position > HEAD_BYTES_MAX:
                    raise ConnectionLost('a chunk has no size')
                self._pending = data[position:]
                break
            position = self._begin_chunk(data, position, line_end)
            if position is None:
                break
        return b''.join(pieces)

    def _begin_chunk(self, data, position, line_end):
        try:
            size = int(data[position:line_end].split(b';')[0].strip(), 16)
        except ValueError:
            raise ConnectionLost('a chunk has no size')
        if size > 0:
            self._chunk_left = size + 2
            return line_end + 2
        # The last chunk: an empty line ends the trailers, which may not all be here yet.
        trailers_end = data.find(b'\r\n\r\n', line_end)
        if data[line_end + 2:line_end + 4] == b'\r\n':
            trailers_end = line_end
        if trailers_end < 0:
            self._pending = data[position:]
            return None
        self.is_done = True
        self.rest = data[trailers_end + 4:]
        return len(data)


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


def _connect(address, deadline):
    failure = None
    try:
        places = socket.getaddrinfo(address.host, address.port, 0, socket.SOCK_STREAM)
    except (socket.error, OSError) as error:
        raise ConnectionLost('%s cannot be resolved: %s' % (address.host, error))
    for family, kind, protocol, _, place in places:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _finish_connect(sock, place, deadline)
            return _start_tls(sock, address, deadline) if address.is_tls else sock
        except (socket.error, OSError) as error:
            failure = error
            sock.close()
        except BaseException:
            sock.close()
            raise
    raise ConnectionLost('%s:%d: %s' % (address.host, address.port, failure))


def _finish_connect(sock, place, deadline):
    code = sock.connect_ex(place)
    while code in (errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK, errno.EINTR):
        seconds = deadline - monotonic()
        if seconds <= 0:
            raise socket.error(errno.ETIMEDOUT, 'timed out')
        if wait_for([], [sock.fileno()], seconds):
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            break
    if code:
        raise socket.error(code, errno.errorcode.get(code, str(code)))


def _start_tls(sock, address, deadline):
    import ssl
    secured = address.tls_context().wrap_socket(
        sock, server_hostname=address.host, do_handshake_on_connect=False)
    try:
        while True:
            try:
                secured.do_handshake()
                if PY2:
                    _check_name(secured.getpeercert(), address.host)
                return secured
            except (ssl.SSLError, ssl.CertificateError) as error:
                want = _tls_want(error)
                if want is None:
                    raise _tls_refusal(address, error)
            seconds = deadline - monotonic()
            if seconds <= 0:
                raise socket.error(errno.ETIMEDOUT, 'timed out')
            descriptor = [secured.fileno()]
            wait_for(descriptor if want == 'read' else [], descriptor if want == 'write' else [],
                     seconds)
    except BaseException:
        secured.close()
        raise


def _check_name(certificate, host):
    """Python 2.7 only: as `ssl.match_hostname`, which there knows names but no addresses."""
    import ssl
    packed = _packed_address(host)
    if packed is None:
        ssl.match_hostname(certificate, host)
        return
    named = [value for kind, value in certificate.get('subjectAltName', ()) if kind == 'IP Address']
    if packed not in [_packed_address(value.strip()) for value in named]:
        raise ssl.CertificateError("address %r doesn't match any of %s" % (host, named))


def _packed_address(text):
    """An IP address as bytes; None when it is none."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, text)
        except (socket.error, OSError):
            continue
    return None


def _tls_refusal(address, error):
    """A certificate that does not verify will not do so later either; all else may be the network."""
    text = str(error)
    if 'CERTIFICATE_VERIFY_FAILED' not in text and "doesn't match" not in text:
        return ConnectionLost(text)
    return ConfigError('The certificate of %s cannot be trusted: %s' % (address.netloc, text),
                       code='certificate',
                       fix='set PERIGEE_CA to the file of the authority that signed it')


def _tls_want(error):
    """``read`` or ``write`` when TLS waits for that; None for every other error."""
    name = type(error).__name__
    if name == 'SSLWantReadError':
        return 'read'
    if name == 'SSLWantWriteError':
        return 'write'
    return None


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
