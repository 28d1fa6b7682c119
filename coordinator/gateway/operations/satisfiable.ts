/** Refuses what no machine of the mesh could ever run (decision 12). */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { NamespaceName } from '../../../protocol/wire/ids.ts';
import { isAtLeast } from '../../../protocol/wire/task.ts';
import type { CheckedGroupRequest } from '../input/group-request.ts';
import { formatMemorySize } from '../input/memory-size.ts';
import type { MachineShape } from '../ports.ts';
import type { Services } from '../services.ts';
import { servesNamespace } from '../views/nodes.ts';

/**
 * Compares a request with every node that serves the namespace and every machine that the fleet could
 * make. A mesh that knows of no machine at all refuses nothing: its nodes have yet to join.
 * @throws PerigeeError unsatisfiable
 */
export function checkSatisfiable(
  services: Services,
  namespace: NamespaceName,
  request: Pick<CheckedGroupRequest, 'cpus' | 'memoryBytes' | 'isolationMin' | 'network'>,
): void {
  const known = [...services.deps.fleet.shapes(), ...nodeShapes(services, namespace)];
  if (known.length === 0) return;
  const shapes = request.network ? known.filter(({ network }) => network) : known;
  if (shapes.length === 0) {
    throw new PerigeeError('unsatisfiable', 'No machine of this mesh gives tasks its network.', {
      fix: 'Create the function without network=True, or have an agent (or `up`) started with --allow-network.',
      details: { network: true },
    });
  }
  const fits = shapes.some(
    (shape) =>
      shape.cpus >= request.cpus &&
      shape.memoryBytes >= request.memoryBytes &&
      isAtLeast(shape.isolation, request.isolationMin),
  );
  if (fits) return;
  throw new PerigeeError(
    'unsatisfiable',
    `No machine of this mesh could ever have ${request.cpus} cpus, ${formatMemorySize(request.memoryBytes)} of memory and isolation "${request.isolationMin}". ${describe(shapes)}`,
    { details: { cpus: request.cpus, memoryBytes: request.memoryBytes } },
  );
}

function nodeShapes(services: Services, namespace: NamespaceName): MachineShape[] {
  const shapes: MachineShape[] = [];
  for (const node of services.deps.driver.state().nodes.values()) {
    const { profile } = node;
    if (profile === null || !servesNamespace(node, namespace)) continue;
    const { cpus, memoryBytes } = profile.capacity;
    shapes.push({ cpus, memoryBytes, isolation: profile.isolation, network: profile.network });
  }
  return shapes;
}

function describe(shapes: readonly MachineShape[]): string {
  const cpus = Math.max(...shapes.map((shape) => shape.cpus));
  const memoryBytes = Math.max(...shapes.map((shape) => shape.memoryBytes));
  return `The most that one has is ${cpus} cpus, and ${formatMemorySize(memoryBytes)} of memory.`;
}
