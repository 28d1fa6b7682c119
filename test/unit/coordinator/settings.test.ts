import { describe, expect, it } from 'vitest';
import {
  environmentName,
  localNodeMemoryBytes,
  parseSettings,
  settingsTable,
} from '../../../coordinator/settings.ts';

const parse = (argv: string[] = [], env: Record<string, string> = {}) =>
  parseSettings({ argv, env: { PERIGEE_HOME: '/home/p', ...env }, isRoot: false });

describe('coordinator settings', () => {
  it('are what the table says when nothing is given, and cannot be changed', () => {
    const settings = parse();
    expect(settings).toMatchObject({
      heartbeatMs: 1_000,
      suspectMs: 3_000,
      leaseMs: 15_000,
      nodeIdleMs: 20_000,
      host: '127.0.0.1',
      meshHost: '127.0.0.1',
      localNodes: 0,
      data: '/home/p/coordinator',
    });
    expect(Object.isFrozen(settings)).toBe(true);
  });

  it('take a flag before the environment, and the environment before the default', () => {
    const env = { PERIGEE_PORT: '1000', PERIGEE_LEASE_MS: '9000' };
    const settings = parse(['--port', '2000', '--data=/tmp/d', '--json'], env);
    expect(settings).toMatchObject({ port: 2_000, leaseMs: 9_000, data: '/tmp/d', json: true });
  });

  it('collect every mount', () => {
    const { mounts } = parse(['--mount', 'a=/x', '--mount', 'b=/y']);
    expect(mounts).toEqual(['a=/x', 'b=/y']);
  });

  it('refuse what is wrong with the value that was given', () => {
    const cases: [string[], Record<string, string>, RegExp][] = [
      [['--port', 'eighty'], {}, /--port is "eighty"/],
      [['--port', '70000'], {}, /from 0 to 65535/],
      [['--port'], {}, /--port needs a value/],
      [['--prot', '1'], {}, /no option --prot/],
      [['stray'], {}, /no option stray/],
      [['--tls-cert', 'x'], {}, /go together/],
      [[], { PERIGEE_LEASE_MS: '1.5' }, /PERIGEE_LEASE_MS is "1.5"/],
      [[], { PERIGEE_LEASE_MS: '2000' }, /must be shorter than/],
      [[], { PERIGEE_HEARTBEAT_MS: '3000' }, /must be shorter than/],
      [[], { PERIGEE_JSON: 'yes' }, /not true or false/],
    ];
    for (const [argv, env, message] of cases) {
      expect(() => parse(argv, env)).toThrow(
        expect.objectContaining({
          code: 'invalid_request',
          message: expect.stringMatching(message),
        }),
      );
    }
  });

  it('have a sentence each, defaults within their bounds and variables of their own', () => {
    const names = new Set<string>();
    for (const [key, setting] of Object.entries(settingsTable)) {
      expect(setting.doc, key).toMatch(/ .*\.$/);
      names.add(environmentName(key));
      if (typeof setting.default !== 'number') continue;
      expect(setting.default, key).toBeGreaterThanOrEqual(setting.min);
      expect(setting.default, key).toBeLessThanOrEqual(setting.max);
    }
    expect(names.size).toBe(Object.keys(settingsTable).length);
    expect(environmentName('leaseMs')).toBe('PERIGEE_LEASE_MS');
  });

  it('give a local node at least the memory of one default task when the machine has it', () => {
    const settings = parse();
    expect(localNodeMemoryBytes(settings, 4 * 2 ** 30)).toBeGreaterThanOrEqual(2 * 2 ** 30);
    expect(localNodeMemoryBytes(settings, 2 ** 30)).toBe(Math.floor(2 ** 30 * 0.9));
    const set = parse([], { PERIGEE_NODE_MEMORY_BYTES: '12345' });
    expect(localNodeMemoryBytes(set, 2 ** 40)).toBe(12_345);
  });
});
