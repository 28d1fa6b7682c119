"""https: the certificate is checked. `PERIGEE_TEST_TLS` is a folder with cert.pem and key.pem for 127.0.0.1."""
import os
import socket
import ssl
import threading
import unittest

import support  # noqa: F401 - puts the SDK on the path
from fake_mesh import Mesh

import perigee

FOLDER = os.environ.get('PERIGEE_TEST_TLS')


class TlsFront(object):
    """Speaks TLS and passes the bytes on to a mesh."""

    def __init__(self, mesh):
        self._inner = ('127.0.0.1', int(mesh.url.rpartition(':')[2]))
        self._context = ssl.SSLContext(getattr(ssl, 'PROTOCOL_TLS_SERVER', ssl.PROTOCOL_SSLv23))
        self._context.load_cert_chain(os.path.join(FOLDER, 'cert.pem'), os.path.join(FOLDER, 'key.pem'))
        self._listener = socket.socket()
        # All of the loopback, for the test of another name.
        self._listener.bind(('', 0))
        self._listener.listen(16)
        self.port = self._listener.getsockname()[1]
        self._sockets = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.daemon = True
        self._thread.start()

    def close(self):
        self._closed = True
        try:
            socket.create_connection(('127.0.0.1', self.port), 1).close()
        except (OSError, socket.error):
            pass
        self._thread.join(10)
        self._listener.close()
        for sock in self._sockets:
            try:
                sock.close()
            except (OSError, socket.error):
                pass

    _closed = False

    def _accept(self):
        while True:
            plain, _ = self._listener.accept()
            if self._closed:
                plain.close()
                return
            thread = threading.Thread(target=self._front, args=(plain,))
            thread.daemon = True
            thread.start()

    def _front(self, plain):
        plain.settimeout(10)
        try:
            outer = self._context.wrap_socket(plain, server_side=True)
        except (OSError, socket.error, ssl.SSLError):
            plain.close()
            return
        inner = socket.create_connection(self._inner)
        self._sockets.extend([outer, inner])
        outer.settimeout(0.02)
        inner.settimeout(0.02)
        # One thread for both directions: an SSL object is not to be shared by two.
        while not self._closed:
            for source, target in ((outer, inner), (inner, outer)):
                try:
                    data = source.recv(65536)
                except (socket.timeout, ssl.SSLError) as error:
                    if 'timed out' in str(error):
                        continue
                    data = b''
                except (OSError, socket.error):
                    data = b''
                if not data:
                    inner.close()
                    outer.close()
                    return
                target.settimeout(10)
                target.sendall(data)
                target.settimeout(0.02)


@unittest.skipUnless(FOLDER, 'PERIGEE_TEST_TLS names no folder with a certificate')
class Tls(unittest.TestCase):
    def setUp(self):
        self.mesh = Mesh()
        self.addCleanup(self.mesh.close)
        self.front = TlsFront(self.mesh)
        self.addCleanup(self.front.close)
        environ = dict(os.environ)
        self.addCleanup(os.environ.update, environ)
        self.addCleanup(os.environ.clear)

    def test_tasks_run_through_it(self):
        os.environ['PERIGEE_CA'] = os.path.join(FOLDER, 'cert.pem')
        at = perigee.AsyncTasks('https://127.0.0.1:%d' % self.front.port, 'secret')
        self.addCleanup(at.close)
        function = at.create_function(len)
        self.assertEqual(function(b'x' * 500000).get_result(timeout=30), 500000)
        self.assertEqual([task.result for task in function.map(['a', 'bc'])], [1, 2])

    def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(self):
        os.environ.pop('PERIGEE_CA', None)
        at = perigee.AsyncTasks('https://127.0.0.1:%d' % self.front.port, 'secret')
        with self.assertRaises(perigee.ConfigError) as caught:
            at.create_namespace()
        self.assertIn('PERIGEE_CA', caught.exception.fix)
        self.assertEqual(self.mesh.requests, [])

    def test_a_certificate_of_another_host_is_refused(self):
        os.environ['PERIGEE_CA'] = os.path.join(FOLDER, 'cert.pem')
        # The same machine, by a name that the certificate does not have.
        at = perigee.AsyncTasks('https://127.0.0.2:%d' % self.front.port, 'secret')
        at._transport.settings = at._transport.settings._replace(first_retry_seconds=0.1)
        with self.assertRaises(perigee.ConfigError) as caught:
            at.create_namespace()
        self.assertEqual(caught.exception.code, 'certificate')
        self.assertEqual(self.mesh.requests, [])

    def test_a_ca_file_that_is_not_there_is_said(self):
        os.environ['PERIGEE_CA'] = os.path.join(FOLDER, 'nowhere.pem')
        at = perigee.AsyncTasks('https://127.0.0.1:%d' % self.front.port, 'secret')
        with self.assertRaises(perigee.ConfigError) as caught:
            at.create_namespace()
        self.assertIn('nowhere.pem', str(caught.exception))


if __name__ == '__main__':
    unittest.main()
