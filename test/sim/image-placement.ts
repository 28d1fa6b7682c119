/** How long tasks wait when few nodes have their image, on the coordinator's real core. */
import type { CoordinatorEffect } from '../../coordinator/core/effects.ts';
import type { CoordinatorEvent } from '../../coordinator/core/events.ts';
import { defaultCoreSettings } from '../../coordinator/core/settings.ts';
import { createState } from '../../coordinator/core/state.ts';
import { step } from '../../coordinator/core/step.ts';
import { nextFloat, seedRandom } from '../../protocol/base/random.ts';
import type { NamespaceName, NodeId, SessionNumber } from '../../protocol/wire/ids.ts';
import { createAgenda } from './agenda.ts';
import { simHello, simImage } from './hello.ts';
import { planGroup } from './plan.ts';

const startMs = 1_700_000_000_000;
const nodeCount = 16;
const slots = 4;
const submitMs = 60_000;
const linkMs = 2;
const runtimeMs = { min: 100, max: 400 };
/** 500 MB at a usual rate. */
const image = { digest: simImage, sizeBytes: 500_000_000, arch: 'x64', base: null };
const fetchMs = image.sizeBytes / defaultCoreSettings.fetchBytesPerMs;

/** Waits from submission to the begin of the run, ascending, in ms; `holders` nodes have the image at first. */
export function runImagePlacement(
  seed: number,
  options: { holders: number; load: number },
): number[] {
  const random = seedRandom(seed);
  const agenda = createAgenda(startMs);
  const state = createState({
    seed,
    settings: defaultCoreSettings,
    restored: { groups: [], batches: [], nextBatch: 1, outcomeNumbers: [], nextSession: 1 },
    now: startMs,
  });
  const hasImageAtMs = new Map<NodeId, number>();
  const submittedAtMs: number[] = [];
  const waits: number[] = [];
  let report = 0;

  const tell = (event: CoordinatorEvent): void => {
    for (const effect of step(state, event, Math.floor(agenda.nowMs))) perform(effect);
  };
  const perform = (effect: CoordinatorEffect): void => {
    if (effect.kind !== 'sendGrant') return;
    const { node, session, batch, lo, count } = effect;
    const readyAtMs = hasImageAtMs.get(node) ?? agenda.nowMs + fetchMs;
    hasImageAtMs.set(node, readyAtMs);
    for (let index = lo; index < lo + count; index += 1) {
      const beginMs = Math.max(linkMs, readyAtMs - agenda.nowMs);
      const durationMs = runtimeMs.min + nextFloat(random) * (runtimeMs.max - runtimeMs.min);
      waits.push(agenda.nowMs + beginMs - (submittedAtMs[batch] ?? 0));
      agenda.after(beginMs + durationMs + linkMs, () => {
        report += 1;
        const outcome = {
          ...{ batch, index, attempt: 1, runtimeMs: durationMs, failure: null },
          ...{ status: 'success' as const, result: new Uint8Array(0) },
          ...{ peakMemoryBytes: 0, logBytes: 0 },
        };
        tell({ kind: 'reportReceived', node, session, report, outcomes: [outcome] });
      });
    }
  };
  const submit = (): void => {
    if (agenda.nowMs > startMs + submitMs) return;
    submittedAtMs[state.nextBatch] = agenda.nowMs;
    tell({
      kind: 'batchSubmitted',
      request: state.nextBatch,
      group: spec.group,
      clientBatch: `b${state.nextBatch}`,
      blockHash: '',
      count: 1,
      block: new Uint8Array(0),
      assets: null,
    });
    const perMs = (options.load * nodeCount * slots) / ((runtimeMs.min + runtimeMs.max) / 2);
    agenda.after(-Math.log(1 - nextFloat(random)) / perMs, submit);
  };
  const beat = (): void => {
    for (const { node, session } of nodes) {
      const health = { load: 0, memoryFreeBytes: 1, diskFreeBytes: 1 };
      tell({ kind: 'heartbeatHeard', node, session, ...health });
    }
    tell({ kind: 'clockTicked' });
    if (agenda.nowMs < startMs + 2 * submitMs) agenda.after(20, beat);
  };

  const spec = {
    ...planGroup(seedRandom(1), 'default' as NamespaceName),
    ...{ maximumConcurrency: null, queueTimeoutMs: null, retryCount: 0 },
  };
  tell({ kind: 'groupCreated', request: 0, spec });
  tell({ kind: 'imagesKnown', images: [image] });
  const nodes = Array.from({ length: nodeCount }, (_, at) => ({
    node: `node${at}` as NodeId,
    session: (at + 1) as SessionNumber,
  }));
  for (const [at, { node, session }] of nodes.entries()) {
    const capacity = { slots, cpus: slots, memoryBytes: 2 ** 36, diskBytes: 2 ** 40 };
    const hello = simHello({ node, capacity });
    const isHolder = at < options.holders;
    if (isHolder) hasImageAtMs.set(node, startMs);
    const images = isHolder ? hello.images : [];
    tell({ kind: 'nodeJoined', node, session, hello: { ...hello, images }, namespaces: null });
    tell({ kind: 'nodePulled', node, session, heldMax: slots });
  }
  agenda.after(20, beat);
  agenda.after(0, submit);
  while (agenda.next(Number.POSITIVE_INFINITY));
  return waits.sort((one, other) => one - other);
}
