"""Makes standard output and error UTF-8 when they are not terminals.

Python 2.7 gives a pipe or a file no encoding at all, so that ``print u'\\xe9' | cat`` fails. The
environment variable that would cure it must not leak into the programs that a script starts, so the
encoding is set on the two file objects. PYTHONIOENCODING, where the caller set it, has the last word.
"""
import os
import sys


def _use_utf8():
    import ctypes
    set_encoding = ctypes.pythonapi.PyFile_SetEncodingAndErrors
    set_encoding.argtypes = [ctypes.py_object, ctypes.c_char_p, ctypes.c_char_p]
    for stream, errors in ((sys.stdout, b'strict'), (sys.stderr, b'backslashreplace')):
        if isinstance(stream, file) and stream.encoding in (None, 'ANSI_X3.4-1968'):  # noqa: F821
            set_encoding(stream, b'UTF-8', errors)


if 'PYTHONIOENCODING' not in os.environ and (
        sys.stdout.encoding in (None, 'ANSI_X3.4-1968')
        or sys.stderr.encoding in (None, 'ANSI_X3.4-1968')):
    _use_utf8()
