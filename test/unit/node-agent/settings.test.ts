import { describe, expect, it } from 'vitest';
import {
  agentSettingsTable,
  coreSettingsOf,
  readAgentSettings,
} from '../../../node-agent/settings.ts';
import { agentHelp } from '../../../node-agent/settings-help.ts';
import type { PerigeeError } from '../../../protocol/base/errors.ts';

const join = [
  '--join',
  '/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDcLt3CLgAKYFYCd4kkfmGGSnzt9XQhkYUqrhPsvU49HM',
];

describe('readAgentSettings', () => {
  it('fills in the defaults', () => {
    expect(readAgentSettings(join, {})).toMatchObject({
      join: join[1],
      slots: null,
      mount: [],
      minIsolation: 'minimal',
      insecure: false,
      tickMs: 50,
      reconnectMsMin: 100,
      reconnectMsMax: 2_000,
    });
  });

  it('reads flags and environment, flags first', () => {
    const args = [...join, '--slots', '3', '--mount', 'a=/', '--mount', 'b=/', '--insecure'];
    const env = { PERIGEE_SLOTS: '5', PERIGEE_CPUS: '2', PERIGEE_WORKER_IDLE_MS: '50' };
    const settings = readAgentSettings(args, env);
    expect(settings).toMatchObject({ slots: 3, cpus: 2, mount: ['a=/', 'b=/'], insecure: true });
    expect(coreSettingsOf(settings)).toMatchObject({ workerIdleMs: 50, orphanedMs: null });
  });

  it('counts the patience of an orphan in milliseconds', () => {
    const args = [...join, '--exit-when-orphaned-seconds', '1.5'];
    expect(coreSettingsOf(readAgentSettings(args, {})).orphanedMs).toBe(1_500);
  });

  it.each([
    [[], '--join is missing'],
    [[...join, '--slots', 'many'], "--slots is 'many'"],
    [[...join, '--slots', '0'], "--slots is '0'"],
    [[...join, '--min-isolation', 'best'], "--min-isolation is 'best'"],
    [['--join', '/ip4/127.0.0.1/tcp/1'], 'no mesh address with a peer id'],
    [[...join, '--isolation', 'none'], 'Add --insecure'],
    [[...join, '--isolation', 'minimal', '--min-isolation', 'standard'], 'is weaker than'],
    [[...join, '--wings'], '--wings'],
    [[...join, 'extra'], 'extra'],
  ])('refuses %j', (args, message) => {
    const refused = expect(() => readAgentSettings(args, {}));
    refused.toThrow(expect.objectContaining({ code: 'invalid_request' }));
    refused.toThrow(
      expect.toSatisfy((error: PerigeeError) => `${error.message} ${error.fix}`.includes(message)),
    );
  });

  it.each([
    [[], 'minimal'],
    [['--insecure'], 'none'],
    [['--isolation', 'reduced'], 'reduced'],
    [['--min-isolation', 'standard', '--insecure'], 'standard'],
  ])('given %j starts at %s or better', (args, minIsolation) => {
    expect(readAgentSettings([...join, ...args], {})).toMatchObject({ minIsolation });
  });

  it('names the variable at fault', () => {
    const env = { PERIGEE_AGENT_TICK_MS: '-1' };
    expect(() => readAgentSettings(join, env)).toThrow("PERIGEE_AGENT_TICK_MS is '-1'");
  });

  it('holds the reconnect pauses together', () => {
    const env = { PERIGEE_RECONNECT_MS_MIN: '500', PERIGEE_RECONNECT_MS_MAX: '100' };
    expect(() => readAgentSettings(join, env)).toThrow('PERIGEE_RECONNECT_MS_MIN');
  });
});

describe('agentHelp', () => {
  it('names every flag and variable of the table', () => {
    const help = agentHelp();
    for (const entry of Object.values(agentSettingsTable)) {
      if (entry.flag !== null) expect(help).toContain(`--${entry.flag}`);
      if ('env' in entry && entry.env !== null) expect(help).toContain(entry.env);
    }
  });
});
