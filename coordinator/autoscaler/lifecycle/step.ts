/**
 * The life of machines: facts in, orders out; no clock, no call, no store of its own.
 *
 * (decided) → requested: saved, then asked for. requested → booting: the provider answered, or a
 * listing shows it. requested, booting → joined: a node says that it runs there. joined → working:
 * the node takes work. working → draining: idle for long enough, taken back, or nothing left to go on with below a
 * spend cap, which ends what boots and what drains for too long. draining → working: work came back. Any → gone: its end was seen, or so many listings in a row
 * missed it that it cannot be there; it is told to end all the same. Deadlines: `bootMsMax` until it
 * joins and until it takes work, `leaveMsMax` for a node that left, `endRetryMs` between two tries to
 * end it. A listing that fails or lags says nothing.
 */
import { assertNever } from '../../../protocol/base/assert.ts';
import type { InstanceId } from '../../../protocol/wire/ids.ts';
import { noteCreateFailure, noteGrant } from './failures.ts';
import { endOrphanage, takeListFailure, takeListing } from './listing.ts';
import { look } from './look.ts';
import type { FleetEvent, FleetOrder, FleetState } from './state.ts';
import type { FleetTurn } from './turn.ts';
import { bury, enter, failBoot, save, strike, tell } from './turn.ts';

/** The only way the fleet's state changes. */
export function stepFleet(state: FleetState, event: FleetEvent, nowMs: number): FleetOrder[] {
  const turn: FleetTurn = { state, nowMs, orders: [] };
  switch (event.kind) {
    case 'looked':
      look(turn, event.view);
      break;
    case 'created':
      takeCreated(turn, event);
      break;
    case 'createFailed':
      takeCreateFailure(turn, event);
      break;
    case 'listed':
      takeListing(turn, event);
      break;
    case 'listFailed':
      takeListFailure(turn, event);
      break;
    case 'ended':
      takeEnd(turn, event.instance);
      break;
    case 'endFailed':
      takeEndFailure(turn, event);
      break;
    default:
      assertNever(event);
  }
  return turn.orders;
}

function takeCreated(turn: FleetTurn, event: Extract<FleetEvent, { kind: 'created' }>): void {
  const record = turn.state.instances.get(event.instance);
  // Its end was seen before its beginning was told; a listing finds it if it is there after all.
  if (record === undefined) return;
  record.isAsking = false;
  record.handle = event.handle;
  const pool = turn.state.pools.get(record.pool);
  if (pool !== undefined) noteGrant(pool, record.offer);
  if (record.phase === 'requested') enter(turn, record, { phase: 'booting' });
  else save(turn, record);
  tell(turn, record, { event: 'made', text: record.reason });
}

function takeCreateFailure(
  turn: FleetTurn,
  event: Extract<FleetEvent, { kind: 'createFailed' }>,
): void {
  const record = turn.state.instances.get(event.instance);
  if (record === undefined) return;
  record.isAsking = false;
  const pool = turn.state.pools.get(record.pool);
  if (pool !== undefined) {
    noteCreateFailure(pool, record.offer, { ...event, nowMs: turn.nowMs });
  }
  tell(turn, record, {
    event: 'create failed',
    text: `${record.offer}: ${event.failure}: ${event.message}`,
    isLoud: event.failure !== 'stockout' && event.failure !== 'throttled',
  });
  // One that may be there counts as booting until listings have settled it: never bought twice.
  if (!event.mayHaveMade) strike(turn, record, `It was not made: ${event.message}`);
}

function takeEnd(turn: FleetTurn, instance: InstanceId): void {
  const record = turn.state.instances.get(instance);
  if (record === undefined) {
    endOrphanage(turn, instance);
    return;
  }
  const hasFailed =
    record.ending === null && (record.phase === 'requested' || record.phase === 'booting');
  if (hasFailed) failBoot(turn, record, 'It ended before it joined.');
  tell(turn, record, { event: 'gone', text: record.reason });
  bury(turn, record, hasFailed ? 'It ended before it joined.' : record.reason);
}

function takeEndFailure(turn: FleetTurn, event: Extract<FleetEvent, { kind: 'endFailed' }>): void {
  const { instance, message } = event;
  const record = turn.state.instances.get(instance);
  const orphan = turn.state.orphans.get(instance);
  const tries = record?.ending?.tries ?? orphan?.tries ?? 0;
  const pool = record?.pool ?? orphan?.pool;
  if (pool === undefined) return;
  tell(turn, { pool, instance }, { event: 'end failed', text: message, isLoud: tries > 1 });
}
