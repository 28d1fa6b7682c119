# -*- coding: utf-8 -*-
"""The part of Perigee that runs inside the sandbox: loads one function and calls it, task by task.

One file, standard library only, for Python 2.7 and 3.8 or later, so that an image needs nothing but
an interpreter. It speaks frames with the runner over two descriptors (``runner/frames.ts`` is the
other end); whatever user code does to it can break this worker only, because the agent believes a
frame only as far as it fits the one task that is running, and never opens a payload.

A frame is its length (u32, big-endian), a kind byte and a body. In: ``I`` set-up (JSON), ``T`` task,
``A`` the output of the last task has been read, ``Q`` quit. Out: ``R`` ready, ``U`` the function
cannot be loaded, ``P`` a part of a large result, ``D`` done.
"""
from __future__ import absolute_import, division, print_function

import array
import errno
import fcntl
import os
import resource
import signal
import struct
import sys
import termios
import time
import types

PY2 = sys.version_info[0] == 2
if PY2:
    import cPickle as pickle
    PICKLE_PROTOCOL = 2
    text_type = unicode  # noqa: F821
    integers = (int, long)  # noqa: F821
    monotonic = time.time
else:
    import pickle
    PICKLE_PROTOCOL = min(5, pickle.HIGHEST_PROTOCOL)
    text_type = str
    integers = int
    monotonic = time.monotonic

HARNESS_VERSION = 1
READ_BYTES = 256 * 1024
PART_BYTES = 256 * 1024
# What an ordinary user may make a pipe hold; large results pass in long runs instead of 64 KiB ones.
PIPE_BYTES = 1024 * 1024
F_SETPIPE_SZ = 1031  # Linux; Python 2.7 does not name it
SWEEP_SECONDS_MAX = 2.0
# The kernel stamps files by a coarse clock, 1 to 10 ms behind the one that programs read.
CLOCK_TICK_SECONDS = 0.02
# A task that took less is given the peak read last, for so many tasks at most.
PEAK_UNREAD_SECONDS = 0.0002
PEAK_UNREAD_TASKS = 64
# Above the descriptors that programs use, below the limit that the runner sets.
PROTOCOL_FD_MIN = 900

TAG_PICKLE, TAG_JSON, TAG_MSGPACK = 0x50, 0x4A, 0x4D
STATUS_SUCCESS, STATUS_EXCEPTION = 0, 1
FLAG_OUTPUT, FLAG_IN_PARTS = 1, 2
TASK_INLINE, TASK_FILE = 0, 1

FRAME_HEAD = struct.Struct('>I')
TASK_HEAD = struct.Struct('>cIB')
DONE_HEAD = struct.Struct('>IcIBBdQ')
PART_HEAD = struct.Struct('>IcI')
FLAGS_OFFSET = 10

# Linux, the same on x64 and arm64.
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP = 1, 4, 22
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
SYS_LANDLOCK_CREATE, SYS_LANDLOCK_ADD_RULE, SYS_LANDLOCK_RESTRICT = 444, 445, 446


#: The arguments of the call that runs, for what a task tells of itself (`perigee.outputs`); None between calls.
current_call = None
#: Calls that are over: what belonged to one of them does not to the next.
calls_ended = 0


class Channel(object):
    """Frames over two descriptors. Every end of the agent ends this process."""

    def __init__(self, read_fd, write_fd):
        self.read_fd = read_fd
        self.write_fd = write_fd
        self.buffer = b''
        self.position = 0
        self.is_wide = False

    def read_frame(self):
        """The next frame's bytes, kind byte first; blocks."""
        while True:
            left = len(self.buffer) - self.position
            if left >= 4:
                size = FRAME_HEAD.unpack_from(self.buffer, self.position)[0]
                if left >= 4 + size:
                    start = self.position + 4
                    self.position = start + size
                    return self.buffer[start:self.position]
            self._fill()

    def _fill(self):
        try:
            chunk = os.read(self.read_fd, READ_BYTES)
        except OSError as caught:
            if caught.errno == errno.EINTR:
                return
            os._exit(70)
        if not chunk:
            os._exit(0)
        if self.position == len(self.buffer):
            self.buffer = chunk
        else:
            self.buffer = self.buffer[self.position:] + chunk
        self.position = 0

    def write(self, data):
        """All of `data`; a closed descriptor (user code may close everything) ends the process."""
        written = self._write_some(data)
        if written < len(data):
            view = memoryview(data)
            while written < len(data):
                written += self._write_some(view[written:])

    def _write_some(self, data):
        try:
            return os.write(self.write_fd, data)
        except OSError as caught:
            if caught.errno != errno.EINTR:
                os._exit(70)
            return 0

    def widen(self):
        """Lets the pipe hold more, once; where it may not, it stays as it is."""
        if self.is_wide:
            return
        self.is_wide = True
        try:
            fcntl.fcntl(self.write_fd, F_SETPIPE_SZ, PIPE_BYTES)
        except (OSError, IOError):
            return

    def write_json(self, kind, value):
        body = encode_json_text(value)
        self.write(FRAME_HEAD.pack(1 + len(body)) + kind + body)


class Alarms(object):
    """Whether a task has set an alarm, which must not go off in a later one: a system call saved."""

    def __init__(self):
        self.may_be_set = False

    def watch(self):
        """Notes from now on who asks for one."""
        for name in ('alarm', 'setitimer'):
            setattr(signal, name, self._noting(getattr(signal, name)))

    def silence(self):
        """Takes back what was asked for."""
        if self.may_be_set:
            self.may_be_set = False
            self.alarm(0)

    def _noting(self, ask):
        def ask_and_note(*args):
            self.may_be_set = True
            return ask(*args)
        ask_and_note.__name__ = ask.__name__
        ask_and_note.__doc__ = ask.__doc__
        return ask_and_note

    alarm = staticmethod(signal.alarm)


ALARMS = Alarms()


class Harness(object):
    """One worker: its set-up, its function, and the loop over tasks."""

    def __init__(self, channel):
        self.channel = channel
        self.setup = None
        self.function = None
        # Of the process that speaks with the runner: one that user code forked is another.
        self.pid = os.getpid()
        self.stdout = sys.stdout
        self.stderr = sys.stderr
        self.unread = array.array('i', [0])
        self.peak = 0
        self.peak_age = PEAK_UNREAD_TASKS

    def prepare(self):
        """Reads the set-up, confines this process, loads the function, says so."""
        frame = self.channel.read_frame()
        import json
        setup = json.loads(frame[1:].decode('utf-8'))
        self.setup = setup
        apply_environment(setup['environment'])
        os.chdir(native(setup['workFolder']))
        confine(setup)
        replace_main()
        ALARMS.watch()
        mismatch = find_version_mismatch(setup['python'])
        if mismatch is not None:
            self._refuse('version_mismatch', {
                'name': 'VersionMismatch', 'message': mismatch, 'traceback': ''})
        try:
            extend_path(setup)
            link_include(setup)
            self.function = load_function(setup)
            self._end_forked()
        except BaseException:
            self._end_forked(sys.exc_info()[1])
            self._refuse('exception', describe_exception(setup['texts']))
        if setup['taskIsolation'] == 'task':
            # Here once, not in each child.
            import random  # noqa: F401
            import select  # noqa: F401
            import shutil  # noqa: F401
            # Children cannot look into the process that outlives them.
            libc_prctl(PR_SET_DUMPABLE, 0)
        self._flush()
        self.channel.write_json(b'R', {'version': HARNESS_VERSION, 'python': python_tag()})

    def serve(self):
        """Runs tasks until it is told to quit."""
        run = self._run_forked if self.setup['taskIsolation'] == 'task' else self._run_here
        while True:
            frame = self.channel.read_frame()
            kind = frame[:1]
            if kind == b'T':
                run(frame)
            elif kind == b'Q':
                self._flush()
                os._exit(0)
            elif kind != b'A':
                os._exit(71)

    def _refuse(self, code, failure):
        self._flush()
        failure['code'] = code
        self.channel.write_json(b'U', failure)
        os._exit(0)

    def _run_here(self, frame):
        started = time.time()
        done = self._run(frame)
        ALARMS.silence()
        sys.stdout = self.stdout
        sys.stderr = self.stderr
        self._flush()
        sweep(self.setup)
        self._finish(done, started)

    def _run_forked(self, frame):
        """Runs the task in a child; whatever ends the child by force ends this worker the same way."""
        started = time.time()
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            self._run_as_child(frame, read_end, write_end)
        os.close(write_end)
        done = receive_done(read_end, child)
        os.close(read_end)
        if done is None:
            end_like(wait_for(child))
        reap(child)
        sweep(self.setup)
        wipe(self.setup['wipe'])
        link_include(self.setup)
        self._finish(bytearray(done), started)

    def _run_as_child(self, frame, read_end, write_end):
        self.pid = os.getpid()
        os.close(read_end)
        fcntl.fcntl(write_end, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        # Undone for the child, whose own /proc/self (and with it /dev/stdout) would be closed to it.
        libc_prctl(PR_SET_DUMPABLE, 1)
        import random
        random.seed()
        numpy_random = sys.modules.get('numpy.random')
        if numpy_random is not None:
            numpy_random.seed()
        done = self._run(frame)
        self._flush()
        out = Channel(-1, write_end)
        out.write(FRAME_HEAD.pack(len(done)))
        out.write(done)
        os._exit(0)

    def _run(self, frame):
        """Runs one task; the `D` frame that says how it ended."""
        _, number, how = TASK_HEAD.unpack_from(frame)
        started = monotonic()
        status, flags, body = STATUS_SUCCESS, 0, b''
        try:
            try:
                arguments, keywords = decode_arguments(frame[TASK_HEAD.size:], how)
                remember_call((arguments, keywords))
                result = self.function(*arguments, **keywords)
                ended = monotonic()
                self._end_forked()
                body = encode_result(result, self.setup)
            except BaseException:
                # All of it: SystemExit, KeyboardInterrupt, MemoryError end a task, not the worker.
                ended = monotonic()
                self._end_forked(sys.exc_info()[1])
                status, body = STATUS_EXCEPTION, encode_json_text(
                    describe_exception(self.setup['texts']))
        except BaseException as caught:
            # The description itself failed (no memory, a hostile __str__).
            ended = monotonic()
            status, body = STATUS_EXCEPTION, encode_json_text(
                {'name': type(caught).__name__, 'message': '', 'traceback': ''})
        if status == STATUS_SUCCESS and len(body) - 1 > self.setup['inlineBytesMax']:
            self._write_parts(number, body)
            body = body[:1]
            flags |= FLAG_IN_PARTS
        remember_call(None)
        seconds = max(0.0, ended - started)
        # The kernel's mark of the peak only grows: of tasks too short to fill memory it need not be read.
        if seconds > PEAK_UNREAD_SECONDS or status != STATUS_SUCCESS or self.peak_age >= PEAK_UNREAD_TASKS:
            self.peak = resource.getrusage(resource.RUSAGE_SELF)[2] * 1024
            self.peak_age = 0
        self.peak_age += 1
        head = DONE_HEAD.pack(
            DONE_HEAD.size - 4 + len(body), b'D', number, status, flags, seconds, self.peak)
        return bytearray(head + body)

    def _end_forked(self, raised=None):
        """In a process that user code forked and let come back here: ends it, as Python would.

        What it returned or raised is no outcome of the task: that is its parent's.
        """
        if os.getpid() == self.pid:
            return
        status = 1
        try:
            status = self._tell_end(raised)
        finally:
            os._exit(status)

    def _tell_end(self, raised):
        """The exit status of what user code raised, or None; what Python would say of it is on stderr."""
        status, said = 0, None
        if isinstance(raised, SystemExit):
            code = raised.code
            if isinstance(code, integers):
                status = code & 0xFF
            elif code is not None:
                status, said = 1, u'%s\n' % describe_message(code)
        elif raised is not None:
            status, said = 1, describe_exception(self.setup['texts'])['traceback']
        for stream in (sys.stdout, sys.stderr):
            try:
                if said is not None and stream is sys.stderr:
                    stream.write(native(said))
                stream.flush()
            except Exception:  # of the user's own, or closed
                continue
        self._flush()
        return status

    def _write_parts(self, number, body):
        self.channel.widen()
        view = memoryview(body)
        for start in range(1, len(body), PART_BYTES):
            part = view[start:start + PART_BYTES]
            self.channel.write(PART_HEAD.pack(5 + len(part), b'P', number))
            self.channel.write(part)

    def _finish(self, done, started):
        """Sends the outcome; when the task may have written output, waits until the runner has it.

        The wait is what makes it exact which task wrote what: the next one has not begun.
        """
        wrote = self._may_have_written(started)
        if wrote:
            done[FLAGS_OFFSET] |= FLAG_OUTPUT
        self.channel.write(done)
        if wrote:
            self._await_acknowledgement()

    def _may_have_written(self, started):
        """Whether anything, a subprocess too, wrote to the log since `started` (wall clock).

        The pipe's own time of change tells: a system call for tasks that print nothing, where an
        acknowledgement of each would cost a round trip. Where it does not tell, each is waited for.
        """
        if self.setup['acknowledgesAll']:
            return True
        try:
            if os.fstat(1).st_mtime >= started - CLOCK_TICK_SECONDS:
                return True
            fcntl.ioctl(1, termios.FIONREAD, self.unread, True)
            return self.unread[0] != 0
        except (OSError, IOError):
            return False

    def _await_acknowledgement(self):
        waiting = []
        while True:
            frame = self.channel.read_frame()
            if frame[:1] == b'A':
                break
            waiting.append(FRAME_HEAD.pack(len(frame)) + frame)
        if waiting:
            rest = self.channel.buffer[self.channel.position:]
            self.channel.buffer = b''.join(waiting) + rest
            self.channel.position = 0

    def _flush(self):
        for stream in (self.stdout, self.stderr):
            try:
                stream.flush()
            except Exception:  # closed by user code, or its other end: nothing is left to flush
                continue


# Loading -----------------------------------------------------------------------------------------

def load_function(setup):
    """The group's function, from its pickle or its source."""
    with open(setup['functionPath'], 'rb') as opened:
        data = opened.read()
    if setup['functionKind'] == 'pickle':
        return pickle.loads(data)
    module = types.ModuleType('perigee_function')
    sys.modules['perigee_function'] = module
    file_name = native(setup['functionName']) + '.py'
    module.__file__ = file_name
    remember_source(file_name, data)
    exec(compile(data, file_name, 'exec', 0, True), module.__dict__)
    entry = native(setup['functionEntry'])
    if not callable(getattr(module, entry, None)):
        raise NameError('the source of %s defines no callable %r' % (setup['functionName'], entry))
    return getattr(module, entry)


def remember_source(file_name, data):
    """So that tracebacks show the lines, though no such file exists here."""
    import linecache
    text = data if PY2 else data.decode('utf-8', 'replace')
    linecache.cache[file_name] = (len(data), None, text.splitlines(True), file_name)


def extend_path(setup):
    """Puts what the worker brings along before what the image has."""
    import site
    # As PYTHONPATH in the image would: before what the interpreter finds by itself.
    sys.path[:0] = [native(path) for path in setup.get('imagePaths', ())]
    paths = [native(path) for path in setup['paths']]
    sys.path[:0] = paths
    for path in paths:
        if not os.path.isdir(path) or not any(name.endswith('.pth') for name in os.listdir(path)):
            continue
        # Namespace packages and the like; what a .pth adds comes behind its own folder.
        known = list(sys.path)
        site.addsitedir(path)
        added = [other for other in sys.path if other not in known]
        sys.path[:] = known
        place = sys.path.index(path) + 1
        sys.path[place:place] = added


def link_include(setup):
    """What the group carries, at the same relative paths in the folder that tasks start in."""
    folder = setup.get('includeFolder')
    if folder is None:
        return
    folder = native(folder)
    os.environ['PERIGEE_INCLUDE'] = folder
    for name in os.listdir(folder):
        place = os.path.join(native(setup['workFolder']), name)
        if not os.path.lexists(place):
            os.symlink(os.path.join(folder, name), place)


def python_tag():
    import platform
    return '%s %d.%d' % ((platform.python_implementation(),) + tuple(sys.version_info[:2]))


def find_version_mismatch(python):
    """Text with the fix when the function was made by another Python than this one; else None."""
    wanted = '%s %s' % (python['implementation'], '.'.join(python['version'].split('.')[:2]))
    have = python_tag()
    if wanted == have:
        return None
    return ('the function was made by %s, the image runs %s: run the client with %s, or choose an '
            'image that has %s' % (wanted, have, have, wanted))


def replace_main():
    """User code gets a clean `__main__`: names pickled by reference must not meet the harness's."""
    sys.modules['perigee_harness'] = sys.modules['__main__']
    sys.modules['__main__'] = types.ModuleType('__main__')


# Payloads ----------------------------------------------------------------------------------------

def decode_arguments(payload, how):
    """The pair (positional, keyword) of an argument payload, given inline or as a path."""
    tag = ord(payload[:1])
    if how == TASK_FILE:
        with open(payload[1:].decode('utf-8'), 'rb') as opened:
            if tag == TAG_PICKLE:
                return pickle.load(opened)
            data = opened.read()
    else:
        data = payload[1:]
        if tag == TAG_PICKLE:
            return pickle.loads(data)
    if tag == TAG_JSON:
        import json
        arguments, keywords = json.loads(data.decode('utf-8'))
    elif tag == TAG_MSGPACK:
        arguments, keywords = decode_msgpack(data)
    else:
        raise ValueError('the arguments are encoded in a way that this harness does not know: %d' % tag)
    return arguments, dict((native(key), value) for key, value in keywords.items())


def remember_call(call):
    global current_call, calls_ended
    current_call = call
    if call is None:
        calls_ended += 1


def encode_result(result, setup):
    """The result's payload, tag byte first."""
    how = setup['resultFormat']
    if how == 'json':
        payload = b'J' + encode_json_result(result)
    elif how == 'msgpack':
        payload = b'M' + encode_msgpack(result)
    else:
        payload = b'P' + encode_pickle(result)
    if len(payload) - 1 > setup['resultBytesMax']:
        raise ValueError('the result is %d bytes, the limit is %d: write it to a file or an object '
                         'store and return its address' % (len(payload) - 1, setup['resultBytesMax']))
    return payload


def encode_pickle(result):
    try:
        return pickle.dumps(result, PICKLE_PROTOCOL)
    except Exception as caught:  # whatever a __reduce__ raises
        try:
            import cloudpickle
        except ImportError:
            raise unpicklable(result, caught)
        try:
            return cloudpickle.dumps(result, PICKLE_PROTOCOL)
        except Exception as second:
            raise unpicklable(result, second)


def unpicklable(result, caught):
    return TypeError('the result cannot be pickled: a %s (%s: %s); return plain data, or close what it '
                     'holds open' % (type_name(result), type(caught).__name__, caught))


def encode_json_text(value):
    import json
    text = json.dumps(value)
    return text if PY2 else text.encode('ascii')


def encode_json_result(result):
    import json
    fault = None
    try:
        text = json.dumps(result, allow_nan=False, separators=(',', ':'))
    except (TypeError, ValueError) as caught:
        fault = caught
    if fault is not None:
        where = find_json_fault(result, 'result', 0)
        raise TypeError('the result is not JSON: %s' % (where or fault))
    where = find_json_key_fault(result)
    if where is not None:
        raise TypeError('the result is not JSON: %s' % where)
    return text if PY2 else text.encode('utf-8')


def find_json_fault(value, path, depth):
    """What in `value` is not JSON, and where; None when nothing is found."""
    if depth > 200:
        return '%s is nested too deep, or contains itself' % path
    if value is None or isinstance(value, (bool, int, text_type)):
        return None
    if PY2 and isinstance(value, long):  # noqa: F821
        return None
    if PY2 and isinstance(value, str):
        try:
            value.decode('utf-8')
        except UnicodeDecodeError:
            return '%s is a str whose bytes are not UTF-8' % path
        return None
    if isinstance(value, float):
        return None if value - value == 0 else '%s is %r' % (path, value)
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            fault = find_json_fault(item, '%s[%d]' % (path, index), depth + 1)
            if fault is not None:
                return fault
        return None
    if isinstance(value, dict):
        for key, item in value.items():
            fault = find_json_fault(item, '%s[%r]' % (path, key), depth + 1)
            if fault is not None:
                return fault
        return None
    return '%s is a %s' % (path, type_name(value))


def find_json_key_fault(result):
    """json.dumps turns other keys into text without a word; a reader would get another value."""
    waiting = [('result', result)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            for key, item in value.items():
                if not isinstance(key, (str, text_type)):
                    return '%s has a key of type %s' % (path, type_name(key))
                if isinstance(item, (dict, list, tuple)):
                    waiting.append(('%s[%r]' % (path, key), item))
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                if isinstance(item, (dict, list, tuple)):
                    waiting.append(('%s[%d]' % (path, index), item))
    return None


def type_name(value):
    kind = type(value)
    module = getattr(kind, '__module__', None)
    if module in (None, '__builtin__', 'builtins', '__main__'):
        return kind.__name__
    return '%s.%s' % (module, kind.__name__)


# msgpack -----------------------------------------------------------------------------------------
# The whole format but foreign extension types; the TypeScript SDK's payloads.

def encode_msgpack(value):
    parts = []
    pack_value(value, parts.append, 'result', 0)
    return b''.join(parts)


def pack_value(value, emit, path, depth):
    if depth > 500:
        raise ValueError('%s is nested too deep, or contains itself' % path)
    if value is None:
        emit(b'\xc0')
    elif value is True:
        emit(b'\xc3')
    elif value is False:
        emit(b'\xc2')
    elif isinstance(value, (int, long) if PY2 else int):  # noqa: F821
        emit(pack_integer(value, path))
    elif isinstance(value, float):
        emit(struct.pack('>Bd', 0xCB, value))
    elif isinstance(value, text_type):
        emit(pack_text(value.encode('utf-8')))
    elif PY2 and isinstance(value, str):
        emit(pack_native(value))
    elif isinstance(value, (bytes, bytearray)):
        emit(pack_sized(len(value), (None, 0xC4, 0xC5, 0xC6)) + bytes(value))
    elif isinstance(value, (list, tuple)):
        emit(pack_sized(len(value), (0x90, None, 0xDC, 0xDD)))
        for index, item in enumerate(value):
            pack_value(item, emit, '%s[%d]' % (path, index) if depth < 8 else path, depth + 1)
    elif isinstance(value, dict):
        emit(pack_sized(len(value), (0x80, None, 0xDE, 0xDF)))
        for key, item in value.items():
            pack_value(key, emit, path, depth + 1)
            pack_value(item, emit, '%s[%r]' % (path, key) if depth < 8 else path, depth + 1)
    else:
        emit(pack_other(value, path))


def pack_integer(value, path):
    if 0 <= value < 0x80:
        return struct.pack('B', value)
    if -0x20 <= value < 0:
        return struct.pack('b', value)
    if value >= 0:
        for code, form, limit in ((0xCC, '>BB', 8), (0xCD, '>BH', 16), (0xCE, '>BI', 32), (0xCF, '>BQ', 64)):
            if value < 1 << limit:
                return struct.pack(form, code, value)
    else:
        for code, form, limit in ((0xD0, '>Bb', 7), (0xD1, '>Bh', 15), (0xD2, '>Bi', 31), (0xD3, '>Bq', 63)):
            if value >= -(1 << limit):
                return struct.pack(form, code, value)
    raise OverflowError('%s is an integer of more than 64 bits, which msgpack cannot hold' % path)


def pack_text(data):
    if len(data) < 32:
        return struct.pack('B', 0xA0 | len(data)) + data
    return pack_sized(len(data), (None, 0xD9, 0xDA, 0xDB)) + data


def pack_native(value):
    """Python 2's str may be either; text when it reads as text."""
    try:
        value.decode('utf-8')
    except UnicodeDecodeError:
        return pack_sized(len(value), (None, 0xC4, 0xC5, 0xC6)) + value
    return pack_text(value)


def pack_sized(size, codes):
    fixed, code8, code16, code32 = codes
    if fixed is not None and size < 16:
        return struct.pack('B', fixed | size)
    if code8 is not None and size < 1 << 8:
        return struct.pack('>BB', code8, size)
    if size < 1 << 16:
        return struct.pack('>BH', code16, size)
    return struct.pack('>BI', code32, size)


def pack_other(value, path):
    import datetime
    if isinstance(value, datetime.datetime):
        utc = value
        if value.tzinfo is not None:
            utc = (value - value.utcoffset()).replace(tzinfo=None)
        since = utc - datetime.datetime(1970, 1, 1)
        seconds = since.days * 86400 + since.seconds
        return struct.pack('>BBbIq', 0xC7, 12, -1, since.microseconds * 1000, seconds)
    raise TypeError('%s is a %s, which msgpack has no form for; return None, booleans, numbers, text, '
                    'bytes, lists and dicts of them' % (path, type_name(value)))


def decode_msgpack(data):
    value, end = unpack_value(data, 0)
    if end != len(data):
        raise ValueError('bytes are left behind the msgpack value')
    return value


def unpack_value(data, at):
    code = ord(data[at:at + 1])
    at += 1
    if code < 0x80:
        return code, at
    if code >= 0xE0:
        return code - 0x100, at
    if code < 0x90:
        return unpack_map(data, at, code & 0x0F)
    if code < 0xA0:
        return unpack_list(data, at, code & 0x0F)
    if code < 0xC0:
        return unpack_text(data, at, code & 0x1F)
    if code in UNPACK_CONSTANTS:
        return UNPACK_CONSTANTS[code], at
    if code in UNPACK_NUMBERS:
        form = UNPACK_NUMBERS[code]
        return form.unpack_from(data, at)[0], at + form.size
    if code in UNPACK_SIZED:
        form, read = UNPACK_SIZED[code]
        return read(data, at + form.size, form.unpack_from(data, at)[0])
    if 0xD4 <= code <= 0xD8:
        return unpack_extension(data, at, 1 << (code - 0xD4))
    raise ValueError('not msgpack: byte %#x' % code)


def unpack_bytes(data, at, size):
    if at + size > len(data):
        raise ValueError('the msgpack value ends early')
    return bytes(data[at:at + size]), at + size


def unpack_text(data, at, size):
    value, at = unpack_bytes(data, at, size)
    return value.decode('utf-8'), at


def unpack_list(data, at, size):
    items = []
    for _ in range(size):
        item, at = unpack_value(data, at)
        items.append(item)
    return items, at


def unpack_map(data, at, size):
    items = {}
    for _ in range(size):
        key, at = unpack_value(data, at)
        items[key], at = unpack_value(data, at)
    return items, at


def unpack_extension(data, at, size):
    kind = struct.unpack_from('b', data, at)[0]
    body, at = unpack_bytes(data, at + 1, size)
    if kind == 0 and size == 1:
        return None, at  # msgpackr's `undefined`
    if kind != -1:
        raise ValueError('the msgpack extension type %d is not known' % kind)
    if size == 4:
        seconds, nanoseconds = struct.unpack('>I', body)[0], 0
    elif size == 8:
        both = struct.unpack('>Q', body)[0]
        seconds, nanoseconds = both & 0x3FFFFFFFF, both >> 34
    else:
        nanoseconds, seconds = struct.unpack('>Iq', body)
    import datetime
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(
        seconds=seconds, microseconds=nanoseconds // 1000)
    return (moment if PY2 else moment.replace(tzinfo=datetime.timezone.utc)), at


U8, U16, U32 = struct.Struct('>B'), struct.Struct('>H'), struct.Struct('>I')
UNPACK_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
UNPACK_NUMBERS = {
    0xCA: struct.Struct('>f'), 0xCB: struct.Struct('>d'),
    0xCC: U8, 0xCD: U16, 0xCE: U32, 0xCF: struct.Struct('>Q'),
    0xD0: struct.Struct('>b'), 0xD1: struct.Struct('>h'), 0xD2: struct.Struct('>i'), 0xD3: struct.Struct('>q'),
}
UNPACK_SIZED = {
    0xC4: (U8, unpack_bytes), 0xC5: (U16, unpack_bytes), 0xC6: (U32, unpack_bytes),
    0xC7: (U8, unpack_extension), 0xC8: (U16, unpack_extension), 0xC9: (U32, unpack_extension),
    0xD9: (U8, unpack_text), 0xDA: (U16, unpack_text), 0xDB: (U32, unpack_text),
    0xDC: (U16, unpack_list), 0xDD: (U32, unpack_list),
    0xDE: (U16, unpack_map), 0xDF: (U32, unpack_map),
}


# Exceptions --------------------------------------------------------------------------------------

def describe_exception(texts):
    """Name, message and traceback of the exception that is being handled, as bounded text."""
    kind, value, trace = sys.exc_info()
    name = cut(decode_text(getattr(kind, '__name__', str(kind))), texts['nameCharsMax'])
    message = describe_message(value)
    own_code = describe_exception.__code__.co_filename
    while trace is not None and trace.tb_frame.f_code.co_filename == own_code:
        trace = trace.tb_next
    return {
        'name': name,
        'message': cut(message, texts['messageCharsMax']),
        'traceback': cut(format_traceback((kind, value, trace), message, texts), texts['tracebackCharsMax']),
    }


def describe_message(value):
    try:
        return decode_text(str(value))
    except UnicodeError:
        try:
            return text_type(value)
        except Exception:
            return decode_text(repr(value))
    except Exception as caught:  # a __str__ of the user's
        return decode_text('(its text could not be had: %s)' % type(caught).__name__)


def format_traceback(exception, message, texts):
    import traceback
    kind, value, trace = exception
    if len(message) > texts['messageCharsMax']:
        # The standard formatter copies the message several times: a 1 GB one would end the worker.
        lines = ['Traceback (most recent call last):\n'] if trace is not None else []
        lines += traceback.format_tb(trace) if trace is not None else []
        lines.append('%s: %s\n' % (kind.__name__, native(cut(message, texts['messageCharsMax']))))
    else:
        try:
            lines = traceback.format_exception(kind, value, trace)
        except Exception:  # a hostile __str__ or __cause__
            lines = traceback.format_tb(trace) if trace is not None else []
    return u''.join(decode_text(line) for line in lines)


def cut(text, chars_max):
    """`text`, its middle left out when it is longer."""
    if len(text) <= chars_max:
        return text
    mark = u' \u2026 [%d characters cut] \u2026 ' % (len(text) - chars_max)
    kept = chars_max - len(mark)
    return text[:kept // 2] + mark + text[len(text) - (kept - kept // 2):]


def decode_text(value):
    if isinstance(value, bytes):
        return value.decode('utf-8', 'replace')
    # A lone surrogate is a fine str but no UTF-8.
    return value if PY2 else value.encode('utf-8', 'replace').decode('utf-8')


def native(value):
    """Text as this interpreter's own `str`."""
    if PY2 and isinstance(value, text_type):
        return value.encode('utf-8')
    return value


# Processes ---------------------------------------------------------------------------------------

def sweep(setup):
    """Kills every process that a task left behind; costs one system call when there is none."""
    if setup['sweep'] == 'namespace':
        sweep_namespace()
    else:
        sweep_descendants(setup['sweep'])


def sweep_namespace():
    deadline = None
    while True:
        try:
            # Spares this process and pid 1, and fails when there is no other.
            os.kill(-1, signal.SIGKILL)
        except OSError:
            return
        reap_all()
        deadline = wait_a_little(deadline)


def sweep_descendants(how):
    """Without a pid namespace: orphans come to this process, which has asked to adopt them."""
    deadline = None
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] != 0:
                continue
        except OSError:
            return  # no child, and so no descendant
        if how == 'uid':
            # The runner has given this user to no one else.
            kill_quietly(-1)
        else:
            for child in list_children():
                kill_quietly(child)
        deadline = wait_a_little(deadline)


def kill_quietly(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return


def wait_a_little(deadline):
    """For the killed to be gone; a task whose processes cannot be killed ends its worker."""
    deadline = deadline or monotonic() + SWEEP_SECONDS_MAX
    if monotonic() > deadline:
        os._exit(72)
    time.sleep(0.0005)
    return deadline


def list_children():
    own = os.getpid()
    found = []
    for name in os.listdir('/proc'):
        if not name.isdigit():
            continue
        try:
            with open('/proc/%s/stat' % name, 'rb') as opened:
                fields = opened.read().rpartition(b')')[2].split()
        except (IOError, OSError):
            continue
        if int(fields[1]) == own:
            found.append(int(name))
    return found


def reap_all():
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except OSError:
            return


def receive_done(read_end, child):
    """The child's `D` frame; None when it died without one. Its own children may hold the pipe open."""
    import select
    data = b''
    dead = False
    while True:
        try:
            ready = select.select([read_end], [], [], 0 if dead else 0.05)[0]
        except (OSError, select.error) as caught:
            if caught.args[0] == errno.EINTR:
                continue
            raise
        if not ready:
            if dead:
                return None
            # It may have written its frame between the look at the pipe and this one: look once more.
            dead = is_dead(child)
            continue
        chunk = os.read(read_end, READ_BYTES)
        if not chunk:
            return None
        data += chunk
        if len(data) >= 4 and len(data) - 4 >= FRAME_HEAD.unpack_from(data)[0]:
            return data[4:]


def is_dead(pid):
    try:
        with open('/proc/%d/stat' % pid, 'rb') as opened:
            return opened.read().rpartition(b')')[2].split()[0] == b'Z'
    except (IOError, OSError):
        return True


def wait_for(pid):
    while True:
        try:
            return os.waitpid(pid, 0)[1]
        except OSError as caught:
            if caught.errno != errno.EINTR:
                return 0


def reap(pid):
    wait_for(pid)


def end_like(status):
    """Ends this worker as its task's process ended, so that the runner sees the true cause."""
    if os.WIFSIGNALED(status):
        os._exit(128 + os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


def wipe(folders):
    """Removes what a task left in the writable folders."""
    import shutil
    for folder in folders:
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if os.path.isdir(path) and not os.path.islink(path):
                make_removable(path)
                shutil.rmtree(path, ignore_errors=True)
            else:
                try:
                    os.unlink(path)
                except OSError:
                    continue


def make_removable(path):
    """Gives every folder below `path` back its rights, from the top down so that each can be listed."""
    allow_all(path)
    for folder, names, _ in os.walk(path):
        for name in names:
            inner = os.path.join(folder, name)
            if not os.path.islink(inner):
                allow_all(inner)


def allow_all(folder):
    try:
        os.chmod(folder, 0o700)
    except OSError:
        return  # gone, or not ours: its removal says so


# Confinement -------------------------------------------------------------------------------------

def apply_environment(environment):
    for key, value in environment.items():
        os.environ[native(key)] = native(value)
    if 'TZ' in environment:
        time.tzset()
    for folder in reversed(os.environ.get('PYTHONPATH', '').split(os.pathsep)):
        # The interpreter started before the group's environment was known.
        if folder and folder not in sys.path:
            sys.path.insert(0, folder)


def confine(setup):
    """What the launcher has not done already: the limits and, without namespaces, all the rest."""
    for name, value in setup['rlimits'].items():
        kind = getattr(resource, 'RLIMIT_' + name.upper(), None)
        if kind is not None:
            hard = resource.getrlimit(kind)[1]
            limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (limit, limit))
    if setup['parentDeathSignal']:
        libc_prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if setup['sweep'] != 'namespace':
        libc_prctl(PR_SET_CHILD_SUBREAPER, 1)
    if setup['landlock'] is not None or setup['seccomp'] is not None:
        libc_prctl(PR_SET_NO_NEW_PRIVS, 1)
    if setup['landlock'] is not None:
        apply_landlock(setup['landlock'])
    if setup['seccomp'] is not None:
        apply_seccomp(setup['seccomp'])


def libc():
    import ctypes
    return ctypes.CDLL(None, use_errno=True)


def libc_prctl(option, value):
    import ctypes
    if libc().prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        raise OSError(ctypes.get_errno(), 'prctl(%d): %s' % (option, os.strerror(ctypes.get_errno())))


def apply_seccomp(program_base64):
    import base64
    import ctypes
    program = base64.b64decode(program_base64)
    held = ctypes.create_string_buffer(program, len(program))

    class Filter(ctypes.Structure):
        _fields_ = [('length', ctypes.c_ushort), ('instructions', ctypes.c_void_p)]

    spec = Filter(len(program) // 8, ctypes.addressof(held))
    if libc().prctl(PR_SET_SECCOMP, ctypes.c_ulong(2), ctypes.byref(spec), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        raise OSError(ctypes.get_errno(), 'seccomp: %s' % os.strerror(ctypes.get_errno()))


def landlock_version():
    """The kernel's landlock ABI; 0 when it has none."""
    import ctypes
    found = libc().syscall(ctypes.c_long(SYS_LANDLOCK_CREATE), None, ctypes.c_size_t(0), ctypes.c_uint(1))
    return max(0, found)


def apply_landlock(rules):
    """Allows the named trees only; no TCP, no foreign abstract sockets or signals where the kernel can."""
    import ctypes
    version = landlock_version()
    if version == 0:
        raise OSError(errno.ENOSYS, 'this kernel has no landlock')
    handled = (1 << 13) - 1
    for minimum, bit in ((2, 13), (3, 14), (5, 15)):
        if version >= minimum:
            handled |= 1 << bit
    attributes = struct.pack('=QQQ', handled, 0 if rules['network'] or version < 4 else 3, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    call = libc().syscall
    ruleset = call(ctypes.c_long(SYS_LANDLOCK_CREATE), ctypes.c_char_p(attributes), ctypes.c_size_t(size), ctypes.c_uint(0))
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), 'landlock: %s' % os.strerror(ctypes.get_errno()))
    read = 1 | 1 << 2 | 1 << 3
    of_files = 1 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
    # Everything but device nodes; a device's ioctls stay closed.
    write = handled & ~(1 << 6 | 1 << 11 | 1 << 15)
    for kind, paths in (('read', rules['read']), ('write', rules['write'])):
        for path in paths:
            try:
                opened = os.open(native(path), 0o10000000)  # O_PATH, which Python 2.7 does not name
            except OSError:
                continue  # not on this machine
            try:
                rights = read if kind == 'read' else write
                if not os.path.isdir(native(path)):
                    rights &= of_files
                rule = struct.pack('=Qi', rights & handled, opened)
                if call(ctypes.c_long(SYS_LANDLOCK_ADD_RULE), ctypes.c_int(ruleset), ctypes.c_int(1),
                        ctypes.c_char_p(rule), ctypes.c_uint(0)) != 0:
                    raise OSError(ctypes.get_errno(), 'landlock: %s: %s' % (path, os.strerror(ctypes.get_errno())))
            finally:
                os.close(opened)
    if call(ctypes.c_long(SYS_LANDLOCK_RESTRICT), ctypes.c_int(ruleset), ctypes.c_uint(0)) != 0:
        raise OSError(ctypes.get_errno(), 'landlock: %s' % os.strerror(ctypes.get_errno()))
    os.close(ruleset)


# Start -------------------------------------------------------------------------------------------

def move_high(fd):
    """A close-on-exec copy far above what programs use."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD, PROTOCOL_FD_MIN)
    fcntl.fcntl(moved, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    os.close(fd)
    return moved


def restore_standard(read_fd, write_fd):
    """Gives 0 and 1 their usual meaning where the frames came by them, for want of others."""
    if read_fd == 0:
        null = os.open('/dev/null', os.O_RDONLY)
        if null != 0:
            os.dup2(null, 0)
            os.close(null)
        fcntl.fcntl(0, fcntl.F_SETFD, 0)
    if write_fd == 1:
        os.dup2(2, 1)


def main(arguments):
    """`harness.py READ_FD WRITE_FD`; descriptors 1 and 2, or 2 alone, are the task's log already."""
    channel = Channel(move_high(int(arguments[0])), move_high(int(arguments[1])))
    restore_standard(int(arguments[0]), int(arguments[1]))
    os.closerange(3, PROTOCOL_FD_MIN)
    if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
        del sys.path[0]
    sys.argv[:] = ['perigee']
    harness = Harness(channel)
    harness.prepare()
    harness.serve()


if __name__ == '__main__':
    main(sys.argv[1:])
