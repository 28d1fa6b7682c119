# -*- coding: utf-8 -*-
"""What travels with a function besides itself: which files, where they lie, and what is refused."""
import io
import os
import shutil
import struct
import sys
import tarfile
import tempfile
import types
import unittest

import support

import perigee
from perigee import _extension
from perigee._compat import PY2
from perigee._include import collect
from perigee._include_archive import IncludeArchive

ELF_X64 = b'\x7fELF\x02\x01\x01' + b'\0' * 9 + struct.pack('<HH', 3, 62)
ELF_ARM64 = b'\x7fELF\x02\x01\x01' + b'\0' * 9 + struct.pack('<HH', 3, 183)


class Folder(unittest.TestCase):
    """A folder of the user's own, current and on the path."""

    def setUp(self):
        self.folder = os.path.realpath(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        before, modules = list(sys.path), set(sys.modules)

        def restore():
            sys.path[:] = before
            for name in set(sys.modules) - modules:
                del sys.modules[name]
        self.addCleanup(restore)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        sys.path.insert(0, self.folder)
        getattr(sys, 'path_importer_cache').clear()

    def write(self, path, content=b''):
        whole = os.path.join(self.folder, path)
        if not os.path.isdir(os.path.dirname(whole)):
            os.makedirs(os.path.dirname(whole))
        with open(whole, 'wb') as opened:
            opened.write(content)
        return whole

    def names(self, modules=None, data=None):
        return sorted(name.decode('utf-8') for name in collect(modules, data).files)

    def refusal(self, modules=None, data=None):
        with self.assertRaises(perigee.IncludeError) as caught:
            collect(modules, data)
        self.assertTrue(caught.exception.fix)
        self.assertIsInstance(caught.exception, perigee.BadRequestError)
        return caught.exception.message


class Modules(Folder):
    def test_a_module_of_one_file_by_name_or_itself(self):
        self.write('tidal.py')
        self.assertEqual(self.names(['tidal']), ['tidal.py'])
        import tidal
        self.assertEqual(self.names(tidal), ['tidal.py'])
        self.assertEqual(collect('tidal', None).modules, ['tidal'])

    def test_nothing_is_imported(self):
        self.write('explodes/__init__.py', b'raise SystemExit(1)')
        self.write('explodes/inner.py', b'raise SystemExit(1)')
        self.assertEqual(self.names(['explodes']), ['explodes/__init__.py', 'explodes/inner.py'])

    def test_a_package_whole_with_its_data_and_without_caches(self):
        for path in ('soil/__init__.py', 'soil/deep/__init__.py', 'soil/deep/roots.pyx', 'soil/table.csv',
                     'soil/__pycache__/x.pyc', 'soil/old.pyc', 'soil/.git/config', 'soil.egg-info/PKG-INFO'):
            self.write(path)
        self.assertEqual(self.names(['soil']), [
            'soil/__init__.py', 'soil/deep/__init__.py', 'soil/deep/roots.pyx', 'soil/table.csv'])

    def test_a_module_within_a_package_brings_the_packages_above_it(self):
        for path in ('soil/__init__.py', 'soil/other.py', 'soil/deep/__init__.py', 'soil/deep/roots.py'):
            self.write(path)
        self.assertEqual(self.names(['soil.deep.roots']), [
            'soil/__init__.py', 'soil/deep/__init__.py', 'soil/deep/roots.py'])
        self.assertEqual(self.names(['soil.deep']), [
            'soil/__init__.py', 'soil/deep/__init__.py', 'soil/deep/roots.py'])

    def test_a_namespace_package_in_several_places(self):
        self.write('one/spread/near.py')
        self.write('two/spread/far/__init__.py')
        sys.path[:0] = [os.path.join(self.folder, 'one'), os.path.join(self.folder, 'two')]
        if PY2:
            # Python 2 imports no folder without an __init__.py.
            self.assertIn('There is no module spread', self.refusal(['spread']))
            return
        self.assertEqual(self.names(['spread']), ['spread/far/__init__.py', 'spread/near.py'])
        self.assertEqual(self.names(['spread.far']), ['spread/far/__init__.py'])

    def test_a_namespace_package_that_extends_its_path(self):
        init = b"__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
        for place, name in (('one', 'near'), ('two', 'far')):
            self.write('%s/wide/__init__.py' % place, init)
            self.write('%s/wide/%s.py' % (place, name))
        sys.path[:0] = [os.path.join(self.folder, 'one'), os.path.join(self.folder, 'two')]
        import wide.far
        self.assertTrue(wide.far)
        self.assertEqual(self.names(['wide']), ['wide/__init__.py', 'wide/far.py', 'wide/near.py'])
        self.write('two/wide/__init__.py', init + b'# other\n')
        self.assertIn('Two files would lie at wide/__init__.py', self.refusal(['wide']))

    def test_what_is_missing_is_said(self):
        self.assertIn('There is no module nowhere', self.refusal(['nowhere']))
        self.write('soil/__init__.py')
        self.assertIn('There is no module soil.nowhere', self.refusal(['soil.nowhere']))
        self.assertIn('not the name of a module', self.refusal(['./soil']))
        with self.assertRaises(TypeError):
            collect([3], None)

    def test_what_is_everywhere_or_installed_is_refused(self):
        for name in ('json', 'sys', 'os.path'):
            self.assertIn('part of Python', self.refusal([name]), name)
        self.assertIn('in every sandbox', self.refusal(['perigee']))
        self.write('site-packages/theirs/__init__.py')
        sys.path.insert(0, os.path.join(self.folder, 'site-packages'))
        self.assertIn('is installed here', self.refusal(['theirs']))

    def test_byte_code_alone_is_refused(self):
        self.write('gone.pyc')
        module = types.ModuleType('gone')
        module.__file__ = os.path.join(self.folder, 'gone.pyc')
        sys.modules['gone'] = module
        self.assertIn('byte code', self.refusal(['gone']))
        self.write('shut/__init__.pyc')
        package = types.ModuleType('shut')
        package.__path__ = [os.path.join(self.folder, 'shut')]
        sys.modules['shut'] = package
        self.assertIn('byte code', self.refusal(['shut']))


class Extensions(Folder):
    def test_those_of_this_interpreter_are_taken_and_others_left_when_one_fits(self):
        own = 'cpython-%d%d' % tuple(sys.version_info[:2])
        own_name = '_fast.so' if PY2 else '_fast.%s-x86_64-linux-gnu.so' % own
        self.write('soil/__init__.py')
        self.write('soil/' + own_name, ELF_X64 + b'\0init_fast\0' if PY2 else ELF_X64)
        self.write('soil/_fast.cpython-36m-x86_64-linux-gnu.so', ELF_X64)
        self.assertEqual(self.names(['soil']), ['soil/__init__.py', 'soil/' + own_name])
        self.assertEqual(collect(['soil'], None).arch, 'x64')

    def test_those_of_others_are_refused_with_why(self):
        cases = [('a.cpython-36m-x86_64-linux-gnu.so', ELF_X64, 'for Python 3.6'),
                 ('a.pypy38-pp73.so', ELF_X64, 'for PyPy'),
                 ('a.pyd', b'MZ', 'for Windows'),
                 ('a.so', b'\xcf\xfa\xed\xfe' + b'\0' * 60, 'for macOS'),
                 ('a.so', b'no program', 'not a Linux program'),
                 ('a.so', ELF_X64 + (b'\0PyInit_a\0' if PY2 else b'\0inita\0'),
                  'for Python %d' % (3 if PY2 else 2))]
        for name, content, why in cases:
            shutil.rmtree(os.path.join(self.folder, 'soil'), ignore_errors=True)
            self.write('soil/__init__.py')
            self.write('soil/' + name, content)
            self.assertIn(why, self.refusal(['soil']), name)

    def test_a_library_without_an_entry_is_taken(self):
        self.write('soil/__init__.py')
        self.write('soil/libsoil.so', ELF_ARM64)
        self.assertIn('soil/libsoil.so', self.names(['soil']))
        self.assertEqual(collect(['soil'], None).arch, 'arm64')

    def test_the_interpreters_own_extensions_fit(self):
        import mmap
        path = getattr(mmap, '__file__', None)
        if path is not None:
            self.assertIsNone(_extension.find_misfit(path))


class Data(Folder):
    def test_a_relative_path_keeps_its_place(self):
        self.write('tables/soil.csv')
        self.assertEqual(self.names(data=['./tables/soil.csv']), ['tables/soil.csv'])
        self.assertEqual(self.names(data='tables'), ['tables/soil.csv'])

    def test_an_absolute_path_keeps_its_place_below_the_current_folder_or_the_path(self):
        path = self.write('tables/soil.csv')
        self.assertEqual(self.names(data=[path]), ['tables/soil.csv'])
        elsewhere = os.path.realpath(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, elsewhere)
        with open(os.path.join(elsewhere, 'far.csv'), 'w'):
            self.assertEqual(self.names(data=[os.path.join(elsewhere, 'far.csv')]), ['far.csv'])
        self.assertEqual(self.names(data=[elsewhere]), [os.path.basename(elsewhere) + '/far.csv'])
        sys.path.insert(0, elsewhere)
        self.assertEqual(self.names(data=[os.path.join(elsewhere, 'far.csv')]), ['far.csv'])

    def test_patterns(self):
        for path in ('a/1.tif', 'a/2.tif', 'a/2.txt', 'a/b/c/3.tif', 'a/.hidden.tif', 'odd[1].tif'):
            self.write(path)
        self.assertEqual(self.names(data=['a/*.tif']), ['a/1.tif', 'a/2.tif'])
        self.assertEqual(self.names(data=['a/**/*.tif']), ['a/1.tif', 'a/2.tif', 'a/b/c/3.tif'])
        self.assertEqual(self.names(data=['a/[13].t?f']), ['a/1.tif'])
        self.assertEqual(self.names(data=['odd[1].tif']), ['odd[1].tif'])
        self.assertEqual(self.names(data=['?/b']), ['a/b/c/3.tif'])

    def test_what_is_missing_is_refused_a_pattern_too(self):
        for path in ('nowhere.csv', 'nowhere/*.csv', '*.csv'):
            self.assertIn('there is no ' + path, self.refusal(data=[path]))

    def test_two_files_at_one_place_are_refused(self):
        self.write('one/x.csv', b'1')
        self.write('two/x.csv', b'2')
        os.chdir(os.path.join(self.folder, 'one'))
        sys.path[:] = [entry for entry in sys.path if entry != self.folder]
        self.assertIn('Two files', self.refusal(data=['x.csv', os.path.join(self.folder, 'two', 'x.csv')]))

    def test_links_within_are_followed_and_those_that_leave_are_refused(self):
        self.write('tables/soil.csv', b'clay')
        os.symlink('soil.csv', os.path.join(self.folder, 'tables/latest.csv'))
        archive = tarfile.open(fileobj=io.BytesIO(b''.join(IncludeArchive(collect(None, ['tables']).files))))
        self.assertEqual(archive.extractfile('tables/latest.csv').read(), b'clay')
        os.symlink('/etc/hostname', os.path.join(self.folder, 'tables/host'))
        self.assertIn('leads out of', self.refusal(data=['tables']))
        self.assertIn('leads out of', self.refusal(data=['tables/h*']))
        os.unlink(os.path.join(self.folder, 'tables/host'))
        os.symlink('..', os.path.join(self.folder, 'tables/up'))
        self.assertIn('leads out of', self.refusal(data=['tables']))
        os.unlink(os.path.join(self.folder, 'tables/up'))
        os.symlink('.', os.path.join(self.folder, 'tables/again'))
        self.assertIn('folder above it', self.refusal(data=['tables']))

    def test_what_is_no_file_is_refused(self):
        os.mkdir(os.path.join(self.folder, 'odd'))
        os.mkfifo(os.path.join(self.folder, 'odd/pipe'))
        self.assertIn('neither a file nor a folder', self.refusal(data=['odd']))

    def test_a_path_that_works_here_and_there(self):
        path = self.write('tables/soil.csv')
        self.assertEqual(perigee.include_path('tables/soil.csv'), path)
        with self.assertRaises(perigee.IncludeError):
            perigee.include_path('tables/none.csv')


class Archives(Folder):
    def test_the_same_files_are_the_same_bytes_whatever_their_times(self):
        self.write('a/x.txt', b'x' * 1000)
        self.write('a/run.sh', b'#!/bin/sh\n')
        os.chmod(os.path.join(self.folder, 'a/run.sh'), 0o755)
        self.write(u'a/Zürich.txt'.encode('utf-8') if PY2 else u'a/Zürich.txt', b'z')
        self.write('a/%s/deep.txt' % ('d' * 120), b'deep')
        first = IncludeArchive(collect(None, ['a']).files)
        os.utime(os.path.join(self.folder, 'a/x.txt'), (1, 1))
        second = IncludeArchive(collect(None, ['a']).files)
        # Of Python 2.7 and of 3: the text is this test's, not a version's.
        self.assertEqual(first.sha256(), 'c324d4a534b4f25e4164034dd8ebcd30f64fcff722b3f3cd465b9b41a03067e9')
        self.assertEqual(first.sha256(), second.sha256())
        data = b''.join(first)
        self.assertEqual(len(data), len(first))
        archive = tarfile.open(fileobj=io.BytesIO(data))
        found = dict((member.name, member.mode) for member in archive)
        self.assertEqual(found['a/run.sh'], 0o755)
        self.assertEqual(archive.extractfile('a/%s/deep.txt' % ('d' * 120)).read(), b'deep')

    def test_a_file_that_changes_meanwhile_is_said(self):
        path = self.write('a.txt', b'12345')
        archive = IncludeArchive(collect(None, ['a.txt']).files)
        for content in (b'1234', b'123456'):
            with open(path, 'wb') as opened:
                opened.write(content)
            with self.assertRaises(perigee.IncludeError) as caught:
                b''.join(archive)
            self.assertIn('changed while', caught.exception.message)

    def test_a_large_file_is_never_in_memory_as_a_whole(self):
        with open(os.path.join(self.folder, 'large.bin'), 'wb') as opened:
            opened.truncate(9 * 1024 ** 3)
        archive = IncludeArchive(collect(None, ['large.bin']).files)
        pieces = iter(archive)
        head = next(pieces)
        self.assertEqual(tarfile.TarInfo.frombuf(head, *(() if PY2 else ('utf-8', 'strict'))).size, 9 * 1024 ** 3)
        self.assertLessEqual(max(len(next(pieces)) for _ in range(20)), 1024 * 1024)


if __name__ == '__main__':
    unittest.main()
