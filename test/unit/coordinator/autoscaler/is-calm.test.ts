import { describe, expect, it } from 'vitest';
import { isCalm } from '../../../../coordinator/autoscaler/is-calm.ts';
import type {
  InstanceRecord,
  OrphanRecord,
} from '../../../../coordinator/autoscaler/lifecycle/state.ts';
import { beginOrphan } from '../../../../coordinator/autoscaler/lifecycle/state.ts';
import type { InstanceId } from '../../../../protocol/wire/ids.ts';

const working: InstanceRecord = {
  instance: 'local-1' as InstanceId,
  pool: 'local',
  offer: 'process',
  pricePerHour: 0,
  requestedAtMs: 0,
  phase: 'working',
  sinceMs: 0,
  reason: '',
  handle: 'x',
  isAsking: false,
  node: null,
  absences: 0,
  interrupted: false,
  isAsked: false,
  hasLeft: false,
  ending: null,
};
const core = { batches: new Map(), tasks: new Map() };
const fleetOf = (change: Partial<InstanceRecord>) => ({
  instances: new Map([[working.instance, { ...working, ...change }]]),
  orphans: new Map<InstanceId, OrphanRecord>(),
});

describe('isCalm', () => {
  it('is so with no machine, and with machines that only work or idle', () => {
    expect(isCalm({ instances: new Map(), orphans: new Map() }, core)).toBe(true);
    expect(isCalm(fleetOf({}), core)).toBe(true);
  });

  it('is not while a machine comes or goes', () => {
    const ending = { sinceMs: 0, nextTryMs: 0, tries: 1, killed: false };
    for (const change of [
      { phase: 'requested' as const },
      { phase: 'booting' as const },
      { phase: 'joined' as const },
      { phase: 'draining' as const },
      { ending },
      { interrupted: true },
      { absences: 1 },
    ]) {
      expect(isCalm(fleetOf(change), core)).toBe(false);
    }
    const orphan = beginOrphan({ pool: 'local', pricePerHour: 0, sinceMs: 0 }, 0);
    const orphans = new Map([['local-2' as InstanceId, orphan]]);
    expect(isCalm({ instances: new Map(), orphans }, core)).toBe(false);
  });

  it('is not while there is work', () => {
    const some = new Map([[1, {}]]) as never;
    expect(isCalm(fleetOf({}), { ...core, batches: some })).toBe(false);
    expect(isCalm(fleetOf({}), { ...core, tasks: some })).toBe(false);
  });
});
