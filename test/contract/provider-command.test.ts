import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InstanceOffer, Provider } from '../../coordinator/autoscaler/provider-port.ts';
import { loadProvider } from '../../coordinator/autoscaler/providers/load-provider.ts';
import type { InstanceId } from '../../protocol/wire/ids.ts';
import { testProvider } from './provider-suite.ts';

/** The user's own programs: their cloud is a folder with a file for each machine. */
const scripts = {
  create: `#!/bin/sh
[ -e "$CLOUD/trouble" ] && exit "$(cat "$CLOUD/trouble")"
mkdir -p "$CLOUD/$PERIGEE_COORDINATOR"
cat >"$CLOUD/$PERIGEE_COORDINATOR/$PERIGEE_INSTANCE"
[ -e "$CLOUD/lost" ] && exit 1
echo "handle-$PERIGEE_INSTANCE"
`,
  list: `#!/bin/sh
[ -e "$CLOUD/trouble" ] && exit "$(cat "$CLOUD/trouble")"
mkdir -p "$CLOUD/$PERIGEE_COORDINATOR"
cd "$CLOUD/$PERIGEE_COORDINATOR"
comma=; printf '['
for name in *; do
  [ -e "$name" ] || continue
  printf '%s{"instance": "%s", "handle": "handle-%s", "state": "running"}' "$comma" "$name" "$name"
  comma=,
done
printf ']'
`,
  destroy: `#!/bin/sh
rm -f "$CLOUD/$PERIGEE_COORDINATOR/$PERIGEE_INSTANCE"
`,
};
const offers: InstanceOffer[] = [
  {
    id: 'plain',
    type: 'plain',
    zone: null,
    spot: false,
    shape: { slots: 1, cpus: 1, memoryBytes: 2 ** 30, isolation: 'strong', network: false },
    pricePerHour: 0,
  },
];
const { signal } = new AbortController();
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-command-'));
  for (const [name, text] of Object.entries(scripts)) {
    writeFileSync(join(folder, name), text, { mode: 0o755 });
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function open(cloud: string, fields: object = {}): Promise<Provider> {
  const programs = Object.keys(scripts).map((name) => [name, [join(folder, name)]]);
  const create = await loadProvider('command', { ...Object.fromEntries(programs), ...fields });
  const env = { ...process.env, CLOUD: cloud };
  return create({ pool: 'command', offers, coordinator: 'mine', env });
}

testProvider({
  name: 'command',
  troubles: ['lostAnswer', 'stockout', 'quota', 'throttled', 'denied', 'unavailable'],
  hasInterruption: false,
  async open() {
    const cloud = mkdtempSync(join(folder, 'cloud-'));
    const fail = (code: number) => async () => writeFileSync(join(cloud, 'trouble'), String(code));
    mkdirSync(join(cloud, 'mine'));
    return {
      provider: await open(cloud),
      userData: '#!/bin/sh\n',
      reopen: () => open(cloud),
      async openStranger() {
        const stranger = await loadProvider('command', {
          create: [join(folder, 'create')],
          list: [join(folder, 'list')],
          destroy: [join(folder, 'destroy')],
        });
        const env = { ...process.env, CLOUD: cloud };
        return stranger({ pool: 'command', offers, coordinator: 'other', env });
      },
      troubles: {
        lostAnswer: async () => writeFileSync(join(cloud, 'lost'), ''),
        stockout: fail(10),
        quota: fail(11),
        throttled: fail(12),
        denied: fail(13),
        unavailable: fail(1),
      },
      async heal() {
        rmSync(join(cloud, 'trouble'), { force: true });
        rmSync(join(cloud, 'lost'), { force: true });
      },
      interrupt: null,
      countMachines: async () => readdirSync(join(cloud, 'mine')).length,
      close: async () => undefined,
    };
  },
});

describe('provider command, beyond what all do', () => {
  it('ends a script that takes too long, and says that a machine may be there', async () => {
    const slow = { create: ['sleep', '60'], timeoutSeconds: 0.2 };
    const provider = await open(folder, slow);
    const instance = 'command-0000eeee' as InstanceId;
    await expect(
      provider.create({ instance, offer: 'plain', userData: '' }, signal),
    ).rejects.toMatchObject({ failure: 'unavailable', mayHaveMade: true });
  });

  it('waits for no program that left one of its own behind, beyond the time that it has', async () => {
    const pids = join(folder, 'left-behind');
    const leave = `setsid sh -c 'echo $$ >>${pids}; exec sleep 120' & `;
    const provider = await open(folder, {
      list: ['sh', '-c', `${leave} echo '[]'`],
      destroy: ['sh', '-c', `${leave} sleep 120`],
      timeoutSeconds: 2,
    });
    try {
      expect(await provider.list(signal)).toEqual(new Map());
      const instance = 'command-0000ffff' as InstanceId;
      await expect(provider.terminate(instance, null, signal)).rejects.toMatchObject({
        failure: 'unavailable',
        message: expect.stringContaining('took over 2 s'),
      });
    } finally {
      for (const pid of readFileSync(pids, 'utf8').trim().split('\n')) {
        process.kill(Number(pid), 'SIGKILL');
      }
    }
  }, 30_000);

  it('asks for as much time as its programs may take, so that theirs is over first', async () => {
    const provider = await open(folder, { timeoutSeconds: 3_600 });
    expect(provider.answerMsMax).toBeGreaterThan(3_600_000);
    const usual = await open(folder);
    expect(usual.answerMsMax).toBeGreaterThan(120_000);
  });

  it('takes a listing that is no JSON for unknown, and says so at start', async () => {
    const provider = await open(folder, { list: ['echo', 'none'] });
    await expect(provider.list(signal)).rejects.toMatchObject({ failure: 'unavailable' });
    expect(await provider.check(signal)).toHaveLength(1);
  });

  it('refuses a pool without one of the three scripts', async () => {
    await expect(open(folder, { destroy: [] })).rejects.toThrow(/"destroy"/);
  });
});
