"""Which modules are the user's own: those that the image cannot have.

A function of such a module is pickled by value. By reference, which is what pickle does with every
module that can be imported, it would fail on the node with ``ImportError: No module named ...``.
"""
import os
import sys
import sysconfig

#: Ours, or mounted into every sandbox.
_NEVER_OURS = frozenset(['perigee', 'descarteslabs', 'cloudpickle', '__main__', '__mp_main__'])
_STDLIB_NAMES = getattr(sys, 'stdlib_module_names', frozenset()) or frozenset()
_INSTALL_FOLDERS = frozenset(['site-packages', 'dist-packages'])
_SOURCE_ENDINGS = ('.py', '.pyc', '.pyo')

_verdicts = {}
_folder_verdicts = {}
_roots = ((), 0)


def is_carried(name, carried):
    """Whether a module of that name is among those that a function carries, or a package above one."""
    return any(name == other or name.startswith(other + '.') or other.startswith(name + '.')
               for other in carried)


def is_users(name):
    """Whether the module of that name is the user's own, and is made of Python."""
    if name is None:
        return False
    verdict = _verdicts.get(name)
    if verdict is None:
        module = sys.modules.get(name)
        if module is None:
            return False
        verdict = _verdicts[name] = _judge(name, module)
    return verdict


def users_modules():
    """The imported modules that are the user's own."""
    names = [name for name, module in list(sys.modules.items()) if module is not None]
    return [sys.modules[name] for name in names if name in sys.modules and is_users(name)]


def users_roots():
    """Names, as bytes, of the top-level packages of which a pickle must not hold a reference.

    A pickle that holds none of these texts holds no reference to the user's own modules.
    """
    global _roots
    count = len(sys.modules)
    # Modules are added while a program runs, hardly ever removed: the count tells.
    if _roots[1] != count:
        names = set(module.__name__.split('.')[0] for module in users_modules())
        _roots = ((b'__main__',) + tuple(sorted(name.encode('utf-8') for name in names)), count)
    return _roots[0]


def _judge(name, module):
    root = name.split('.')[0]
    if root in _NEVER_OURS or root in _STDLIB_NAMES or root in sys.builtin_module_names:
        return False
    path = getattr(module, '__file__', None)
    if not isinstance(path, str) or not path.endswith(_SOURCE_ENDINGS):
        return False
    folder = os.path.dirname(os.path.abspath(path))
    # The folder that holds the top-level package or module is what was installed, or not.
    # By its own name: `os.path` is `posixpath`.
    depth = module.__name__.count('.') + (1 if hasattr(module, '__path__') else 0)
    for _ in range(depth):
        folder = os.path.dirname(folder)
    verdict = _folder_verdicts.get(folder)
    if verdict is None:
        verdict = _folder_verdicts[folder] = not is_installed(folder)
    return verdict


def is_installed(folder):
    """Whether modules that lie in a folder came with Python or by an installer."""
    if _INSTALL_FOLDERS & set(folder.split(os.sep)):
        return True
    real = os.path.realpath(folder)
    for place in _stdlib_folders():
        if folder == place or folder.startswith(place + os.sep) or real == place:
            return True
    # Where an installer has put packages it has left their metadata beside them.
    try:
        return any(entry.endswith('.dist-info') for entry in os.listdir(folder))
    except OSError:
        return False


def _stdlib_folders():
    folders = [os.path.dirname(os.__file__)]
    for key in ('stdlib', 'platstdlib'):
        path = sysconfig.get_path(key)
        if path:
            folders.append(path)
    return set(os.path.abspath(path) for path in folders) | set(
        os.path.realpath(path) for path in folders)
