"""Payloads and blocks: how arguments and results travel (docs/api.md, "Blocks and payloads")."""
import hashlib
import json
import struct
from binascii import hexlify, unhexlify

from perigee import _msgpack
from perigee._compat import PY2, native, pickle, to_bytes
from perigee.errors import PerigeeError, ResultError

#: A payload up to this travels inline, a longer one as a blob; the tag byte included.
INLINE_BYTES_MAX = 64 * 1024

PICKLE, JSON, MSGPACK, BLOB = b'P', b'J', b'M', b'B'

_LENGTH = struct.Struct('>I')
_REFERENCE = struct.Struct('>ss32sQ')


def frame(payload):
    """A payload behind its length: one entry of a block."""
    return _LENGTH.pack(len(payload)) + payload


def blob_reference(tag, sha256, size_bytes):
    """The payload that stands for a blob.

    Parameters
    ----------
    tag : bytes
        Of the payload that it stands for.
    sha256 : str
        Hexadecimal.
    size_bytes : int
        Of the blob.
    """
    return _REFERENCE.pack(BLOB, tag, unhexlify(to_bytes(sha256)), size_bytes)


def split_reference(payload):
    """The tag, the hash and the size of a blob reference."""
    _, tag, digest, size_bytes = _REFERENCE.unpack(payload)
    return tag, native(hexlify(digest)), size_bytes


def sha256_of(data):
    """The lower-case hexadecimal SHA-256 of bytes."""
    return native(hashlib.sha256(data).hexdigest())


def decode(payload):
    """The value of an inline payload.

    Raises
    ------
    ResultError
        It cannot be decoded here, for example because a module is not installed.
    """
    tag = payload[:1]
    # Python 3 unpickles a view, which spares a copy of a large result.
    data = payload[1:] if PY2 or tag != PICKLE else memoryview(payload)[1:]
    if tag == JSON:
        return json.loads(data.decode('utf-8'))
    if tag == MSGPACK:
        return _msgpack.unpack(data)
    if tag != PICKLE:
        raise PerigeeError('A payload has the unknown tag %r.' % tag,
                           fix='update the perigee package of this client')
    try:
        return pickle.loads(data)
    except Exception as error:
        raise ResultError(
            'The value cannot be unpickled here: %s: %s' % (type(error).__name__, error),
            fix='install here what the value is made of (the image has it), '
                'or return plain Python values')
