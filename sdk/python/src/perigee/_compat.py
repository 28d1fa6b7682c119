"""What differs between Python 2.7 and 3, in one place. Bytes and text are named apart everywhere."""
import sys
import time

PY2 = sys.version_info[0] == 2

if PY2:
    import cPickle as pickle
    from itertools import izip_longest as zip_longest
    from urllib import quote
    from urlparse import urlsplit

    text_type = unicode  # noqa: F821
    integer_types = (int, long)  # noqa: F821
    string_types = (basestring,)  # noqa: F821
    # 2.7 has no monotonic clock; a step of the wall clock makes one wait too short or too long.
    monotonic = time.time
else:
    import pickle
    from itertools import zip_longest
    from urllib.parse import quote, urlsplit

    text_type = str
    integer_types = (int,)
    string_types = (str,)
    monotonic = time.monotonic

__all__ = [
    'PY2', 'integer_types', 'monotonic', 'native', 'pickle', 'quote', 'string_types', 'text_type',
    'to_bytes', 'to_text', 'urlsplit', 'zip_longest',
]


def to_bytes(value):
    """UTF-8 bytes of a text; bytes stay as they are."""
    return value.encode('utf-8') if isinstance(value, text_type) else value


def to_text(value):
    """Text of UTF-8 bytes, undecodable ones replaced; text stays as it is."""
    return value if isinstance(value, text_type) else value.decode('utf-8', 'replace')


def native(value):
    """The interpreter's own ``str`` of a text or of UTF-8 bytes; None stays None."""
    if value is None:
        return None
    return to_bytes(value) if PY2 else to_text(value)
