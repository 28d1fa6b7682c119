"""Where the mesh is and who we are there: the environment, else the config file."""
import json
import os
import stat
from collections import namedtuple

from perigee._compat import native
from perigee.errors import ConfigError


class Settings(namedtuple('Settings', 'url token ca_path retry_seconds first_retry_seconds')):
    """What a client needs to know.

    Attributes
    ----------
    url : str
        Of the coordinator, without a slash at the end.
    token : str
        The access token.
    ca_path : str or None
        A file of CA certificates to trust for https instead of the system's.
    retry_seconds : float
        How long a request is tried again while the coordinator cannot be reached.
    first_retry_seconds : float
        The same before the first answer: a mesh that is not there should be said soon.
    """

    __slots__ = ()

    def __repr__(self):
        return 'Settings(url=%r, token=...)' % (self.url,)


#: Default of ``PERIGEE_RETRY_SECONDS``.
RETRY_SECONDS = 60.0
#: Before the first answer, unless ``PERIGEE_RETRY_SECONDS`` is set.
FIRST_RETRY_SECONDS = 3.0

_START = 'start a mesh with `scripts/perigee up`, or set PERIGEE_URL and PERIGEE_TOKEN'


def load_settings(url=None, token=None, environ=None):
    """The settings of a client.

    Parameters
    ----------
    url, token : str, optional
        Given by the caller; they win.
    environ : dict, optional
        Instead of ``os.environ``.

    Raises
    ------
    ConfigError
        Neither the environment nor the config file names a mesh, or others can read the file.
    """
    environ = os.environ if environ is None else environ
    path = config_path(environ)
    url = url or environ.get('PERIGEE_URL')
    token = token or environ.get('PERIGEE_TOKEN')
    if not url or not token:
        config = read_config(path)
        if config is None and not url:
            raise ConfigError('No mesh is known: PERIGEE_URL is not set and %s does not exist.' % path,
                              fix=_START)
        config = config or {}
        url = url or config.get('url')
        # The token of the file belongs to the mesh of the file: it is not sent to another one.
        if not token and _same_url(url, config.get('url')):
            token = config.get('token')
    if not url:
        raise ConfigError('%s names no url.' % path, fix=_START)
    if not token:
        raise ConfigError('No access token for %s.' % native(url), code='token_missing',
                          fix='set PERIGEE_TOKEN, or run `scripts/perigee up`, '
                              'which writes one to the config file')
    given = environ.get('PERIGEE_RETRY_SECONDS')
    retry_seconds = _seconds(given) if given else RETRY_SECONDS
    return Settings(native(url).rstrip('/'), native(token), environ.get('PERIGEE_CA') or None,
                    retry_seconds, retry_seconds if given else FIRST_RETRY_SECONDS)


def config_path(environ):
    """Where the config file is: ``PERIGEE_CONFIG``, else below ``XDG_CONFIG_HOME`` or ``~/.config``."""
    explicit = environ.get('PERIGEE_CONFIG')
    if explicit:
        return explicit
    base = environ.get('XDG_CONFIG_HOME') or os.path.join(os.path.expanduser('~'), '.config')
    return os.path.join(base, 'perigee', 'config.json')


def read_config(path):
    """The config file as a dict, or None when there is none.

    Raises
    ------
    ConfigError
        Others than the owner can read it, or it is not a JSON object.
    """
    try:
        with open(path, 'rb') as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            data = stream.read()
    except (IOError, OSError) as error:
        if not os.path.exists(path):
            return None
        raise ConfigError('%s cannot be read: %s' % (path, error), fix='check its owner and mode')
    # Windows has no such modes: what it reports there says nothing.
    if os.name == 'posix' and mode & 0o077:
        raise ConfigError('%s holds a token and others can read it (mode %04o).' % (path, mode),
                          fix='chmod 600 %s' % path)
    try:
        config = json.loads(data.decode('utf-8'))
    except ValueError as error:
        raise ConfigError('%s is not JSON: %s' % (path, error),
                          fix='remove it; `scripts/perigee up` writes it anew')
    if not isinstance(config, dict):
        raise ConfigError('%s is not a JSON object.' % path,
                          fix='remove it; `scripts/perigee up` writes it anew')
    return config


def _same_url(one, other):
    return bool(one) and bool(other) and one.rstrip('/') == other.rstrip('/')


def _seconds(text):
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float('inf'):
        raise ConfigError('PERIGEE_RETRY_SECONDS is %r, not a number of seconds.' % text,
                          fix='set it to a number such as 60')
    return seconds
