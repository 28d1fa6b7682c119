/** The mesh, the caller and the state of a namespace in a few numbers. */
import type { MeshView, StatusView, WhoamiView } from '../../../protocol/wire/api.ts';
import type { NamespaceName } from '../../../protocol/wire/ids.ts';
import { protocolVersion } from '../../../protocol/wire/messages.ts';
import { readNamespace } from '../caller.ts';
import { readKnownImages } from '../images/known-images.ts';
import type { Input } from '../input/fields.ts';
import type { Context, Services } from '../services.ts';
import { busySlots, servesNamespace } from '../views/nodes.ts';
import { formatTime, formatTimeOrNull } from '../views/times.ts';

/** Where the mesh is reached; needs no token. */
export function getMesh(services: Services): MeshView {
  return {
    peerId: services.deps.mesh.peerId,
    addresses: services.deps.mesh.addresses(),
    protocol: protocolVersion,
    version: services.deps.version,
  };
}

/** The caller's own token. */
export function getWhoami(context: Context): WhoamiView {
  const { tokenId, role, namespace, expiresAtMs } = context.caller;
  return { tokenId, role, namespace, expiresAt: formatTimeOrNull(expiresAtMs) };
}

/** Counts of a namespace and of the nodes that serve it. */
export async function getStatus(context: Context, input: Input): Promise<StatusView> {
  const namespace = readNamespace(context.caller, input);
  const state = context.deps.driver.state();
  const view: StatusView = {
    version: context.deps.version,
    namespace,
    groups: { running: 0 },
    tasks: { queued: 0, running: 0, succeeded: 0, failed: 0 },
    nodes: { joining: 0, ready: 0, draining: 0, lost: 0 },
    slots: { total: 0, busy: 0 },
    held: readHeld(context, namespace),
    images: [],
  };
  for (const group of state.groups.values()) {
    if (group.spec.namespace !== namespace) continue;
    if (group.state === 'running') view.groups.running += 1;
    view.tasks.queued += group.freshCount + group.waiting.size;
    view.tasks.running += group.running;
    view.tasks.succeeded += group.succeeded;
    view.tasks.failed += group.failed;
  }
  for (const node of state.nodes.values()) {
    if (!servesNamespace(node, namespace)) continue;
    view.nodes[node.phase.kind === 'lostContact' ? 'lost' : node.phase.kind] += 1;
    view.slots.total += node.profile?.capacity.slots ?? 0;
    view.slots.busy += busySlots(node);
  }
  const images = await readKnownImages(context, namespace);
  const ready = images.filter((image) => image.state === 'ready');
  view.images = [...new Set(ready.flatMap((image) => image.names))].sort();
  return view;
}

function readHeld(context: Context, namespace: NamespaceName): StatusView['held'] {
  const held = context.deps.retention.held(namespace);
  if (held === undefined) return null;
  const { atMs, ...bytes } = held;
  return { ...bytes, asOf: formatTime(atMs) };
}
