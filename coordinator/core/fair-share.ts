/**
 * Whose turn it is. Namespaces take turns by cpu time: the one that has used least goes next. What
 * runs counts from its grant by the coordinator's own clock, so a namespace of day-long tasks cannot
 * take every slot before its first task has reported, and no node can lie about it.
 */
import { findRuntimeMs } from './credit.ts';
import type { CoordinatorState, Group, Namespace } from './entities.ts';

/** The namespace that has used least among those given; ties go to the one ready for longer. */
export function pickNamespace(
  state: CoordinatorState,
  candidates: Iterable<Namespace>,
): Namespace | undefined {
  let best: Namespace | undefined;
  let bestMs = Number.POSITIVE_INFINITY;
  for (const namespace of candidates) {
    const usedMs = usageCpuMs(state, namespace);
    if (usedMs >= bestMs) continue;
    best = namespace;
    bestMs = usedMs;
  }
  if (best !== undefined) state.servedCpuMs = Math.max(state.servedCpuMs, best.usedCpuMs);
  return best;
}

/** What a namespace has used, counting what it has running. */
export function usageCpuMs(state: CoordinatorState, namespace: Namespace): number {
  let usedMs = namespace.usedCpuMs;
  for (const group of namespace.busy) usedMs += group.spec.cpus * runningMs(state, group);
  return usedMs;
}

/** Tasks of a group that make one turn while other namespaces wait. */
export function quantumOf(state: CoordinatorState, group: Group): number {
  const { fairQuantumMs, fairQuantumMax } = state.settings;
  const runtimeMs = findRuntimeMs(group);
  if (runtimeMs === undefined) return 1;
  return Math.min(fairQuantumMax, Math.max(1, Math.floor(fairQuantumMs / runtimeMs)));
}

/** Adds what an ended attempt used: its runtime when it has one, else the time since its grant. */
export function chargeUsage(group: Group, usedMs: number): void {
  group.namespace.usedCpuMs += group.spec.cpus * Math.max(0, usedMs);
}

function runningMs(state: CoordinatorState, group: Group): number {
  const { prefetchShortMs, unknownRuntimeMs } = state.settings;
  // Short tasks wait in the node's queue for most of the time since their grant.
  if (group.runtimeMs !== null && group.runtimeMs < prefetchShortMs) {
    return group.running * group.runtimeMs;
  }
  const elapsedMs = state.nowMs * group.running - group.grantedAtSumMs;
  return Math.max(0, elapsedMs) + group.running * unknownRuntimeMs;
}
