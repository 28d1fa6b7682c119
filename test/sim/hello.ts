/** What simulated nodes say of themselves. */
import type { ImageDigest, NodeId } from '../../protocol/wire/ids.ts';
import type { Hello } from '../../protocol/wire/messages.ts';
import type { Capacity } from '../../protocol/wire/task.ts';

/** The image that every simulated node has. */
export const simImage = `sha256:${'0'.repeat(64)}` as ImageDigest;

/** A hello of a node that holds nothing. */
export function simHello(options: { node: NodeId; capacity: Capacity; network?: boolean }): Hello {
  return {
    kind: 'hello',
    protocol: 1,
    software: 'sim',
    joinToken: null,
    nodeName: options.node,
    instance: null,
    capacity: options.capacity,
    images: [
      {
        digest: simImage,
        names: ['image'],
        python: { implementation: 'CPython', version: '2.7.18' },
        arch: 'x64',
        sizeBytes: 1,
      },
    ],
    isolation: 'standard',
    mounts: [],
    peerAddresses: [],
    network: options.network ?? false,
    pid: 1,
    held: [],
    draining: false,
  };
}
