/** Nodes as the API shows them. */
import type { NodeView } from '../../../protocol/wire/api.ts';
import type { NamespaceName } from '../../../protocol/wire/ids.ts';
import type { CoordinatorState, CoreNode, DepartedNode } from '../../core/entities.ts';
import { describeHoldings } from '../../core/views.ts';
import { formatTime } from './times.ts';

/** Whether a node may see a namespace's work. */
export function servesNamespace(
  node: { namespaces: ReadonlySet<NamespaceName> | null },
  namespace: NamespaceName,
): boolean {
  return node.namespaces === null || node.namespaces.has(namespace);
}

/** Attempts that a node runs now, as far as slots tell: what it holds beyond them waits there. */
export function busySlots(node: CoreNode): number {
  return Math.min(node.held.size, node.profile?.capacity.slots ?? 0);
}

/** Live and departed nodes, those that joined first in front. */
export function listNodeViews(
  state: CoordinatorState,
  options: { namespace: NamespaceName | null; nowMs: number },
): NodeView[] {
  const { namespace, nowMs } = options;
  const isShown = (node: CoreNode | DepartedNode): boolean =>
    namespace === null || servesNamespace(node, namespace);
  const live = [...state.nodes.values()]
    .filter(isShown)
    .map((node) => liveView(node, state, nowMs));
  const departed = [...state.departed.values()]
    .filter((node) => isShown(node) && !state.nodes.has(node.id))
    .map((node) => departedView(node, nowMs));
  return [...live, ...departed];
}

/** One live node. */
export function liveView(node: CoreNode, state: CoordinatorState, nowMs: number): NodeView {
  const silentMs = nowMs - node.heardAtMs;
  return {
    ...commonView(node, nowMs),
    state: node.phase.kind === 'lostContact' ? 'lost' : node.phase.kind,
    suspect: node.session === null || silentMs > state.settings.suspectMs,
    busy: busySlots(node),
    held: node.held.size,
  };
}

function departedView(node: DepartedNode, nowMs: number): NodeView {
  return { ...commonView(node, nowMs), state: node.phase, suspect: false, busy: 0, held: 0 };
}

function commonView(
  node: CoreNode | DepartedNode,
  nowMs: number,
): Omit<NodeView, 'state' | 'suspect' | 'busy' | 'held'> {
  const { profile } = node;
  return {
    id: node.id,
    name: profile?.name ?? '',
    isolation: profile?.isolation ?? 'none',
    slots: profile?.capacity.slots ?? 0,
    cpus: profile?.capacity.cpus ?? 0,
    memoryBytes: profile?.capacity.memoryBytes ?? 0,
    diskBytes: profile?.capacity.diskBytes ?? 0,
    // Two builds of one image may both answer to its name.
    images: [...new Set(profile?.images.flatMap((image) => image.names))],
    mounts: [...(profile?.mounts ?? [])],
    imagery: profile?.imagery ?? 'none',
    network: profile?.network ?? false,
    holdings: 'holdings' in node ? describeHoldings(node) : { assets: 0, bytes: 0 },
    imageryReads: 'imageryReads' in node ? readsView(node.imageryReads) : null,
    instance: profile?.instance ?? null,
    pid: profile?.pid ?? 0,
    joinedAt: formatTime(node.joinedAtMs),
    lastHeardSeconds: Math.max(0, nowMs - node.heardAtMs) / 1000,
    draining: describeDrain(node),
    quarantined: node.quarantine !== null,
    software: profile?.software ?? '',
    story: node.story.map((line) => ({ at: formatTime(line.atMs), text: line.text })),
  };
}

/** Null until something was read. */
function readsView(reads: CoreNode['imageryReads']): NodeView['imageryReads'] {
  if (reads === null || reads.hits + reads.misses === 0) return null;
  return { ...reads, hitRate: reads.hits / (reads.hits + reads.misses) };
}

function describeDrain({ phase }: CoreNode | DepartedNode): string | null {
  if (typeof phase === 'string' || phase.kind !== 'draining') return null;
  return `Asked by the ${phase.by}${phase.reason === '' ? '.' : `: ${phase.reason}`}`;
}
