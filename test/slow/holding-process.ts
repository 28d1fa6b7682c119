/**
 * One end of a transfer in a process of its own: `serve IMAGES` prints where it is reached; `fetch
 * IMAGES ADDRESS DIGEST` brings the image and ends. Both end with a line of their largest growth.
 */
import { readFileSync } from 'node:fs';
import { createImageFetcher } from '../../node-agent/images/image-fetcher.ts';
import { createArchiveStore } from '../../protocol/images/archive-store.ts';
import { imageProtocol, serveImage } from '../../protocol/images/image-transfer.ts';
import { createMeshHost } from '../../protocol/net/create-mesh-host.ts';
import { generateMeshKey } from '../../protocol/net/mesh-key.ts';
import type { ImageDigest } from '../../protocol/wire/ids.ts';

const [role = '', folder = '', address = '', digest = ''] = process.argv.slice(2);
const host = await createMeshHost({
  key: await generateMeshKey(),
  listen: role === 'serve' ? ['/ip4/127.0.0.1/tcp/0'] : [],
  connectionsMax: 10,
});
const archives = createArchiveStore({ folder, bytesMax: 1e12 });
const residentBytes = (): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;

if (role === 'serve') {
  await host.handle(imageProtocol, (stream) => serveImage(stream, archives), { streamsMax: 4 });
  console.log(JSON.stringify({ address: host.addresses()[0], residentBytes: residentBytes() }));
} else {
  const before = residentBytes();
  let most = before;
  const watch = setInterval(() => {
    most = Math.max(most, residentBytes());
  }, 20);
  const log = { info: () => undefined, warn: console.error };
  const coordinator = {
    name: 'the server',
    open: (signal: AbortSignal) => host.open(address, imageProtocol, { signal }),
  };
  const deps = { coordinator, locate: async () => [], archives, log };
  await createImageFetcher(deps, { folder }).fetch(digest as ImageDigest);
  clearInterval(watch);
  console.log(JSON.stringify({ grownBytes: most - before }));
  await host.stop();
}
