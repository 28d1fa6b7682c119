/**
 * Two habits of libp2p 3.3 that cost more than the messages themselves, mended from outside.
 *
 * Its TCP connection writes each piece of a message on its own (the length, the frame's head, the
 * cipher text, the tag), a system call and, without Nagle's delay, a packet each: six for a message
 * of ours. And its yamux answers every frame, however short, with a window update, which is another
 * encrypted message of three pieces. Of the writes of a map of 100,000 short tasks five of six were
 * shorter than 60 bytes; with both mended a tenth of them is left.
 */
import type { ConnectionEncrypter, MultiaddrConnection, Stream } from '@libp2p/interface';
import { Uint8ArrayList } from 'uint8arraylist';
import { streamWindowBytesFirst } from './limits.ts';

type Secure = ConnectionEncrypter['secureOutbound'];

/** An encrypter whose connections write what is said in one turn in one piece. */
export function joinWritesOf<Components>(
  create: (components: Components) => ConnectionEncrypter,
): (components: Components) => ConnectionEncrypter {
  return (components) => {
    const encrypter = create(components);
    const joined =
      (secure: Secure): Secure =>
      (connection, options) => {
        joinWrites(connection);
        return secure.call(encrypter, connection, options);
      };
    encrypter.secureInbound = joined(encrypter.secureInbound);
    encrypter.secureOutbound = joined(encrypter.secureOutbound);
    return encrypter;
  };
}

type Sender = Pick<MultiaddrConnection, 'send' | 'close' | 'writableNeedsDrain' | 'status'>;

/** Collects what is sent until the present turn is over, then sends it as one array. */
function joinWrites(connection: Sender): void {
  const send = connection.send.bind(connection);
  const close = connection.close.bind(connection);
  let waiting = new Uint8ArrayList();
  const flush = (): void => {
    if (waiting.byteLength === 0) return;
    const bytes = waiting.subarray();
    waiting = new Uint8ArrayList();
    // Once it is closed or aborted, nobody takes it any more, as without us.
    if (connection.status === 'open') send(bytes);
  };
  connection.send = (data) => {
    if (connection.status !== 'open') return send(data);
    if (waiting.byteLength === 0) queueMicrotask(flush);
    waiting.append(data);
    // Too much of it is not held back: what the socket says counts.
    if (waiting.byteLength >= joinedBytesMax) flush();
    return !connection.writableNeedsDrain;
  };
  connection.close = (options) => {
    flush();
    return close(options);
  };
}

/** A longer run is written at once: copying more in one piece gains nothing. */
const joinedBytesMax = 256 * 1024;

/** What yamux keeps of a stream's window; not part of libp2p's interface. */
interface YamuxWindow {
  recvWindow: number;
  recvWindowCapacity: number;
  sendWindowUpdate(): void;
}

/** Renews a stream's window when half of it is used, as other implementations of yamux do. */
export function renewWindowByHalves(stream: Stream): void {
  if (!hasYamuxWindow(stream)) return;
  const update = stream.sendWindowUpdate.bind(stream);
  // Yamux begins with 256 KiB and widens by what it measures: a result of 1 MB was over by then, and had
  // waited for an answer each quarter of its way.
  stream.recvWindow = Math.max(stream.recvWindow, streamWindowBytesFirst);
  // The first update says that the stream was accepted, with whatever is sent first.
  update();
  stream.sendWindowUpdate = () => {
    if (stream.recvWindowCapacity * 2 <= stream.recvWindow) update();
  };
}

function hasYamuxWindow(stream: object): stream is YamuxWindow {
  return (
    'recvWindow' in stream &&
    'recvWindowCapacity' in stream &&
    'sendWindowUpdate' in stream &&
    typeof stream.sendWindowUpdate === 'function'
  );
}
