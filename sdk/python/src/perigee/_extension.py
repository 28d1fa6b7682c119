"""Extension modules by their file: for which interpreter, system and processor they were built."""
import mmap
import os
import re
import sys

from perigee._compat import PY2, to_bytes

_ENDINGS = ('.so', '.pyd', '.dylib')
#: ELF's numbers for processors, by the coordinator's words for them.
_ELF_MACHINES = {62: 'x64', 183: 'arm64', 3: 'ia32', 40: 'arm', 243: 'riscv64'}
_HEAD_BYTES = 20


def is_extension(name):
    """Whether a file is named as one."""
    return name.endswith(_ENDINGS)


def find_misfit(path):
    """Why an extension module cannot be imported by this interpreter on Linux; None when it can."""
    name = os.path.basename(path)
    if name.endswith('.pyd'):
        return 'it is for Windows'
    with open(path, 'rb') as opened:
        head = opened.read(_HEAD_BYTES)
    if head[:4] in (b'\xcf\xfa\xed\xfe', b'\xca\xfe\xba\xbe', b'\xfe\xed\xfa\xcf'):
        return 'it is for macOS'
    if head[:4] != b'\x7fELF' or len(head) < _HEAD_BYTES:
        return 'it is not a Linux program'
    tagged = re.match(r'[^.]+\.(cpython-(\d)(\d+)|pypy\d*|abi3)[^.]*\.', name)
    if tagged is not None:
        if tagged.group(1) == 'abi3':
            return 'it is for Python 3' if PY2 else None
        if tagged.group(2) is None:
            return None if hasattr(sys, 'pypy_version_info') else 'it is for PyPy'
        wanted = (int(tagged.group(2)), int(tagged.group(3)))
        if wanted == tuple(sys.version_info[:2]):
            return None
        return 'it is for Python %d.%d' % wanted
    return _find_misfit_inside(path, name.split('.')[0])


def arch_of(path):
    """The processor that it is for; None when that is not known."""
    with open(path, 'rb') as opened:
        head = bytearray(opened.read(_HEAD_BYTES))
    if len(head) < _HEAD_BYTES:
        return None
    is_little = head[5] == 1
    number = head[18] | head[19] << 8 if is_little else head[19] | head[18] << 8
    return _ELF_MACHINES.get(number, 'unknown')


def _find_misfit_inside(path, name):
    """By the function that an import calls: a name without a tag is of any Python."""
    for_3 = to_bytes('\0PyInit_%s\0' % name)
    for_2 = to_bytes('\0init%s\0' % re.sub(r'module$', '', name))
    with open(path, 'rb') as opened:
        view = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            is_for_3, is_for_2 = view.find(for_3) >= 0, view.find(for_2) >= 0
        finally:
            view.close()
    if PY2 and is_for_3 and not is_for_2:
        return 'it is for Python 3'
    if not PY2 and is_for_2 and not is_for_3:
        return 'it is for Python 2'
    # A plain library, perhaps, that ctypes opens.
    return None
