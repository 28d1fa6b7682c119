"""Modules and files of the user's own that travel with a function: what is taken, and where it lies.

All of it goes into one folder, which is read-only on the nodes: modules as they are imported, data
at the paths that the user wrote. Nothing is imported or read here, but for the headers of extension
modules.
"""
import filecmp
import fnmatch
import os
import stat
import sys
import types

from perigee._compat import PY2, native, string_types, to_bytes
from perigee._extension import arch_of, find_misfit, is_extension
from perigee._modules import is_installed
from perigee.errors import IncludeError

#: Files of one function, at most: each is an entry of the archive and a file on every node.
FILES_MAX = 100000

_NEVER_CARRIED = frozenset(['__pycache__'])
_BYTECODE = ('.pyc', '.pyo')
_RESERVED = frozenset(['perigee', 'cloudpickle', 'descarteslabs', '__main__', 'perigee_harness',
                       'perigee_function'])


class Place(object):
    """One file that is carried."""

    __slots__ = ('path', 'size', 'is_program')

    def __init__(self, path, status):
        self.path = path
        self.size = status.st_size
        self.is_program = bool(status.st_mode & 0o111)


class Include(object):
    """What one function carries.

    Attributes
    ----------
    files : dict of bytes to Place
        By their paths in the folder, UTF-8.
    modules : list of str
        What can be imported from it.
    arch : str or None
        Of the extension modules in it, by the coordinator's word for it.
    """

    def __init__(self):
        self.files = {}
        self.modules = []
        self.arch = None

    def add(self, place, path, status):
        place = to_bytes(place)
        known = self.files.get(place)
        if known is not None:
            # The parts of a namespace package each have the same __init__.py.
            if filecmp.cmp(known.path, path, shallow=False):
                return
            raise IncludeError(
                'Two files would lie at %s: %s and %s.' % (native(place), known.path, path),
                fix='rename one of them, or leave it out')
        if len(self.files) >= FILES_MAX:
            raise IncludeError('More than %d files would be carried.' % FILES_MAX,
                               fix='pack them into one file, or mount their folder with '
                                   '--mount NAME=DIR and open it with perigee.imagery.open')
        self.files[place] = Place(path, status)


def collect(include_modules, include_data):
    """What create_function's two parameters name.

    Returns
    -------
    Include or None
        None when they name nothing.

    Raises
    ------
    IncludeError
        Something is not there, or cannot travel; the text says what to do.
    """
    modules = _as_list(include_modules, 'include_modules', (types.ModuleType,))
    data = _as_list(include_data, 'include_data', ())
    if not modules and not data:
        return None
    include = Include()
    for module in modules:
        name = module.__name__ if isinstance(module, types.ModuleType) else native(module)
        _add_module(include, name)
    for pattern in data:
        _add_data(include, pattern)
    _check_parents(include)
    return include


def include_path(path):
    """Where a file of ``include_data`` or of an included package is.

    Parameters
    ----------
    path : str
        As it was given to `create_function`.

    Returns
    -------
    str
        In a task the path in the folder that the function carries, else the path itself, made
        absolute: the same line works in both places.

    Raises
    ------
    IncludeError
        There is no such file.
    """
    folder = os.environ.get('PERIGEE_INCLUDE') if os.environ.get('PERIGEE_SANDBOX') else None
    found = os.path.join(folder, os.path.normpath(path)) if folder else os.path.abspath(path)
    if not os.path.exists(found):
        raise IncludeError('There is no %s %s.' % (native(path), 'among what the function carries'
                                                   if folder else 'here'),
                           fix='name it in include_data of create_function, by the same path')
    return found


def _as_list(value, name, kinds):
    if value is None:
        return []
    if isinstance(value, string_types + kinds) or hasattr(value, '__fspath__'):
        value = [value]
    items = []
    for item in value:
        if hasattr(item, '__fspath__') and not kinds:
            item = item.__fspath__()
        if not isinstance(item, string_types + kinds):
            raise TypeError('%s is a list of %s; it has %r' % (
                name, 'names of modules' if kinds else 'paths', item))
        items.append(item)
    return items


# Modules -----------------------------------------------------------------------------------------

def _add_module(include, name):
    parts = name.split('.')
    if not all(parts) or '/' in name or os.sep in name:
        raise IncludeError('%r is not the name of a module.' % name,
                           fix="write it as it is imported, for example 'landsat.bands'; files "
                               'that are no modules go into include_data')
    if parts[0] in _RESERVED:
        raise IncludeError('%s is in every sandbox already.' % parts[0], fix='leave it out')
    # Importing a.b runs a/__init__.py: the packages above come along, their other modules do not.
    for depth in range(1, len(parts)):
        parent = '.'.join(parts[:depth])
        _, folders = _locate(parent, name)
        for folder in folders or ():
            init = os.path.join(folder, '__init__.py')
            if os.path.isfile(init):
                include.add('/'.join(parts[:depth] + ['__init__.py']), init, os.stat(init))
    path, folders = _locate(name, name)
    if folders is not None:
        for folder in folders:
            _add_package(include, '/'.join(parts), folder)
    else:
        _add_module_file(include, parts, path)
    if name not in include.modules:
        include.modules.append(name)


def _locate(name, wanted):
    """The file of a module, or the folders of a package, that are the user's own."""
    path, folders = _find(name)
    if path is None and not folders:
        raise IncludeError('There is no module %s%s.' % (name, '' if name == wanted else
                                                         ', of which %s would be part' % wanted),
                           fix='check the name, and that it can be imported here: '
                               '`import %s`' % wanted)
    depth = name.count('.') + (1 if folders else 0)
    own = []
    root = None
    for place in folders or [path]:
        place = os.path.abspath(place)
        if not os.path.exists(place) and os.path.exists(place + 'c'):
            raise IncludeError('%s is there as byte code only: there is no %s.' % (name, place),
                               fix='bring its source')
        if not os.path.exists(place):
            raise IncludeError('%s cannot be taken from %s: it is not a file of its own.'
                               % (name, place), fix='unpack it into a folder')
        root = os.path.dirname(place)
        for _ in range(depth - (1 if folders else 0)):
            root = os.path.dirname(root)
        if not is_installed(root):
            own.append(place)
    if not own and root == os.path.dirname(os.path.abspath(os.__file__)):
        _refuse_builtin(name)
    if not own:
        raise IncludeError(
            '%s is installed here, not a module of your own (%s).' % (name, (folders or [path])[0]),
            fix="name its distribution in requirements, or leave it out when the image has it")
    return (None, own) if folders else (own[0], None)


def _find(name):
    module = sys.modules.get(name)
    if module is not None:
        folders = getattr(module, '__path__', None)
        if folders is not None:
            return None, list(folders)
        path = getattr(module, '__file__', None)
        return _refuse_builtin(name) if path is None else (_source_of(path), None)
    try:
        return _find_py2(name) if PY2 else _find_py3(name)
    except (ImportError, AttributeError, ValueError):
        return None, None


def _refuse_builtin(name):
    raise IncludeError('%s is a part of Python.' % name, fix='leave it out: the image has it')


if PY2:
    def _find_py2(name):
        import imp
        folders, path = None, None
        done = []
        for part in name.split('.'):
            done.append(part)
            module = sys.modules.get('.'.join(done))
            if module is not None and hasattr(module, '__path__'):
                folders = list(module.__path__)
                path = folders[0]
                continue
            opened, path, (_, _, kind) = imp.find_module(part, folders)
            if opened is not None:
                opened.close()
            if kind in (imp.C_BUILTIN, imp.PY_FROZEN):
                return _refuse_builtin(name)
            folders = [path] if kind == imp.PKG_DIRECTORY else None
        return (None, folders) if folders else (_source_of(path), None)
else:
    def _find_py3(name):
        import importlib.util
        spec = importlib.util.find_spec(name)
        if spec is None:
            return None, None
        if spec.submodule_search_locations is not None:
            return None, list(spec.submodule_search_locations)
        if spec.origin in (None, 'built-in', 'frozen'):
            return _refuse_builtin(name)
        return _source_of(spec.origin), None


def _source_of(path):
    return path[:-1] if path.endswith(_BYTECODE) else path


def _add_module_file(include, parts, path):
    place = '/'.join(parts[:-1] + [os.path.basename(path)])
    if is_extension(path):
        misfit = find_misfit(path)
        if misfit is not None:
            raise _extension_error(path, misfit)
        include.arch = arch_of(path) or include.arch
    include.add(place, path, os.stat(path))


def _add_package(include, place, folder):
    _refuse_bytecode_only(place, folder)
    _add_tree(include, place, folder, os.path.realpath(folder), is_package=True)


def _refuse_bytecode_only(place, folder):
    names = os.listdir(folder)
    if any(name.endswith(_BYTECODE) for name in names) and not any(
            name.endswith('.py') or is_extension(name) for name in names):
        raise IncludeError('The package in %s is there as byte code only.' % folder,
                           fix='bring its source')


def _choose_extensions(include, folder, names):
    """Names without the extension modules of other interpreters; refuses one that has none that fits."""
    by_module = {}
    for name in names:
        if is_extension(name):
            by_module.setdefault(name.split('.')[0], []).append(name)
    left_out = set()
    for found in by_module.values():
        misfits = dict((name, find_misfit(os.path.join(folder, name))) for name in found)
        if all(misfit is not None for misfit in misfits.values()):
            raise _extension_error(os.path.join(folder, found[0]), misfits[found[0]])
        for name, misfit in misfits.items():
            if misfit is not None:
                left_out.add(name)
            else:
                include.arch = arch_of(os.path.join(folder, name)) or include.arch
    return [name for name in names if name not in left_out]


def _extension_error(path, misfit):
    return IncludeError('The extension module %s cannot be carried: %s.' % (path, misfit),
                        fix='build it for Linux with this interpreter (%s), for example '
                            '`python setup.py build_ext --inplace`, or leave its package out'
                            % '.'.join(str(part) for part in sys.version_info[:2]))


# Files -------------------------------------------------------------------------------------------

def _add_data(include, pattern):
    pattern = os.path.expanduser(pattern)
    if os.path.lexists(pattern):
        found, root = [pattern], None
    else:
        found, root = _match(pattern)
    if not found:
        raise IncludeError('include_data: there is no %s.' % native(pattern),
                           fix='check the path; relative ones begin at %s' % os.getcwd())
    for path in found:
        place = _place_of(path)
        tree = os.path.realpath(root if root is not None else path)
        if os.path.isdir(path):
            if root is not None and os.path.islink(path):
                _refuse_escape(path, tree)
            _add_tree(include, place, path, tree, is_package=False)
        else:
            _add_file(include, place, path, tree if root is not None else None)


def _match(pattern):
    """Paths that fit a pattern in sorted order, and the folder that none of them may leave."""
    parts = pattern.split(os.sep)
    plain = 0
    while plain < len(parts) and not _has_magic(parts[plain]):
        plain += 1
    root = os.sep.join(parts[:plain]) or (os.sep if pattern.startswith(os.sep) else os.curdir)
    found = sorted(set(_walk(os.sep.join(parts[:plain]), parts[plain:])))
    return found, root


def _walk(base, parts):
    if not parts:
        if os.path.lexists(base):
            yield base
        return
    head, rest = parts[0], parts[1:]
    if head and not _has_magic(head):
        for path in _walk(os.path.join(base, head), rest):
            yield path
        return
    try:
        names = sorted(os.listdir(base or os.curdir))
    except OSError:
        return
    if head == '**':
        for path in _walk(base, rest or ['*']):
            yield path
    for name in names:
        if name.startswith('.') and not head.startswith('.'):
            continue
        path = os.path.join(base, name)
        if head == '**':
            # Not through links: a folder that links to one above it would never end.
            if os.path.isdir(path) and not os.path.islink(path):
                for below in _walk(path, parts):
                    yield below
        elif fnmatch.fnmatchcase(name, head):
            for below in _walk(path, rest):
                yield below


def _has_magic(part):
    return any(mark in part for mark in '*?[')


def _place_of(path):
    """Where a file of the user's lies in the folder: where the user's code finds it here."""
    normal = os.path.normpath(path)
    if not os.path.isabs(normal) and normal.split(os.sep)[0] != os.pardir:
        return '' if normal == os.curdir else normal
    whole = os.path.abspath(path)
    roots = [os.path.abspath(entry or os.curdir) for entry in sys.path + ['']]
    fits = [root for root in roots if whole.startswith(root + os.sep) and not is_installed(root)]
    if fits:
        return os.path.relpath(whole, max(fits, key=len))
    return os.path.basename(whole)


def _add_tree(include, place, folder, root, is_package, within=()):
    """Everything below a folder but byte code, caches, and what begins with a dot."""
    real = os.path.realpath(folder)
    if real in within:
        raise IncludeError('The link %s leads to a folder above it.' % folder, fix='remove the link')
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise IncludeError('%s cannot be read: %s' % (folder, error.strerror), fix='allow it to be read')
    names = [name for name in names if not name.startswith('.') and name not in _NEVER_CARRIED]
    if is_package:
        names = [name for name in names if not name.endswith(_BYTECODE)]
        names = _choose_extensions(include, folder, names)
    for name in names:
        path = os.path.join(folder, name)
        inner = '%s/%s' % (place, name) if place else name
        if os.path.islink(path):
            _refuse_escape(path, root)
        if os.path.isdir(path):
            _add_tree(include, inner, path, root, is_package, within + (real,))
        else:
            _add_file(include, inner, path, root)


def _add_file(include, place, path, root):
    if root is not None and os.path.islink(path):
        _refuse_escape(path, root)
    try:
        status = os.stat(path)
    except OSError as error:
        raise IncludeError('%s cannot be read: %s' % (path, error.strerror),
                           fix='mend the link, or leave it out')
    if not stat.S_ISREG(status.st_mode):
        raise IncludeError('%s is neither a file nor a folder.' % path, fix='leave it out')
    if not os.access(path, os.R_OK):
        raise IncludeError('%s may not be read.' % path, fix='chmod +r it, or leave it out')
    try:
        to_bytes(place).decode('utf-8')
    except UnicodeError:
        raise IncludeError('The name of %r is not UTF-8.' % path, fix='rename it')
    include.add(place.replace(os.sep, '/'), path, status)


def _refuse_escape(path, root):
    target = os.path.realpath(path)
    if target == root or target.startswith(root.rstrip(os.sep) + os.sep):
        return
    raise IncludeError('The link %s leads out of %s, to %s.' % (path, root, target),
                       fix='name what it leads to, or replace the link by a copy')


def _check_parents(include):
    """No file where another file needs a folder."""
    for place in include.files:
        parts = place.split(b'/')
        for depth in range(1, len(parts)):
            if b'/'.join(parts[:depth]) in include.files:
                raise IncludeError('%s would be both a file and a folder.'
                                   % native(b'/'.join(parts[:depth])), fix='rename one of them')
