"""`TaskOutput`: a file that a task gave out, seen from the client."""
import errno
import hashlib
import io
import os

from perigee._compat import native, quote
from perigee.errors import BadRequestError, OutputError

#: Asked for at once: what is in memory, and what a lost connection costs.
PART_BYTES = 4 * 1024 * 1024
#: Read ahead by `open`.
BUFFER_BYTES = 256 * 1024


class TaskOutput(object):
    """A file that a task gave out. It never changes.

    Attributes
    ----------
    tuid : str
        Id of the task.
    name : str
    href : str
        URL of the bytes; wants the token.
    bytes : int
        Its size.
    media_type : str
    sha256 : str
    metadata : dict
        What its writer told of it.
    """

    __slots__ = ('tuid', 'name', 'href', 'bytes', 'media_type', 'sha256', 'metadata', '_transport', '_path')

    def __init__(self, document, transport):
        self.tuid = native(document['task'])
        self.name = native(document['name'])
        self.bytes = document['sizeBytes']
        self.media_type = native(document['mediaType'])
        self.sha256 = native(document['sha256'])
        self.metadata = document.get('metadata') or {}
        self._transport = transport
        self._path = '/v1/tasks/%s/outputs/%s' % (quote(self.tuid, safe=''), quote(self.name, safe=''))
        self.href = transport.settings.url.rstrip('/') + self._path

    def open(self):
        """The content as a file that is open for reading bytes; it can be sought, parts are fetched as they are read.

        Returns
        -------
        io.BufferedReader
        """
        return io.BufferedReader(_Reader(self), BUFFER_BYTES)

    def read(self):
        """The whole content, as bytes."""
        with self.open() as opened:
            return opened.read()

    def download(self, path='.'):
        """Writes the content to a file; goes on where an earlier call was cut off.

        Parameters
        ----------
        path : str
            Of the file, or of a folder that is there already, in which it gets its own name.

        Returns
        -------
        str
            Path of the file, which appears once it is whole and its hash is right.

        Raises
        ------
        OutputError
            The bytes are not those that the task gave out.
        """
        if os.path.isdir(path):
            path = os.path.join(path, self._file_name())
        if os.path.exists(path) and os.path.getsize(path) == self.bytes and _hash_of(path) == self.sha256:
            return path
        aside = path + '.part'
        with io.open(aside, 'ab') as kept:
            if kept.tell() > self.bytes:
                kept.truncate(0)
                kept.seek(0)
            at = kept.tell()
            while at < self.bytes:
                piece = self._read_part(at, PART_BYTES)
                kept.write(piece)
                at += len(piece)
        if _hash_of(aside) != self.sha256:
            os.unlink(aside)
            raise OutputError('The bytes of output %s of task %s are not those that it gave out.'
                              % (self.name, self.tuid), fix='fetch it again')
        _replace(aside, path)
        return path

    def _file_name(self):
        # It came from the mesh: never a way out of the folder.
        name = os.path.basename(self.name)
        if name in ('', '.', '..') or name != self.name:
            raise BadRequestError('%r is no name of a file.' % self.name, fix='give the path of the file')
        return name

    def _read_part(self, start, size):
        end = min(start + size, self.bytes) - 1
        wanted = [('Range', 'bytes=%d-%d' % (start, end)), ('If-Range', '"%s"' % self.sha256)]
        answer = self._transport.request('GET', self._path, headers=wanted)
        if answer.status != 206 and (start, end) != (0, self.bytes - 1):
            raise OutputError('The coordinator answered another part of output %s than was asked for.' % self.name,
                              fix='update the coordinator')
        if len(answer.body) != end - start + 1:
            raise OutputError('A part of output %s is short.' % self.name, fix='fetch it again')
        return answer.body

    def __repr__(self):
        return 'TaskOutput(%r of task %s, %d bytes, %s)' % (self.name, self.tuid, self.bytes, self.media_type)


class _Reader(io.RawIOBase):
    """Reads parts as they are asked for."""

    def __init__(self, output):
        super(_Reader, self).__init__()
        self._output = output
        self._at = 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self._at

    def seek(self, offset, whence=os.SEEK_SET):
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._output.bytes}[whence]
        if base + offset < 0:
            raise IOError(errno.EINVAL, 'Invalid argument')
        self._at = base + offset
        return self._at

    def readinto(self, buffer):
        size = min(len(buffer), self._output.bytes - self._at, PART_BYTES)
        if size <= 0:
            return 0
        piece = self._output._read_part(self._at, size)
        buffer[:len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def list_outputs(transport, path):
    """Outputs of all pages of a list, one after another."""
    cursor = None
    while True:
        query = '' if cursor is None else '?cursor=' + quote(cursor, safe='')
        page = transport.get_json(path + query)
        for document in page['items']:
            yield TaskOutput(document, transport)
        cursor = page.get('next')
        if cursor is None:
            return


def _hash_of(path):
    digest = hashlib.sha256()
    with io.open(path, 'rb') as opened:
        for piece in iter(lambda: opened.read(1024 * 1024), b''):
            digest.update(piece)
    return native(digest.hexdigest())


def _replace(source, target):
    # POSIX renames over what is there; Python 2 has no os.replace.
    getattr(os, 'replace', os.rename)(source, target)
