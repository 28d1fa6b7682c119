"""A bare worker: one byte block in, the same pickled value out, over pipes."""
import os
import pickle
import struct


def main():
    buffered = b""
    while True:
        data = os.read(0, 262144)
        if not data:
            return
        buffered += data
        out = []
        at = 0
        while len(buffered) - at >= 4:
            (length,) = struct.unpack_from(">I", buffered, at)
            if len(buffered) - at - 4 < length:
                break
            value = pickle.loads(buffered[at + 4:at + 4 + length])
            answer = pickle.dumps(value, 2)
            out.append(struct.pack(">I", len(answer)) + answer)
            at += 4 + length
        buffered = buffered[at:]
        os.write(1, b"".join(out))


main()
