/** One event's turn, and the changes that several kinds of event make. */
import type { InstanceId } from '../../../protocol/wire/ids.ts';
import { noteOfferFailure } from './failures.ts';
import type { FleetOrder, FleetState, InstanceRecord } from './state.ts';
import { beginEnding, costOf } from './state.ts';

/** One event's turn: what it may change and what it has ordered. */
export interface FleetTurn {
  readonly state: FleetState;
  readonly nowMs: number;
  readonly orders: FleetOrder[];
}

/** Puts an instance into a phase and orders its save. */
export function enter(
  turn: FleetTurn,
  record: InstanceRecord,
  change: { phase: InstanceRecord['phase']; reason?: string },
): void {
  record.phase = change.phase;
  record.sinceMs = turn.nowMs;
  if (change.reason !== undefined) record.reason = change.reason;
  save(turn, record);
}

/** Orders a save of an instance as it is. */
export function save(turn: FleetTurn, record: InstanceRecord): void {
  const pool = turn.state.pools.get(record.pool);
  saveWith(turn, record, pool === undefined ? 0 : costOf(record, pool.spec, turn.nowMs));
}

function saveWith(turn: FleetTurn, record: InstanceRecord, cost: number): void {
  const endedAtMs = record.phase === 'gone' ? turn.nowMs : null;
  // A copy: what is written later must be what was decided now.
  turn.orders.push({ kind: 'save', instance: { ...record }, endedAtMs, cost });
}

/** Tells people; `isLoud` for what needs them. */
export function tell(
  turn: FleetTurn,
  about: { pool: string; instance?: InstanceId },
  options: { event: string; text: string; isLoud?: boolean },
): void {
  turn.orders.push({
    kind: 'tell',
    pool: about.pool,
    instance: about.instance ?? null,
    event: options.event,
    text: options.text,
    isLoud: options.isLoud ?? false,
  });
}

/** Whether a pool only says what it would do: then nothing is made, drained or ended there. */
export function isDryRun({ state }: FleetTurn, pool: string): boolean {
  return state.pools.get(pool)?.spec.dryRun ?? false;
}

/**
 * Asks an instance to end, again when it was asked before and enough time has passed. A dry run says
 * so once, and what is saved stays as it is: the next run that may end it decides for itself.
 */
export function endInstance(turn: FleetTurn, record: InstanceRecord, reason: string): void {
  const { state, nowMs } = turn;
  const isDry = isDryRun(turn, record.pool);
  if (record.ending === null) {
    record.ending = beginEnding(nowMs);
    if (!isDry) enter(turn, record, { phase: 'draining', reason });
    tell(turn, record, { event: isDry ? 'would end' : 'ends', text: reason });
  }
  if (isDry) return;
  const { ending } = record;
  if (nowMs < ending.nextTryMs) return;
  ending.tries += 1;
  ending.nextTryMs = nowMs + state.settings.endRetryMs;
  turn.orders.push({
    kind: 'terminate',
    pool: record.pool,
    instance: record.instance,
    handle: record.handle || null,
  });
}

/** The machine is no more: it is forgotten, its cost kept, its node given up. */
export function bury(turn: FleetTurn, record: InstanceRecord, reason: string): void {
  const pool = turn.state.pools.get(record.pool);
  const cost = pool === undefined ? 0 : costOf(record, pool.spec, turn.nowMs);
  if (pool !== undefined) pool.spentGone += cost;
  forget(turn, record, { reason, cost });
}

/** It never was there, and costs nothing. */
export function strike(turn: FleetTurn, record: InstanceRecord, reason: string): void {
  forget(turn, record, { reason, cost: 0 });
}

function forget(
  turn: FleetTurn,
  record: InstanceRecord,
  options: { reason: string; cost: number },
): void {
  const { state, nowMs } = turn;
  Object.assign(record, { phase: 'gone', sinceMs: nowMs, reason: options.reason });
  saveWith(turn, record, options.cost);
  state.instances.delete(record.instance);
  turn.orders.push({ kind: 'forget', instance: record.instance, node: record.node });
}

/** A boot came to nothing: the offer is left alone for a while, and people are told. */
export function failBoot(turn: FleetTurn, record: InstanceRecord, reason: string): void {
  const pool = turn.state.pools.get(record.pool);
  if (pool !== undefined) {
    noteOfferFailure(pool, record.offer, { nowMs: turn.nowMs, reason });
  }
  tell(turn, record, { event: 'boot failed', text: reason, isLoud: true });
}
