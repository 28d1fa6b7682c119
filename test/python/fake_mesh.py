"""A coordinator small enough to be wrong on purpose: it runs functions itself, and breaks as told.

Only what the SDK needs of docs/api.md. Faults are given beforehand, in order, by `Mesh.fail`.
"""
from __future__ import print_function

import hashlib
import json
import pickle
import re
import socket
import struct
import sys
import threading
import time
import traceback
from binascii import hexlify

STATUSES = ('success', 'exception', 'oom', 'timeout', 'crash', 'cancelled', 'version_mismatch', 'lost')


class Mesh(object):
    """Listens on a free port of the loopback until `close`."""

    def __init__(self):
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.blobs = {}
        self.groups = {}
        self.batches = {}
        self.by_uuid = {}
        # What the tasks of each batch read, as it came.
        self.asset_lists = []
        # Each outcome as (number, group, record), in completion order.
        self.outcomes = []
        self.requests = []
        self.heartbeat_seconds = 0.2
        # Before each answer, for a mesh that is far away.
        self.delay_seconds = 0.0
        # Held tasks do not run until `release`.
        self.holds = False
        self.held = []
        self._faults = []
        self._sockets = []
        self._closed = False
        self._listener = socket.socket()
        self._listener.bind(('127.0.0.1', 0))
        self._listener.listen(64)
        self.url = 'http://127.0.0.1:%d' % self._listener.getsockname()[1]
        self.last_group = None
        self._threads = []
        self._start(self._accept)

    def close(self):
        with self.lock:
            self._closed = True
            self.changed.notify_all()
            sockets = list(self._sockets)
        # The accepting thread sits in accept(): a last connection lets it see the end.
        try:
            socket.create_connection(self._listener.getsockname(), 1).close()
        except (OSError, socket.error):
            pass
        self._listener.close()
        for sock in sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except (OSError, socket.error):
                pass
            sock.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), thread

    def fail(self, pattern, action, count=1):
        """The next `count` requests whose "METHOD path" fits the pattern meet the action:

        ``drop`` before it is done, ``drop-after`` it is done, ``cut`` the answer in its middle, or
        ``(status, problem)``.
        """
        with self.lock:
            self._faults.extend([(re.compile(pattern), action)] * count)

    def find_requests(self, pattern):
        with self.lock:
            return [line for line in self.requests if re.search(pattern, line)]

    def release(self):
        """Runs what was held, in order, and holds no more."""
        with self.lock:
            self.holds = False
            held, self.held = self.held, []
        for task in held:
            self._run(*task)

    def run_one(self):
        """Runs the oldest held task."""
        with self.lock:
            task = self.held.pop(0)
        self._run(*task)

    def drop_streams(self):
        """Ends all completion streams without a word."""
        with self.lock:
            streams = [sock for sock in self._sockets if getattr(self, '_streams', None)
                       and sock in self._streams]
        for sock in streams:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except (OSError, socket.error):
                pass

    # Serving

    def _start(self, target, *args):
        thread = threading.Thread(target=target, args=args)
        thread.daemon = True
        self._threads.append(thread)
        thread.start()

    def _accept(self):
        while not self._closed:
            try:
                sock, _ = self._listener.accept()
            except (OSError, socket.error):
                return
            if self._closed:
                sock.close()
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self._sockets.append(sock)
            self._start(self._serve, sock)

    def _serve(self, sock):
        reader = sock.makefile('rb')
        try:
            while not self._closed:
                line = reader.readline().decode('ascii').strip()
                if not line:
                    return
                headers = {}
                while True:
                    header = reader.readline().decode('ascii').strip()
                    if not header:
                        break
                    name, _, value = header.partition(':')
                    headers[name.lower()] = value.strip()
                body = reader.read(int(headers.get('content-length', 0)))
                method, target, _ = line.split(' ')
                if not self._answer(sock, method, target, headers, body):
                    return
        except (OSError, socket.error, ValueError):
            return
        finally:
            reader.close()
            sock.close()
            with self.lock:
                if sock in self._sockets:
                    self._sockets.remove(sock)

    def _answer(self, sock, method, target, headers, body):
        path, _, query = target.partition('?')
        with self.lock:
            self.requests.append('%s %s' % (method, target))
            action = self._take_fault('%s %s' % (method, target))
        until = time.time() + self.delay_seconds
        while time.time() < until and not self._closed:
            time.sleep(min(0.02, self.delay_seconds))
        if action == 'drop':
            return False
        if isinstance(action, tuple):
            self._send(sock, action[0], json.dumps(action[1]).encode('utf-8'),
                       'application/problem+json', action[2] if len(action) > 2 else ())
            return True
        if headers.get('authorization') != 'Bearer secret':
            self._send(sock, 401, b'{"code": "token_wrong", "detail": "no", "fix": "set it right"}',
                       'application/problem+json')
            return True
        if path == '/v1/outcomes':
            self._stream(sock, dict(part.split('=') for part in query.split('&')), action)
            return False
        status, answer = self._perform(method, path, headers, body)
        if action == 'drop-after':
            return False
        if not isinstance(answer, bytes):
            answer = json.dumps(answer).encode('utf-8')
        if action == 'cut':
            sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % (len(answer) + 9)
                         if sys.version_info[0] > 2 else
                         'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % (len(answer) + 9))
            sock.sendall(answer)
            return False
        self._send(sock, status, answer, 'application/json')
        return True

    def _take_fault(self, line):
        for index, (pattern, action) in enumerate(self._faults):
            if pattern.search(line):
                del self._faults[index]
                return action
        return None

    def _send(self, sock, status, body, kind, headers=()):
        head = 'HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\n' % (status, kind, len(body))
        for name, value in headers:
            head += '%s: %s\r\n' % (name, value)
        sock.sendall((head + '\r\n').encode('ascii') + body)

    def _perform(self, method, path, headers, body):
        if path == '/v1/whoami':
            return 200, {'namespace': 'default', 'role': 'operator'}
        if path.startswith('/v1/namespaces/'):
            return 201, {'namespace': path.split('/')[-1], 'created': True}
        if path.startswith('/v1/blobs/'):
            sha256 = path.split('/')[-1]
            if method == 'HEAD':
                return 200 if sha256 in self.blobs else 404, b''
            return self._put_blob(sha256, body)
        if path == '/v1/groups':
            return self._create_group(json.loads(body.decode('utf-8')))
        found = re.match(r'/v1/groups/([0-9a-f]+)/batches/([0-9a-f-]+)$', path)
        if found:
            size = int(headers.get('x-perigee-asset-bytes', '0'))
            self.asset_lists.append(body[len(body) - size:])
            body = body[:len(body) - size]
            return self._take_batch(found.group(1), found.group(2), int(headers['x-perigee-count']), body)
        found = re.match(r'/v1/groups/([0-9a-f]+)$', path)
        if found:
            return self._show_group(method, found.group(1))
        found = re.match(r'/v1/tasks/([0-9]+)-([0-9]+)(/[a-z]+)?$', path)
        if found:
            return self._show_task(method, int(found.group(1)), int(found.group(2)), found.group(3))
        return 404, {'code': 'not_found', 'detail': path, 'fix': 'look'}

    def _put_blob(self, sha256, body):
        assert hashlib.sha256(body).hexdigest() == sha256
        with self.lock:
            self.blobs[sha256] = body
        return 201, {}

    def _create_group(self, request):
        with self.lock:
            # Not the same in two meshes.
            group_id = '%08x%04x' % (id(self) & 0xffffffff, len(self.groups) + 1)
            self.last_group = group_id
            self.groups[group_id] = dict(request, id=group_id, terminated=False)
            return 201, {'group': dict(request, id=group_id)}

    def _show_group(self, method, group_id):
        with self.lock:
            group = self.groups.get(group_id)
            if group is None:
                return 404, {'code': 'not_found', 'detail': 'no such group', 'fix': 'look'}
            if method == 'DELETE':
                group['terminated'] = True
            total = sum(count for owner, count, _, _ in self.batches.values() if owner == group_id)
            done = [record for _, owner, record in self.outcomes if owner == group_id]
            failed = sum(1 for record in done if record[15:16] != b'\0')
            return 200, dict(group, tasks={
                'queued': total - len(done), 'running': 0, 'succeeded': len(done) - failed,
                'failed': failed})

    def _take_batch(self, group_id, uuid, count, block):
        with self.lock:
            if uuid in self.by_uuid:
                return 200, self.by_uuid[uuid]
            group = self.groups.get(group_id)
            if group is None:
                return 404, {'code': 'not_found', 'detail': 'no such group', 'fix': 'look'}
            if group['terminated']:
                return 409, {'code': 'group_terminated', 'detail': 'it is over', 'fix': 'make another'}
            payloads = split_block(block)
            assert len(payloads) == count
            number = len(self.batches) + 1
            answer = {'batch': number, 'count': count, 'submittedAfter': len(self.outcomes),
                      'namespace': 'default'}
            self.batches[number] = (group_id, count, len(self.outcomes), payloads)
            self.by_uuid[uuid] = answer
            if self.holds:
                self.held.extend((number, index) for index in range(count))
                return 201, answer
        for index in range(count):
            self._run(number, index)
        return 201, answer

    def _show_task(self, method, number, index, what):
        with self.lock:
            batch = self.batches.get(number)
            if batch is None or index >= batch[1]:
                return 404, {'code': 'not_found', 'detail': 'no such task', 'fix': 'look'}
            done = [record for _, _, record in self.outcomes
                    if struct.unpack_from('>IH', record, 9) == (number, index)]
            if what == '/arguments':
                return 200, self._resolve(batch[3][index])
            if what == '/result':
                return 200, self.results[number, index]
            if what == '/log':
                return 200, self.logs.get((number, index), b'')
            if what == '/explain':
                return 200, {'sentence': 'queued: no node yet'}
            if what == '/cancel':
                if not done:
                    self.held = [task for task in self.held if task != (number, index)]
                    self._record(number, index, 5, failure={'exception': 'Cancelled', 'message': '',
                                                            'traceback': '', 'logTail': '', 'node': None})
                return 200, {'state': 'done' if done else 'queued'}
            return 200, self._document(number, index, batch, done[0] if done else None)

    def _document(self, number, index, batch, record):
        document = {'id': '%d-%d' % (number, index), 'group': batch[0], 'state': 'queued', 'status': None,
                    'submittedAfter': batch[2], 'code': None, 'node': None, 'attempts': []}
        if record is not None:
            status, attempt, runtime, peak, log_bytes = struct.unpack_from('>BHdQQ', record, 15)
            failure_bytes, = struct.unpack_from('>I', record, 42)
            failure = json.loads(record[46:46 + failure_bytes].decode('utf-8') or '{}')
            document.update(failure)
            document.update({
                'state': 'done', 'status': 'FAILURE' if status else 'SUCCESS',
                'code': STATUSES[status] if status else None, 'runtimeSeconds': runtime,
                'peakMemoryBytes': peak, 'logBytes': log_bytes, 'node': 'node-1',
                'attempts': [{'attempt': attempt, 'node': 'node-1', 'end': 'success'}],
                'outcomeNumber': struct.unpack_from('>Q', record, 1)[0]})
        return document

    # Running

    results = None
    logs = None

    def _run(self, number, index):
        group_id, _, _, payloads = self.batches[number]
        group = self.groups[group_id]
        status, failure, payload = 0, {}, b''
        try:
            function = self._function_of(group)
            args, kwargs = pickle.loads(self._resolve(payloads[index])[1:])
            payload = b'P' + pickle.dumps(function(*args, **kwargs), 2)
        except Exception as error:
            status = 1
            failure = {'exception': type(error).__name__, 'message': str(error),
                       'traceback': traceback.format_exc(), 'logTail': 'tail', 'node': 'node-1'}
        with self.lock:
            if self.results is None:
                self.results, self.logs = {}, {}
            self.results[number, index] = payload
            self._record(number, index, status, failure, payload)

    def _function_of(self, group):
        if 'loaded' not in group:
            given = group['function']
            if 'inline' in given:
                import base64
                data = base64.b64decode(given['inline'])
            else:
                data = self.blobs[given['blob']]
            self.loaded = getattr(self, 'loaded', {})
            self.loaded[group['id']] = pickle.loads(data)
            group['loaded'] = True
        return self.loaded[group['id']]

    def _resolve(self, payload):
        if payload[:1] != b'B':
            return payload
        sha256 = hexlify(payload[2:34]).decode('ascii')
        assert len(self.blobs[sha256]) == struct.unpack_from('>Q', payload, 34)[0]
        return payload[1:2] + self.blobs[sha256]

    def _record(self, number, index, status, failure=None, payload=b''):
        group_id = self.batches[number][0]
        outcome_number = len(self.outcomes) + 1
        text = json.dumps(failure).encode('utf-8') if failure else b''
        log_bytes = len((self.logs or {}).get((number, index), b''))
        record = struct.pack('>BQIH', 0, outcome_number, number, index)
        record += struct.pack('>BHdQQI', status, 1, 0.25, 1048576, log_bytes, len(text)) + text
        inline = payload if status == 0 and len(payload) <= 65536 else b''
        record += struct.pack('>BI', 1 if inline else 0, len(inline)) + inline
        self.outcomes.append((outcome_number, group_id, record))
        self.changed.notify_all()

    _streams = ()

    def _stream(self, sock, query, action):
        """Sends outcomes; each record in two chunks cut at an odd place. `twice`: each one twice."""
        after = int(query.get('after', 0))
        groups = query['groups'].split(',') if 'groups' in query else None
        with self.lock:
            self._streams = list(self._streams) + [sock]
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: application/x-perigee-outcomes\r\n'
                     b'Transfer-Encoding: chunked\r\n\r\n')
        position, said_latest = after, False
        while not self._closed:
            with self.lock:
                fresh = [entry for entry in self.outcomes[position:]]
                if not fresh and said_latest:
                    self.changed.wait(self.heartbeat_seconds)
                    fresh = self.outcomes[position:]
            # A heartbeat follows what was there already, at once.
            said_latest = said_latest or not fresh
            data = b''
            for number, group_id, record in fresh:
                position = number
                if groups is None or group_id in groups:
                    data += struct.pack('>I', len(record)) + record
                    if action == 'twice':
                        data += struct.pack('>I', len(record)) + record
            if not data:
                data = struct.pack('>IBQ', 9, 1, position)
            if action == 'half':
                # The chunk says more than comes.
                sock.sendall(chunk(data)[:max(8, len(data) // 2)])
                return
            middle = len(data) // 2 + 1
            sock.sendall(chunk(data[:middle]) + (chunk(data[middle:]) if data[middle:] else b''))


def chunk(data):
    return ('%x\r\n' % len(data)).encode('ascii') + data + b'\r\n'


def split_block(block):
    payloads, position = [], 0
    while position < len(block):
        length, = struct.unpack_from('>I', block, position)
        payloads.append(block[position + 4:position + 4 + length])
        position += 4 + length
    assert position == len(block)
    return payloads


def await_that(condition, seconds=10):
    """Waits until the condition holds, and says so."""
    deadline = time.time() + seconds
    while not condition():
        assert time.time() < deadline, 'it did not come true within %d s' % seconds
        time.sleep(0.005)
