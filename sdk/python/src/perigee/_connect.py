"""Opens the socket to the coordinator, with TLS where the address says so."""
import errno
import socket

from perigee._compat import PY2, monotonic, native, urlsplit
from perigee._lost import ConnectionLost
from perigee._wakeup import wait_for
from perigee.errors import ConfigError


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
        # Which of the host's addresses was reached last: the first one to try.
        self.reached_place = None
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


def connect(address, deadline):
    """A connected socket that does not block.

    Raises
    ------
    ConnectionLost
        It cannot be had before the deadline.
    ConfigError
        The server's certificate cannot be trusted.
    """
    failure = None
    try:
        places = socket.getaddrinfo(address.host, address.port, 0, socket.SOCK_STREAM)
    except (socket.error, OSError) as error:
        raise ConnectionLost('%s cannot be resolved: %s' % (address.host, error))
    places.sort(key=lambda found: found[4] != address.reached_place)
    for position, (family, kind, protocol, _, place) in enumerate(places):
        # One that swallows what it is sent must leave time for the others.
        left = deadline - monotonic()
        until = monotonic() + left / (len(places) - position)
        sock = None
        try:
            # A kernel without IPv6 refuses this already.
            sock = socket.socket(family, kind, protocol)
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _finish_connect(sock, place, until)
            connected = _start_tls(sock, address, until) if address.is_tls else sock
            address.reached_place = place
            return connected
        except (socket.error, OSError) as error:
            failure = error
            if sock is not None:
                sock.close()
        except BaseException:
            if sock is not None:
                sock.close()
            raise
    raise ConnectionLost('%s:%d: %s' % (address.host, address.port, failure))


def tls_want(error):
    """``read`` or ``write`` when TLS waits for that; None for every other error."""
    name = type(error).__name__
    if name == 'SSLWantReadError':
        return 'read'
    if name == 'SSLWantWriteError':
        return 'write'
    return None


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
                want = tls_want(error)
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
