/** The command lines themselves: what must never be missing from one. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readAgentMark } from '../../../../node-agent/runner/agent-mark.ts';
import type { LaunchContext } from '../../../../node-agent/runner/launch.ts';
import { planBubblewrap } from '../../../../node-agent/runner/launch-bubblewrap.ts';
import { planGvisor } from '../../../../node-agent/runner/launch-gvisor.ts';
import { planMinimal, planNone } from '../../../../node-agent/runner/launch-plain.ts';
import { planUnshare } from '../../../../node-agent/runner/launch-unshare.ts';
import { createSlotIdentities } from '../../../../node-agent/runner/slot-identity.ts';

const context: LaunchContext = {
  identity: { uid: 61_001, gid: 61_001 },
  rootfs: '/images/one/rootfs',
  pythonPath: '/usr/bin/python2.7',
  sitePath: null,
  harnessPath: '/run/lib/harness.py',
  packagesFolder: '/run/lib/packages',
  functionPath: '/run/w1/function',
  cloudpicklePath: '/run/w1/cloudpickle.zip',
  inFolder: '/run/w1/in',
  tmpFolder: '/run/w1/tmp',
  rootFolder: '/run/w1/root',
  outputPath: '/run/w1/output',
  mounts: [],
  network: false,
  cpus: 1,
  memoryBytes: 1_000_000,
  processesMax: 64,
  tmpBytes: 1_000_000,
  hasCgroup: true,
  arch: 'x64',
};

interface Bundle {
  root: object;
  process: object;
  mounts: { destination: string; options?: string[] }[];
}

describe('a launch', () => {
  it('changes to the slot’s user before bubblewrap, never running it as root', () => {
    const { argv } = planBubblewrap(context);
    const user = argv.indexOf('--reuid=61001');
    expect(user).toBeGreaterThan(0);
    expect(argv.slice(0, user)).not.toContain('bwrap');
    expect(argv.slice(user, argv.indexOf('bwrap'))).toEqual([
      ...['--reuid=61001', '--regid=61001', '--clear-groups', '--no-new-privs'],
    ]);
  });

  it('insists on every namespace, and shares the network only when asked', () => {
    const flags = ['--unshare-all', '--unshare-user', '--disable-userns', '--die-with-parent'];
    const { argv } = planBubblewrap(context);
    expect(argv).toEqual(expect.arrayContaining([...flags, '--new-session', '--cap-drop']));
    expect(argv).not.toContain('--share-net');
    expect(planBubblewrap({ ...context, network: true }).argv).toContain('--share-net');
    expect(planUnshare(context).argv).toContain('--net');
    expect(planUnshare({ ...context, network: true }).argv).not.toContain('--net');
  });

  it('leaves no /dev or root writable behind', () => {
    const { argv } = planBubblewrap(context);
    const remounted = argv.flatMap((word, at) => (word === '--remount-ro' ? [argv[at + 1]] : []));
    expect(remounted).toEqual(['/dev', '/perigee', '/data', '/']);
    for (const [at, word] of argv.entries()) {
      if (word === '--tmpfs') expect(argv[at - 2]).toBe('--size');
    }
  });

  it('needs root for the level reduced', () => {
    expect(() => planUnshare({ ...context, identity: null })).toThrow('needs root');
  });

  it('gives gVisor a bundle with nothing to gain by, and its frames the standard descriptors', () => {
    const folder = mkdtempSync(join(tmpdir(), 'perigee-bundle-'));
    const mounts = [{ name: 'scenes', path: '/srv/scenes' }];
    const plan = planGvisor({ ...context, rootFolder: folder, mounts });
    const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Bundle;
    rmSync(folder, { recursive: true });
    expect(config.root).toEqual({ path: context.rootfs, readonly: true });
    expect(config.process).toMatchObject({
      user: { uid: 61_001, gid: 61_001 },
      capabilities: {},
      noNewPrivileges: true,
      args: ['/usr/bin/python2.7', '-u', '-s', '/perigee/harness.py', '0', '1'],
    });
    const writable = config.mounts.filter((mount) => !mount.options?.includes('ro'));
    expect(writable.map((mount) => mount.destination)).toEqual(['/proc', '/dev/shm', '/tmp']);
    expect(plan).toMatchObject({ channel: 'standard', setup: { acknowledgesAll: true } });
    expect(plan.argv).toContain('--network=none');
    expect(plan.argv.join(' ')).toContain('folder /srv/scenes /data/scenes');
    expect(() => planGvisor({ ...context, rootFolder: folder, identity: null })).toThrow(
      'needs root',
    );
  });

  it('has the harness confine itself where there are no namespaces', () => {
    const { setup, argv } = planMinimal(context);
    expect(setup.landlock?.write).toEqual([
      ...['/run/w1/tmp', '/run/w1/output', '/dev/null', '/dev/zero', '/dev/full'],
    ]);
    expect(setup.landlock?.read).not.toContain('/etc');
    expect(setup.seccomp).not.toBeNull();
    expect(setup.sweep).toBe('uid');
    expect(argv).toContain('--bounding-set=-all');
    expect(planMinimal({ ...context, identity: null }).setup.sweep).toBe('children');
    expect(planNone(context).setup.sweep).toBe('children');
  });

  it('limits memory and processes by rlimits where there are no control groups', () => {
    expect(planBubblewrap(context).setup.rlimits).toEqual({});
    expect(planBubblewrap({ ...context, hasCgroup: false }).setup.rlimits).toEqual({
      nproc: 64,
      data: 2_000_000,
    });
  });

  it('takes nothing of the agent’s own environment', () => {
    process.env['PERIGEE_JOIN_TOKEN'] = 'secret';
    for (const plan of [planBubblewrap, planUnshare, planMinimal, planNone]) {
      expect(JSON.stringify(plan(context))).not.toContain('secret');
    }
    delete process.env['PERIGEE_JOIN_TOKEN'];
  });
});

describe('slot uids', () => {
  it('are never given twice on a machine, and come back from agents that are gone', () => {
    const folder = mkdtempSync(join(tmpdir(), 'perigee-uids-'));
    const one = createSlotIdentities(folder, readAgentMark());
    const two = createSlotIdentities(folder, readAgentMark());
    writeFileSync(join(folder, '61003'), `agent-${readAgentMark().pidNamespace}-4194303-1-1`);
    const uids = [one.take(0), two.take(0), one.take(1), one.take(0)].map((slot) => slot.uid);
    expect(uids).toEqual([61_001, 61_002, 61_003, 61_001]);
    one.releaseAll();
    expect(two.take(1).uid).toBe(61_001);
    expect(readFileSync(join(folder, '61002'), 'utf8')).toContain(String(process.pid));
    rmSync(folder, { recursive: true });
  });
});
