"""Images that a function waits for: those of its requirements, and those that a registry has."""
from __future__ import print_function

import io
import os
import platform
import sys
import time

from perigee._compat import monotonic, native, quote, string_types
from perigee._progress import say_build_interrupted
from perigee.errors import BuildError, TimeoutError

#: Seconds between two looks at a build; short at first, since many sets have been built before.
_PAUSES = (0.1, 0.2, 0.3)


def build_image(transport, requirements, image, deadline=None):
    """Makes sure that an image with the requirements is there; prints the build's log to stderr.

    Returns
    -------
    str
        The image's digest.

    Raises
    ------
    BuildError
        The build failed, with pip's own words.
    TimeoutError
        The deadline has passed.
    """
    lines = read_requirements(requirements)
    request = {'requirements': lines, 'python': platform.python_version()}
    if image is not None:
        request['base'] = native(image)
    view = transport.send_json('POST', '/v1/images', request)
    _follow(transport, view, deadline)
    return native(view['digest'])


def await_image(transport, digest, deadline=None):
    """Waits until an image is ready that somebody makes; prints its log to stderr.

    Raises
    ------
    BuildError
        It could not be made.
    TimeoutError
        The deadline has passed.
    """
    _follow(transport, transport.get_json('/v1/images/' + quote(digest, safe='')), deadline)


def _follow(transport, view, deadline):
    digest, name = native(view['digest']), native(view['name'])
    path = '/v1/images/' + quote(digest, safe='')
    offset = 0
    looks = 0
    # A build that this call found done is not told again.
    is_told = view['state'] != 'building'
    try:
        if not is_told:
            making = 'bringing in' if view.get('kind') == 'oci' else 'building'
            _say('[perigee] %s %s\n' % (making, name))
        while True:
            if not is_told:
                text = transport.request('GET', '%s/log?offset=%d' % (path, offset)).body
                offset += len(text)
                _say(bytes(text).decode('utf-8', 'replace'))
            if view['state'] != 'building':
                break
            if deadline is not None and monotonic() >= deadline:
                raise TimeoutError('The image %s is not ready yet; it is being made all the same.' % name,
                                   fix='make the function again later, or with a longer build_timeout')
            time.sleep(_PAUSES[min(looks, len(_PAUSES) - 1)])
            looks += 1
            # The state first, then the log: what came between the two is not missed.
            view = transport.get_json(path)
    except KeyboardInterrupt:
        say_build_interrupted(digest, name)
        raise
    if view['state'] == 'build_failed':
        failure = view.get('failure') or {}
        raise BuildError(native(failure.get('message') or 'The image could not be built.'),
                         code='build_failed', fix=native(failure.get('fix') or ''))


def read_requirements(requirements):
    """The lines of a list, or of the file at a path.

    Raises
    ------
    TypeError
        It is neither.
    IOError
        The file cannot be read.
    """
    if isinstance(requirements, string_types) or hasattr(requirements, '__fspath__'):
        path = requirements.__fspath__() if hasattr(requirements, '__fspath__') else requirements
        if not os.path.exists(path):
            raise IOError('there is no requirements file %r; a list of requirements is written '
                          "['affine==2.3.0']" % native(path))
        with io.open(path, encoding='utf-8') as lines:
            return [native(line.rstrip('\r\n')) for line in lines]
    lines = []
    for line in requirements:
        if not isinstance(line, string_types):
            raise TypeError('requirements is a list of texts or the path of a file; it has %r' % (line,))
        lines.append(native(line))
    return lines


def _say(text):
    if text:
        sys.stderr.write(native(text))
        sys.stderr.flush()
