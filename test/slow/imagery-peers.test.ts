import { it } from 'vitest';
import { readTogether } from '../unit/node-agent/imagery/peer-mesh.ts';

it('eight nodes read a scene of 1 GB and the origin sends at most 1.05 of it', async () => {
  await readTogether({ nodes: 8, sceneBytes: 1024 ** 3 });
}, 1_500_000);
