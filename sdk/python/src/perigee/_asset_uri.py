# -*- coding: utf-8 -*-
"""One spelling for each asset, the same as the nodes': their caches and this package must mean the same file."""
import re

from perigee._compat import quote, text_type, to_bytes

#: As long as the nodes take.
URI_CHARS_MAX = 4096

_WEB_PORTS = {u'http': u'80', u'https': u'443'}
_OBJECT_STORES = (u's3', u'gs')
_FORM = re.compile(u'^([a-z][a-z0-9+.-]*):(.*)$', re.IGNORECASE)
# What stays as it is in a path and in a query, beside letters and digits: an escape is never escaped again.
_PATH_SAFE = "%!$&'()*+,-./:;=@_~|[]\\"
_STORE_QUERY_SAFE = "%!$&'()*+,-./:;=@_~|[]\\?^`{}"
_WEB_QUERY_SAFE = "%!$&()*+,-./:;=@_~|[]\\?^`{}"


def canonical_uri(uri):
    """The canonical spelling of an asset's URI: lower-case host, no default port, no fragment.

    Parameters
    ----------
    uri : str

    Returns
    -------
    str or None
        None for what names no asset that a cache keeps, as ``data:`` and a URI with a password.
    """
    if len(uri) > URI_CHARS_MAX:
        return None
    # As browsers do: controls and blanks around it, and breaks within, are no part of a URI.
    uri = re.sub(u'[\t\n\r]', u'', uri.strip(u''.join(map(_character, range(33)))))
    form = _FORM.match(uri)
    if form is None:
        return None
    scheme, rest = form.group(1).lower(), form.group(2).split(u'#', 1)[0]
    is_web = scheme in _WEB_PORTS
    if not is_web and scheme != u'file' and scheme not in _OBJECT_STORES:
        return None
    rest, mark, query = rest.partition(u'?')
    if scheme not in _OBJECT_STORES:
        rest = rest.replace(u'\\', u'/')
    if is_web:
        rest = u'//' + rest.lstrip(u'/')
    if rest.startswith(u'//'):
        host, slash, path = rest[2:].partition(u'/')
        path = slash + path
    else:
        host, path = u'', rest
    if scheme == u'file':
        if host.lower() == u'localhost':
            host = u''
        if host != u'':
            return None
        if not path.startswith(u'/'):
            path = u'/' + path
    elif host == u'' or u'@' in host:
        return None
    if is_web:
        host = _web_host(host.lower(), _WEB_PORTS[scheme])
    path = _encode(_without_dots(path), _PATH_SAFE)
    if scheme != u'file' and len(path) < 2:
        return None
    safe = _STORE_QUERY_SAFE if scheme in _OBJECT_STORES else _WEB_QUERY_SAFE
    return scheme + u'://' + host + path + (mark + _encode(query, safe) if query or mark else u'')


def _character(code):
    return bytearray([code]).decode('ascii')


def _web_host(host, default_port):
    name, colon, port = host.rpartition(u':')
    if not colon or not (port.isdigit() or port == u''):
        return host
    port = port.lstrip(u'0') or port[:1]
    return name if port in (u'', default_port) else name + u':' + port


def _without_dots(path):
    """The path with `.` and `..` worked out; of anything else, as of double slashes, nothing changes."""
    parts = path.split(u'/')
    kept = []
    for at, part in enumerate(parts):
        name = part.lower().replace(u'%2e', u'.')
        is_last = at == len(parts) - 1
        if name == u'..':
            if len(kept) > 1:
                kept.pop()
        elif name != u'.':
            kept.append(part)
            continue
        if is_last:
            kept.append(u'')
    return u'/'.join(kept)


def _encode(text, safe):
    encoded = quote(to_bytes(text), safe)
    return encoded if isinstance(encoded, text_type) else encoded.decode('ascii')
