"""Requirements of a function: an image with them is built before the function is made."""
from __future__ import print_function

import io
import os
import platform
import sys
import time

from perigee._compat import native, quote, string_types
from perigee.errors import BuildError

#: Seconds between two looks at a build; short at first, since many sets have been built before.
_PAUSES = (0.1, 0.2, 0.3)


def build_image(transport, requirements, image):
    """Makes sure that an image with the requirements is there; prints the build's log to stderr.

    Returns
    -------
    str
        The image's digest.

    Raises
    ------
    BuildError
        The build failed, with pip's own words.
    """
    lines = read_requirements(requirements)
    request = {'requirements': lines, 'python': platform.python_version()}
    if image is not None:
        request['base'] = native(image)
    view = transport.send_json('POST', '/v1/images', request)
    digest = native(view['digest'])
    path = '/v1/images/' + quote(digest, safe='')
    offset = 0
    looks = 0
    if view['state'] == 'building':
        _say('[perigee] building %s\n' % native(view['name']))
    # A build that this call found done is not told again.
    is_told = view['state'] != 'building'
    while True:
        if not is_told:
            text = transport.request('GET', '%s/log?offset=%d' % (path, offset)).body
            offset += len(text)
            _say(bytes(text).decode('utf-8', 'replace'))
        if view['state'] != 'building':
            break
        time.sleep(_PAUSES[min(looks, len(_PAUSES) - 1)])
        looks += 1
        # The state first, then the log: what came between the two is not missed.
        view = transport.get_json(path)
    if view['state'] == 'build_failed':
        failure = view.get('failure') or {}
        raise BuildError(native(failure.get('message') or 'The image could not be built.'),
                         code='build_failed', fix=native(failure.get('fix') or ''))
    return digest


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
