"""Bodies arrive cut anywhere; heads come from strangers."""
import errno
import socket
import unittest

import support  # noqa: F401 - puts the SDK on the path

from perigee import _connect, _msgpack
from perigee._body import ChunkedDecoder, LengthDecoder
from perigee._compat import monotonic
from perigee._connect import Address, connect
from perigee._http import encode_head
from perigee._lost import ConnectionLost
from perigee.errors import ConfigError, PerigeeError

BODY = b'4\r\nWiki\r\n6;name=value\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\n\r\n'
TEXT = b'Wikipedia in \r\n\r\nchunks.'


class Chunked(unittest.TestCase):
    def decode(self, pieces):
        decoder = ChunkedDecoder()
        out = b''.join(decoder.feed(piece) for piece in pieces)
        return out, decoder

    def test_every_cut_in_two_gives_the_same_body(self):
        for cut in range(len(BODY) + 1):
            out, decoder = self.decode([BODY[:cut], BODY[cut:]])
            self.assertEqual(out, TEXT, cut)
            self.assertTrue(decoder.is_done, cut)

    def test_byte_by_byte(self):
        out, decoder = self.decode([BODY[i:i + 1] for i in range(len(BODY))])
        self.assertEqual((out, decoder.is_done), (TEXT, True))

    def test_trailers_are_passed_over_and_the_next_answer_is_kept(self):
        out, decoder = self.decode([b'1\r\nx\r\n0\r\nA: b\r\n', b'\r\nHTTP/1.1 200'])
        self.assertEqual((out, decoder.is_done, decoder.rest), (b'x', True, b'HTTP/1.1 200'))

    def test_is_not_done_before_the_last_chunk(self):
        out, decoder = self.decode([BODY[:-3]])
        self.assertEqual((out, decoder.is_done), (TEXT, False))

    def test_refuses_what_is_no_size(self):
        with self.assertRaises(ConnectionLost):
            ChunkedDecoder().feed(b'what\r\n')
        with self.assertRaises(ConnectionLost):
            ChunkedDecoder().feed(b'1' * 100000)


class Lengths(unittest.TestCase):
    def test_keeps_what_belongs_to_the_next_answer(self):
        decoder = LengthDecoder(5)
        self.assertEqual(decoder.feed(b'abc'), b'abc')
        self.assertFalse(decoder.is_done)
        self.assertEqual(decoder.feed(b'defg'), b'de')
        self.assertEqual((decoder.is_done, decoder.rest), (True, b'fg'))

    def test_an_empty_body_is_done_at_once(self):
        self.assertTrue(LengthDecoder(0).is_done)


class Heads(unittest.TestCase):
    def test_a_line_end_in_a_value_is_refused(self):
        with self.assertRaises(PerigeeError):
            encode_head('GET', '/', [('Authorization', 'Bearer x\r\nHost: evil')])

    def test_addresses(self):
        address = Address('https://mesh.example:8443/perigee/')
        self.assertEqual((address.is_tls, address.host, address.port, address.prefix, address.netloc),
                         (True, 'mesh.example', 8443, '/perigee', 'mesh.example:8443'))
        self.assertEqual(Address('http://[::1]:7480').host, '::1')

    def test_what_is_no_address_is_refused_with_an_example(self):
        for url in ('ftp://mesh', 'mesh:7480', 'http://', ''):
            with self.assertRaises(ConfigError) as caught:
                Address(url)
            self.assertIn('http://', caught.exception.fix)


class Connecting(unittest.TestCase):
    def setUp(self):
        self.addCleanup(setattr, socket, 'getaddrinfo', socket.getaddrinfo)
        self.addCleanup(setattr, socket, 'socket', socket.socket)
        listener = self.listen('127.0.0.1', 5)
        self.place = listener.getsockname()
        self.address = Address('http://mesh.example:%d' % self.place[1])

    def listen(self, host, backlog):
        listener = socket.socket()
        self.addCleanup(listener.close)
        listener.bind((host, 0))
        listener.listen(backlog)
        return listener

    def resolve_to(self, *places):
        """Each a family and an address of it."""
        socket.getaddrinfo = lambda *args: [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, '', place)
                                            for family, place in places]

    def reach(self):
        connected = connect(self.address, monotonic() + 2)
        self.addCleanup(connected.close)
        return connected.getpeername()

    def test_an_address_that_swallows_everything_leaves_time_for_the_next_and_is_passed_over_then(self):
        # Nobody accepts, and its queue is full.
        hole = self.listen('127.0.0.1', 0)
        for _ in range(4):
            filler = socket.socket()
            self.addCleanup(filler.close)
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        self.resolve_to((socket.AF_INET, hole.getsockname()), (socket.AF_INET, self.place))
        tried = []
        finish_connect = _connect._finish_connect
        self.addCleanup(setattr, _connect, '_finish_connect', finish_connect)
        _connect._finish_connect = lambda sock, place, until: (
            tried.append(place), finish_connect(sock, place, until))
        self.assertEqual(self.reach(), self.place)
        self.assertEqual(self.reach(), self.place)
        self.assertEqual(tried, [hole.getsockname(), self.place, self.place])

    def test_a_kernel_without_a_family_is_no_obstacle_to_the_others(self):
        make_socket = socket.socket

        def refuse(family=socket.AF_INET, *args, **options):
            if family == socket.AF_INET6:
                raise socket.error(errno.EAFNOSUPPORT, 'Address family not supported by protocol')
            return make_socket(family, *args, **options)
        socket.socket = refuse
        there = (socket.AF_INET6, ('::1', self.place[1], 0, 0))
        self.resolve_to(there, (socket.AF_INET, self.place))
        self.assertEqual(self.reach(), self.place)
        self.resolve_to(there)
        with self.assertRaises(ConnectionLost) as caught:
            self.reach()
        self.assertIn('not supported', str(caught.exception))


class Msgpack(unittest.TestCase):
    def test_reads_every_kind(self):
        for data, value in [
                (b'\xc0', None), (b'\xc2', False), (b'\xc3', True), (b'\x07', 7), (b'\xff', -1),
                (b'\xcc\xff', 255), (b'\xcd\x01\x00', 256), (b'\xce\x00\x01\x00\x00', 65536),
                (b'\xcf' + b'\xff' * 8, 2 ** 64 - 1), (b'\xd0\x80', -128), (b'\xd1\x80\x00', -32768),
                (b'\xd2\x80\x00\x00\x00', -2 ** 31), (b'\xd3' + b'\x80' + b'\x00' * 7, -2 ** 63),
                (b'\xca\x3f\x00\x00\x00', 0.5), (b'\xcb\x3f\xe0' + b'\x00' * 6, 0.5),
                (b'\xa2\xc3\xa9', u'\xe9'), (b'\xd9\x01a', u'a'), (b'\xda\x00\x01a', u'a'),
                (b'\xdb\x00\x00\x00\x01a', u'a'), (b'\xc4\x02\x00\xff', b'\x00\xff'),
                (b'\xc5\x00\x01x', b'x'), (b'\x92\x01\x90', [1, []]), (b'\xdc\x00\x01\x01', [1]),
                (b'\x81\xa1k\x80', {u'k': {}}), (b'\xde\x00\x01\x01\x02', {1: 2})]:
            self.assertEqual(_msgpack.unpack(data), value)

    def test_refuses_what_is_cut_or_too_long_or_of_another_type(self):
        for data in (b'', b'\xcc', b'\xa2a', b'\x01\x01', b'\x92\x01', b'\xd4\x01\x00', b'\xa1\xff'):
            with self.assertRaises(PerigeeError):
                _msgpack.unpack(data)


if __name__ == '__main__':
    unittest.main()
