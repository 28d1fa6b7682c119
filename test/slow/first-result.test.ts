/** A promise of speed is one of a machine that does nothing else: here tests run one after another. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startMesh } from '../chaos/mesh.ts';
import { quickestOf } from '../chaos/quickest-of.ts';
import { createScripts } from '../chaos/scripts.ts';
import { checkout } from '../setup/run-program.ts';

const firstResultMsMax = 3_000;
const script = readFileSync(join(checkout, 'test/python/guide/multi.py'), 'utf8');

it(`a script of the guide has its first result within ${firstResultMsMax} ms of up, with no node before it`, async () => {
  const tookMs = await quickestOf(firstResultMsMax, async () => {
    const cold = await startMesh();
    const { PERIGEE_URL: _url, PERIGEE_TOKEN: _token, ...shell } = cold.environment;
    using scripts = createScripts(shell);
    try {
      const beganAtMs = performance.now();
      const ended = await scripts.run(script);
      const endedAtMs = performance.now();
      expect(ended).toMatchObject({ status: 0, stdout: '5\nhello 5\n', stderr: '' });
      return endedAtMs - beganAtMs;
    } finally {
      await cold.close();
    }
  });
  expect(tookMs).toBeLessThan(firstResultMsMax);
});
