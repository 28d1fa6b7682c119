"""Runs in the sandbox of a build, by the image's own interpreter, 2.7 or 3: pip, then the finish.

Its argument is a file with JSON: requirements, constraints (of the base's packages), base (name to
version) and features. It relays pip's proxy to the one socket that leads out.
"""
from __future__ import print_function

import compileall
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading

SITE = '/perigee/site'
SOCKET = '/perigee/net/index.sock'


def main():
    with open(sys.argv[1]) as file:
        order = json.load(file)
    port = start_relay()
    environment = dict(os.environ)
    environment['PIP_PROXY'] = 'http://127.0.0.1:%d' % port
    code = install(order, environment, order['constraints'])
    if code != 0 and order['constraints']:
        say('It does not go with the versions of the base; trying again with its packages replaced.')
        code = install(order, environment, [])
    if code != 0:
        sys.exit(20)
    drop_what_base_has(order)
    compileall.compile_dir(SITE, 20, SITE, quiet=1)
    with open('/perigee/out/packages.json', 'w') as file:
        json.dump(dict((name, version) for name, version, _ in distributions()), file)


def say(text):
    print('[perigee] ' + text)
    sys.stdout.flush()


def install(order, environment, constraints):
    for name in os.listdir(SITE):
        path = os.path.join(SITE, name)
        shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
    write('/tmp/requirements.txt', order['requirements'])
    write('/tmp/constraints.txt', constraints)
    command = [sys.executable, '-m', 'pip', 'install', '--no-input', '--no-cache-dir', '--no-compile',
               '--disable-pip-version-check', '--progress-bar', 'off', '--prefer-binary',
               '--no-warn-script-location', '--target', SITE, '-r', '/tmp/requirements.txt']
    if constraints:
        command += ['-c', '/tmp/constraints.txt']
    for feature in order['features']:
        command += ['--use-feature', feature]
    return subprocess.call(command, env=environment, stderr=subprocess.STDOUT)


def write(path, lines):
    with open(path, 'w') as file:
        file.write(''.join(line + '\n' for line in lines))


def distributions():
    """Name, version and folder of the metadata of everything in the layer."""
    for entry in sorted(os.listdir(SITE)):
        found = re.match(r'(.+)-([^-]+)\.(?:dist|egg)-info$', entry.split('-py2')[0] + '.egg-info'
                         if '-py2' in entry else entry)
        if found:
            yield re.sub(r'[._-]+', '-', found.group(1)).lower(), found.group(2), entry


def drop_what_base_has(order):
    """A dependency of the very version that the base has need not be in the layer too."""
    named = set(order['named'])
    for name, version, entry in list(distributions()):
        record = os.path.join(SITE, entry, 'RECORD')
        if name in named or order['base'].get(name) != version or not os.path.exists(record):
            continue
        with open(record) as file:
            paths = [line.rsplit(',', 2)[0].strip('"') for line in file]
        for path in paths:
            whole = os.path.normpath(os.path.join(SITE, path))
            if whole.startswith(SITE + '/') and os.path.isfile(whole):
                os.remove(whole)
        say('%s %s is in the base already.' % (name, version))
    for folder, _, _ in os.walk(SITE, topdown=False):
        if folder != SITE and not os.listdir(folder):
            os.rmdir(folder)


def start_relay():
    """Listens on the sandbox's own loopback, which ends here; returns the port."""
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(64)
    serve = threading.Thread(target=accept, args=(listener,))
    serve.daemon = True
    serve.start()
    return listener.getsockname()[1]


def accept(listener):
    while True:
        client, _ = listener.accept()
        try:
            onward = socket.socket(socket.AF_UNIX)
            onward.connect(SOCKET)
        except (socket.error, OSError):
            client.close()
            continue
        for source, sink in ((client, onward), (onward, client)):
            thread = threading.Thread(target=pump, args=(source, sink))
            thread.daemon = True
            thread.start()


def pump(source, sink):
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except (socket.error, OSError):
        for end in (source, sink):
            end.close()


main()
