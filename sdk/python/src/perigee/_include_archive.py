"""What a function carries as one tar: the same files make the same bytes, on every Python.

Written by hand, since the headers that Python's own tarfile writes differ between its versions.
Nothing is held in memory or on disk: the files are read once for the hash and once more on the way.
"""
import hashlib

from perigee._compat import native
from perigee.errors import IncludeError

_BLOCK = 512
_READ_BYTES = 256 * 1024
#: Of every entry: 1980, which zip could hold too.
_MTIME = 315532800


class IncludeArchive(object):
    """A body of known length that can be read any number of times.

    Parameters
    ----------
    files : dict of bytes to perigee._include.Place
    """

    def __init__(self, files):
        self._entries = _entries_of(files)
        self._length = sum(len(head) + _padded(place.size if place else 0)
                           for head, place in self._entries) + 2 * _BLOCK

    def __len__(self):
        return self._length

    def __iter__(self):
        for head, place in self._entries:
            yield head
            if place is not None:
                for piece in _read(place):
                    yield piece
        yield b'\0' * (2 * _BLOCK)

    def sha256(self):
        """Lower-case hexadecimal; reads everything."""
        digest = hashlib.sha256()
        for piece in self:
            digest.update(piece)
        return native(digest.hexdigest())


def _entries_of(files):
    folders = set()
    for name in files:
        parts = name.split(b'/')[:-1]
        for depth in range(1, len(parts) + 1):
            folders.add(b'/'.join(parts[:depth]))
    entries = []
    for name in sorted(folders | set(files)):
        place = files.get(name)
        if place is None:
            entries.append((_head(name, 0, 0o755, b'5'), None))
        else:
            mode = 0o755 if place.is_program else 0o644
            entries.append((_head(name, place.size, mode, b'0'), place))
    return entries


def _head(name, size, mode, kind):
    long_name = b''
    if len(name) > 100:
        # GNU's way: the whole name is the content of an entry before.
        text = name + b'\0'
        long_name = (_ustar(b'././@LongLink', len(text), 0o644, b'L')
                     + text + b'\0' * (_padded(len(text)) - len(text)))
    return long_name + _ustar(name[:100], size, mode, kind)


def _ustar(name, size, mode, kind):
    head = bytearray(_BLOCK)
    head[0:len(name)] = name
    head[100:108] = _octal(mode, 7) + b'\0'
    head[108:116] = head[116:124] = b'0000000\0'
    head[124:136] = _number(size)
    head[136:148] = _octal(_MTIME, 11) + b'\0'
    head[148:156] = b' ' * 8
    head[156:157] = kind
    head[257:265] = b'ustar  \0'
    total = sum(head)
    head[148:156] = _octal(total, 6) + b'\0 '
    return bytes(head)


def _octal(number, digits):
    return ('%0*o' % (digits, number)).encode('ascii')


def _number(number):
    if number < 8 ** 11:
        return _octal(number, 11) + b'\0'
    # Base 256, for files of 8 GiB and more.
    field = bytearray(12)
    for at in range(11, 3, -1):
        field[at] = number & 0xFF
        number >>= 8
    field[0] = 0x80
    return bytes(field)


def _padded(size):
    return (size + _BLOCK - 1) // _BLOCK * _BLOCK


def _read(place):
    left = place.size
    try:
        with open(place.path, 'rb') as opened:
            while left > 0:
                piece = opened.read(min(_READ_BYTES, left))
                if not piece:
                    raise _changed(place)
                left -= len(piece)
                yield piece
            if opened.read(1):
                raise _changed(place)
    except (IOError, OSError) as error:
        raise IncludeError('%s cannot be read: %s' % (place.path, error.strerror),
                           fix='make it readable, or leave it out')
    yield b'\0' * (_padded(place.size) - place.size)


def _changed(place):
    return IncludeError('%s changed while it was being read.' % place.path,
                        fix='make the function again when nobody writes to it')
