/**
 * The whole life of a machine of a pool: a coordinator's process, the user's own three programs, and
 * the boot script as the coordinator gives it. Its machines are folders and process groups here.
 */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listProcesses, signal } from '../chaos/processes.ts';
import { waitFor } from '../chaos/wait-for.ts';
import type { FleetCoordinator } from '../setup/fleet-coordinator.ts';
import { startFleetCoordinator } from '../setup/fleet-coordinator.ts';
import type { MotoServer } from '../setup/moto.ts';
import { startMoto } from '../setup/moto.ts';

const programs = {
  // The script's own home and its power switch are the machine's; here both are the folder's.
  create: `#!/bin/sh
set -eu
own=$CLOUD/$PERIGEE_INSTANCE
[ -e "$own" ] && { echo "$own"; exit 0; }
mkdir -m 755 "$own"
sed -e "s|^home=/var/lib/perigee$|home=$own/home|" -e 's|^sync$|:|' \\
  -e "s|^systemctl poweroff .*|touch $own/powered-off|" -e 's|/run/systemd/system|/none|' >"$own/boot"
grep -q 'poweroff\\|/var/lib' "$own/boot" && { echo 'not a script to run here' >&2; exit 14; }
setsid sh "$own/boot" >"$own/log" 2>&1 </dev/null &
echo $! >"$own/pid"
echo "$own"
`,
  list: `#!/bin/sh
cd "$CLOUD"
comma=; printf '['
for name in *; do
  [ -e "$name/pid" ] || continue
  state=running
  kill -0 "$(cat "$name/pid")" 2>/dev/null || state=gone
  printf '%s{"instance": "%s", "handle": "%s", "state": "%s"}' "$comma" "$name" "$CLOUD/$name" $state
  comma=,
done
printf ']'
`,
  destroy: `#!/bin/sh
touch "$CLOUD/$PERIGEE_INSTANCE/destroyed"
kill -KILL -- "-$(cat "$CLOUD/$PERIGEE_INSTANCE/pid")" 2>/dev/null
exit 0
`,
};
const work = `
import time
def work(seconds):
    print('begun')
    time.sleep(seconds)
    return 'through'
`;
const shape = { slots: 2, cpus: 1.5, memoryGiB: 1 };
const bootMsMax = 300_000;

describe('a machine of a pool', () => {
  let folder = '';
  let cloud = '';
  let moto: MotoServer | undefined;
  let coordinator: FleetCoordinator | undefined;

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'perigee-fleet-'));
    cloud = join(folder, 'cloud');
    chmodSync(folder, 0o755);
    mkdirSync(cloud);
    for (const [name, text] of Object.entries(programs)) {
      writeFileSync(join(folder, name), text, { mode: 0o755 });
    }
    moto = await startMoto();
  });
  afterEach(async () => {
    await coordinator?.stop();
    for (const { pid } of listProcesses(folder)) signal(pid, 'SIGKILL');
    await moto?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Those in which something is wrong stand first: what they could have would be preferred. */
  function pools(): object[] {
    const command = Object.fromEntries(
      Object.keys(programs).map((name) => [name, [join(folder, name)]]),
    );
    const aws = { region: 'eu-west-1', image: 'ami-12c6146b', endpoint: moto?.url };
    const offer = { type: 'c5.large', zone: 'eu-west-1a', ...shape };
    return [
      { name: 'type', provider: 'ec2', max: 2, offers: [{ ...offer, type: 'c5.none' }], ec2: aws },
      {
        name: 'zone',
        provider: 'ec2',
        max: 2,
        offers: [{ ...offer, zone: 'eu-west-1q' }],
        ec2: aws,
      },
      {
        ...{
          name: 'credentials',
          provider: 'gce',
          max: 2,
          offers: [{ type: 'n2-standard-2', ...shape }],
        },
        gce: { project: 'nobody', region: 'europe-west1' },
      },
      {
        ...{ name: 'program', provider: 'command', max: 2, offers: [{ type: 'vm', ...shape }] },
        command: { ...command, list: [join(folder, 'missing')] },
      },
      {
        ...{ name: 'ours', provider: 'command', max: 3, idleSeconds: 2, leaveSecondsMax: 5 },
        offers: [{ type: 'vm', ...shape }],
        command,
      },
      // On the same account: its listings show the machines of the pool before.
      { name: 'others', provider: 'command', max: 3, offers: [{ type: 'vm', ...shape }], command },
    ];
  }
  it('is made for a task, works, goes idle, is drained and destroyed; pools at fault make none', async () => {
    coordinator = await startFleetCoordinator({
      folder,
      pools: pools(),
      env: {
        ...{ ...process.env, CLOUD: cloud, METADATA_SERVER_DETECTION: 'none' },
        ...{ AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test' },
      },
    });
    const { tasks, fleet, explain, said } = coordinator;
    const { pools: atStart, instances: none } = await fleet();
    expect(none).toEqual([]);
    const faults = Object.fromEntries(atStart.map(({ pool, faults }) => [pool, faults.join(' ')]));
    expect(faults).toMatchObject({ ours: '', others: '', local: '' });
    expect(faults['type']).toContain('c5.none');
    expect(faults['zone']).toContain('eu-west-1q');
    expect(faults['credentials']).toMatch(/credentials/i);
    expect(faults['program']).toContain('missing');

    const group = await tasks.create(work);
    const [task = ''] = await tasks.submit(group, [3]);
    const made = await waitFor(
      'a machine is asked for',
      async () => (await fleet()).instances[0],
      bootMsMax,
    );
    expect(made).toMatchObject({ pool: 'ours', offer: 'vm' });
    const done = await tasks.settle(task, bootMsMax);
    expect(done.status, `${JSON.stringify(done)}\n${said()}`).toBe('SUCCESS');
    expect(await tasks.result(task)).toBe('through');
    const [node, ...more] = await tasks.nodes();
    expect(more).toEqual([]);
    expect(node).toMatchObject({
      instance: made.instance,
      slots: 2,
      cpus: 1.5,
      memoryBytes: 2 ** 30,
    });
    expect((await fleet()).instances).toMatchObject([
      { instance: made.instance, state: 'working', node: node?.id, ending: false },
    ]);

    await waitFor(
      'the machine is no more',
      async () => ((await fleet()).instances.length === 0 ? true : undefined),
      480_000,
    );
    const { events, sentences } = await explain();
    const story = events.filter(({ instance }) => instance === made.instance).reverse();
    // The drained agent powers its machine off: a listing may show its end before it is asked for.
    const heard = story.map(({ event }) => event).filter((event) => event !== 'ends');
    expect(heard).toEqual(['made', 'joined', 'drain', 'gone']);
    expect(sentences.join(' ')).toContain('ours');
    // One machine in all, by whichever pool; nothing of it runs.
    expect(readdirSync(cloud)).toEqual([made.instance]);
    expect(readdirSync(join(cloud, made.instance))).toContain('powered-off');
    expect(listProcesses(cloud)).toEqual([]);
    expect((await fleet()).pools.map(({ pool, live }) => [pool, live])).toEqual(
      atStart.map(({ pool }) => [pool, 0]),
    );
  });
});
