"""Reads msgpack, the TypeScript SDK's encoding of values. Reading only: Python sends pickles."""
import struct

from perigee.errors import PerigeeError

_NUMBERS = {
    0xca: '>f', 0xcb: '>d', 0xcc: '>B', 0xcd: '>H', 0xce: '>I', 0xcf: '>Q',
    0xd0: '>b', 0xd1: '>h', 0xd2: '>i', 0xd3: '>q',
}
_BYTES = {0xc4: '>B', 0xc5: '>H', 0xc6: '>I'}
_TEXTS = {0xd9: '>B', 0xda: '>H', 0xdb: '>I'}
_LISTS = {0xdc: '>H', 0xdd: '>I'}
_MAPS = {0xde: '>H', 0xdf: '>I'}
_CONSTANTS = {0xc0: None, 0xc2: False, 0xc3: True}


def unpack(data):
    """The value of one msgpack document.

    Raises
    ------
    PerigeeError
        The bytes are not exactly one document, or use an extension type.
    """
    reader = _Reader(data)
    try:
        value = reader.value()
    except (struct.error, RuntimeError, UnicodeDecodeError) as error:
        raise _malformed(error)
    if reader.position != len(data):
        raise _malformed('%d bytes too many' % (len(data) - reader.position))
    return value


class _Reader(object):
    def __init__(self, data):
        self._data = data
        self.position = 0

    def value(self):
        head = self._number('>B')
        if head <= 0x7f:
            return head
        if head >= 0xe0:
            return head - 0x100
        if head <= 0x8f:
            return self._map(head & 0x0f)
        if head <= 0x9f:
            return self._list(head & 0x0f)
        if head <= 0xbf:
            return self._take(head & 0x1f).decode('utf-8')
        if head in _CONSTANTS:
            return _CONSTANTS[head]
        if head in _NUMBERS:
            return self._number(_NUMBERS[head])
        if head in _TEXTS:
            return self._take(self._number(_TEXTS[head])).decode('utf-8')
        if head in _BYTES:
            return self._take(self._number(_BYTES[head]))
        if head in _LISTS:
            return self._list(self._number(_LISTS[head]))
        if head in _MAPS:
            return self._map(self._number(_MAPS[head]))
        raise _malformed('type 0x%02x' % head)

    def _number(self, form):
        number, = struct.unpack_from(form, self._data, self.position)
        self.position += struct.calcsize(form)
        return number

    def _take(self, length):
        end = self.position + length
        if end > len(self._data):
            raise _malformed('it is cut short')
        data = self._data[self.position:end]
        self.position = end
        return data

    def _list(self, length):
        return [self.value() for _ in range(length)]

    def _map(self, length):
        # One after the other: in a comprehension Python 2 evaluates the value before the key.
        items = {}
        for _ in range(length):
            key = self.value()
            items[key] = self.value()
        return items


def _malformed(why):
    return PerigeeError('A msgpack value is malformed: %s.' % why)
