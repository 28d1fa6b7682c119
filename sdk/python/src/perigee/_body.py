"""Bodies of HTTP answers, decoded as they arrive, wherever they were cut."""
from perigee._lost import ConnectionLost

#: Of the size of a chunk, and of the trailers behind the last one.
LINE_BYTES_MAX = 64 * 1024


class LengthDecoder(object):
    """A body of known length."""

    def __init__(self, length):
        self._left = length
        self.is_done = length == 0
        self.rest = b''

    def feed(self, data):
        """The part of ``data`` that is body."""
        if len(data) > self._left:
            self.rest = data[self._left:]
            data = data[:self._left]
        self._left -= len(data)
        self.is_done = self._left == 0
        return data


class ChunkedDecoder(object):
    """A chunked body (RFC 9112, 7.1); extensions and trailers are passed over."""

    def __init__(self):
        self.is_done = False
        self.rest = b''
        self._pending = b''
        # Bytes of the current chunk still to come, with the line end behind it.
        self._chunk_left = 0

    def feed(self, data):
        """The part of ``data`` that is body."""
        pieces = []
        data = self._pending + data if self._pending else data
        self._pending = b''
        position = 0
        while position < len(data) and not self.is_done:
            if self._chunk_left > 0:
                end = position + self._chunk_left
                body_end = min(end - 2, len(data))
                if body_end > position:
                    pieces.append(data[position:body_end])
                self._chunk_left = max(0, end - len(data))
                position = min(end, len(data))
                continue
            line_end = data.find(b'\r\n', position)
            if line_end < 0:
                if len(data) - position > LINE_BYTES_MAX:
                    raise ConnectionLost('a chunk has no size')
                self._pending = data[position:]
                break
            position = self._begin_chunk(data, position, line_end)
            if position is None:
                break
        return b''.join(pieces)

    def _begin_chunk(self, data, position, line_end):
        try:
            size = int(data[position:line_end].split(b';')[0].strip(), 16)
        except ValueError:
            raise ConnectionLost('a chunk has no size')
        if size > 0:
            self._chunk_left = size + 2
            return line_end + 2
        # The last chunk: an empty line ends the trailers, which may not all be here yet.
        trailers_end = data.find(b'\r\n\r\n', line_end)
        if data[line_end + 2:line_end + 4] == b'\r\n':
            trailers_end = line_end
        if trailers_end < 0:
            self._pending = data[position:]
            return None
        self.is_done = True
        self.rest = data[trailers_end + 4:]
        return len(data)
