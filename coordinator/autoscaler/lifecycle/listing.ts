/** What a listing of the cloud means: it settles what was asked for, and finds what nobody owns. */
import type { InstanceId } from '../../../protocol/wire/ids.ts';
import type { ListedInstance } from '../provider-port.ts';
import { noteInterruption } from './interruption.ts';
import type { FleetEvent, FleetState, InstanceRecord, OrphanRecord, PoolRecord } from './state.ts';
import { beginOrphan, costOfOrphan } from './state.ts';
import type { FleetTurn } from './turn.ts';
import { bury, endInstance, enter, failBoot, isDryRun, save, tell } from './turn.ts';

type Event<Kind extends FleetEvent['kind']> = Extract<FleetEvent, { kind: Kind }>;

/** Takes in a listing that came; one that did not come never reaches this. */
export function takeListing(turn: FleetTurn, event: Event<'listed'>): void {
  const pool = turn.state.pools.get(event.pool);
  if (pool === undefined) return;
  pool.isListing = false;
  pool.listFailures = 0;
  pool.listFailure = null;
  for (const record of [...turn.state.instances.values()]) {
    if (record.pool !== event.pool) continue;
    const shown = event.found.get(record.instance);
    if (shown !== undefined && shown.state !== 'gone') takeShown(turn, record, shown);
    else takeAbsence(turn, record, { isSaid: shown !== undefined, askedAtMs: event.askedAtMs });
  }
  for (const [instance, shown] of event.found) {
    if (turn.state.instances.has(instance)) continue;
    if (shown.state === 'stopping' || shown.state === 'gone') {
      endOrphanage(turn, instance);
    } else endOrphan(turn, { pool, instance, shown });
  }
  for (const [instance, orphan] of [...turn.state.orphans]) {
    if (orphan.pool !== event.pool || event.found.has(instance)) continue;
    missOrphan(turn, { instance, orphan, askedAtMs: event.askedAtMs });
  }
}

/** It is over with a machine that nobody asked for; what it cost stays. */
export function endOrphanage(turn: FleetTurn, instance: InstanceId): void {
  const orphan = turn.state.orphans.get(instance);
  if (orphan === undefined) return;
  turn.state.orphans.delete(instance);
  const pool = turn.state.pools.get(orphan.pool);
  if (pool === undefined) return;
  const cost = costOfOrphan(orphan, turn.nowMs);
  pool.spentGone += cost;
  pool.spentOnOrphans += cost;
}

/** As with any other machine, only so many listings in a row say that it is gone. */
function missOrphan(
  turn: FleetTurn,
  options: { instance: InstanceId; orphan: OrphanRecord; askedAtMs: number },
): void {
  const { state } = turn;
  const { instance, orphan, askedAtMs } = options;
  orphan.absences += 1;
  const isSettled = askedAtMs - orphan.seenAtMs >= state.settings.settleMs;
  if (!isSettled || orphan.absences < state.settings.absencesMax) return;
  const { pool } = orphan;
  // Should the listings have lied, it ends all the same.
  if (!isDryRun(turn, pool)) turn.orders.push({ kind: 'terminate', pool, instance, handle: null });
  const text = `${orphan.absences} listings in a row do not show it.`;
  tell(turn, { pool, instance }, { event: 'gone', text });
  endOrphanage(turn, instance);
}

/** A listing that failed is not known, never none. */
export function takeListFailure(turn: FleetTurn, event: Event<'listFailed'>): void {
  const pool = turn.state.pools.get(event.pool);
  if (pool === undefined) return;
  pool.isListing = false;
  pool.listFailures += 1;
  pool.listFailure = `${event.failure}: ${event.message}`;
  if (pool.listFailures === 1 || pool.listFailures % 10 === 0) {
    tell(
      turn,
      { pool: event.pool },
      {
        event: 'listing failed',
        text: pool.listFailure,
        isLoud: pool.listFailures > 1,
      },
    );
  }
}

/** Whether a listing is due; often while it can settle something, else once in a while. */
export function isListingDue(state: FleetState, pool: PoolRecord, nowMs: number): boolean {
  if (pool.isListing) return false;
  const { listBusyMs, listCalmMs } = state.settings;
  if (nowMs - pool.listedAtMs < Math.min(listBusyMs, listCalmMs)) return false;
  const isBusy = hasOpenQuestion(state, pool);
  // A cloud that does not answer is asked less and less.
  const backoff = 2 ** Math.min(pool.listFailures, 3);
  return nowMs - pool.listedAtMs >= (isBusy ? listBusyMs : listCalmMs) * (isBusy ? backoff : 1);
}

/** Something that the next listing may settle. */
function hasOpenQuestion(state: FleetState, pool: PoolRecord): boolean {
  for (const record of state.instances.values()) {
    if (record.pool !== pool.spec.pool) continue;
    if (record.ending !== null || record.phase === 'requested') return true;
    if (record.absences > 0 || record.hasLeft) return true;
  }
  return [...state.orphans.values()].some((orphan) => orphan.pool === pool.spec.pool);
}

function takeShown(turn: FleetTurn, record: InstanceRecord, shown: ListedInstance): void {
  record.absences = 0;
  // What we end stops, too, and not every cloud tells the one from the other.
  const isOurEnd = shown.state === 'stopping' && (record.isAsked || record.ending !== null);
  if (shown.interrupted && !isOurEnd) takeInterruption(turn, record);
  if (shown.state === 'stopping') return;
  if (record.phase === 'requested' && !record.isAsking) {
    record.handle = shown.handle;
    enter(turn, record, { phase: 'booting' });
    tell(turn, record, { event: 'found', text: 'Its creation was not answered; it is there.' });
    turn.orders.push({
      kind: 'adopt',
      pool: record.pool,
      instance: record.instance,
      handle: shown.handle,
    });
  }
}

function takeInterruption(turn: FleetTurn, record: InstanceRecord): void {
  if (record.interrupted) return;
  record.interrupted = true;
  noteInterruption(turn, record);
  save(turn, record);
  const drained = isDryRun(turn, record.pool) ? ' Its node would be drained.' : '';
  tell(turn, record, { event: 'interrupted', text: `The cloud takes it back.${drained}` });
}

function takeAbsence(
  turn: FleetTurn,
  record: InstanceRecord,
  options: { isSaid: boolean; askedAtMs: number },
): void {
  const { settings } = turn.state;
  if (record.isAsking) return;
  const hasNode = record.node !== null && record.ending === null && !record.hasLeft;
  // Its own node is better evidence than any listing that merely does not show it.
  if (hasNode && !options.isSaid) return;
  record.absences += 1;
  const isSettled = options.isSaid || options.askedAtMs - record.requestedAtMs >= settings.settleMs;
  const isCertain = options.isSaid && !hasNode;
  if (!isCertain && !(isSettled && record.absences >= settings.absencesMax)) return;
  const neverJoined = record.ending === null && record.node === null;
  const reason = neverJoined
    ? `It never joined, and ${record.absences} listings in a row do not show it.`
    : record.reason;
  if (neverJoined) failBoot(turn, record, reason);
  // Nobody saw the notice: a cloud may give none, and a listing comes once in a while.
  const wasTaken = record.ending === null && !record.isAsked && !record.interrupted;
  if (wasTaken && options.isSaid && isSpot(turn, record)) noteInterruption(turn, record);
  // Should the listings have lied, it ends all the same.
  if (!options.isSaid && !isDryRun(turn, record.pool)) {
    turn.orders.push({
      kind: 'terminate',
      pool: record.pool,
      instance: record.instance,
      handle: record.handle || null,
    });
  }
  tell(turn, record, { event: 'gone', text: reason });
  bury(turn, record, reason);
}

function isSpot({ state }: FleetTurn, record: InstanceRecord): boolean {
  return state.pools.get(record.pool)?.offers.get(record.offer)?.offer.spot ?? false;
}

/** It bears our tag and nobody remembers it. */
function endOrphan(
  turn: FleetTurn,
  options: { pool: PoolRecord; instance: InstanceId; shown: ListedInstance },
): void {
  const { state, nowMs } = turn;
  const { pool, instance, shown } = options;
  const isDry = pool.spec.dryRun;
  const known = state.orphans.get(instance);
  if (known !== undefined) Object.assign(known, { seenAtMs: nowMs, absences: 0 });
  if (known !== undefined && nowMs < known.nextTryMs) return;
  if (known === undefined) {
    tell(
      turn,
      { pool: pool.spec.pool, instance },
      {
        event: 'orphan',
        text: `It bears this coordinator’s tag and nobody asked for it, or it was ended before; it ${isDry ? 'would be' : 'is'} ended.`,
        isLoud: true,
      },
    );
  }
  const about = { pool: pool.spec.pool, pricePerHour: priceOf(pool, shown.offer), sinceMs: nowMs };
  const orphan = known ?? beginOrphan(about, nowMs);
  orphan.tries += 1;
  orphan.nextTryMs = nowMs + state.settings.endRetryMs;
  state.orphans.set(instance, orphan);
  if (isDry) return;
  turn.orders.push({ kind: 'terminate', pool: pool.spec.pool, instance, handle: shown.handle });
  turn.orders.push({ kind: 'kill', pool: pool.spec.pool, instance });
}

/** Of an offer that the pool no longer has, the dearest: a cap is kept rather too well. */
function priceOf(pool: PoolRecord, offer: string | null): number {
  const known = pool.offers.get(offer ?? '')?.offer.pricePerHour;
  return known ?? Math.max(...[...pool.offers.values()].map((one) => one.offer.pricePerHour));
}

/** Ends what has not ended in time, once more. */
export function pressEnds(turn: FleetTurn): void {
  for (const record of turn.state.instances.values()) {
    const { ending } = record;
    if (ending === null) continue;
    endInstance(turn, record, record.reason);
    const pool = turn.state.pools.get(record.pool);
    if (pool === undefined || pool.spec.dryRun || ending.killed) continue;
    if (turn.nowMs - ending.sinceMs < pool.spec.killAfterMs) continue;
    ending.killed = true;
    turn.orders.push({ kind: 'kill', pool: record.pool, instance: record.instance });
  }
}
