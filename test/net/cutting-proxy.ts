/** A line that breaks: a TCP proxy that cuts connections once so many bytes have come back through them. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

export interface CuttingProxy extends AsyncDisposable {
  readonly port: number;
  /** Connections that were cut so far. */
  readonly cuts: number;
  /** Bytes that have come from the far end, cut connections' too. */
  readonly bytesBack: number;
}

/** Cuts the first `cutsMax` connections behind `bytesMax` bytes of the far end each; lets the others be. */
export async function startCuttingProxy(options: {
  port: number;
  bytesMax: number;
  cutsMax: number;
}): Promise<CuttingProxy> {
  const sockets = new Set<Socket>();
  const counts = { cuts: 0, bytesBack: 0 };
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy()).once('close', () => sockets.delete(socket));
    return socket;
  };
  const server = createServer((near) => {
    keep(near);
    const far = keep(connect(options.port, '127.0.0.1'));
    let left = options.bytesMax;
    near.on('data', (chunk) => far.write(chunk)).once('close', () => far.destroy());
    far.once('close', () => near.end());
    far.on('data', (chunk: Buffer) => {
      const mayCut = counts.cuts < options.cutsMax;
      const passed = mayCut ? chunk.subarray(0, left) : chunk;
      left -= passed.length;
      counts.bytesBack += passed.length;
      if (!near.write(passed)) {
        far.pause();
        near.once('drain', () => far.resume());
      }
      if (!mayCut || left > 0) return;
      counts.cuts += 1;
      far.destroy();
      // What was written arrives; then the line is dead.
      near.destroySoon();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    get cuts() {
      return counts.cuts;
    },
    get bytesBack() {
      return counts.bytesBack;
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
