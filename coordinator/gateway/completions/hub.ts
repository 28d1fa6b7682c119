/**
 * The completion streams. Each stream pulls: it takes the outcome after the last one it sent from
 * the recent ones, or else a page from the store, and sleeps when there is neither. So there is
 * no gap and no duplicate between catching up and being live, and a slow reader falls back to
 * the store by itself, holding nothing here.
 */
import type { GroupId, NamespaceName } from '../../../protocol/wire/ids.ts';
import { encodeHeartbeat } from '../../../protocol/wire/outcome-record.ts';
import type { Driver } from '../../driver-port.ts';
import type { Store, StoredOutcome } from '../../store/port.ts';
import type { SignalFlag } from '../signal-flag.ts';
import { createSignalFlag } from '../signal-flag.ts';
import { encodeStoredOutcome } from './encode-outcome.ts';
import type { RecentOutcomes } from './recent-outcomes.ts';
import { createRecentOutcomes } from './recent-outcomes.ts';

/** What a stream asks for. */
export interface CompletionRequest {
  namespace: NamespaceName;
  after: number;
  groups: readonly GroupId[] | null;
  follow: boolean;
  inlineBytesMax: number;
  signal: AbortSignal;
}

/** All completion streams of a gateway. */
export interface CompletionHub {
  /** Runs of whole records; ends when the signal is aborted or, unless `follow`, at the latest. */
  stream(request: CompletionRequest): AsyncGenerator<Uint8Array, void, undefined>;
  /** Stops listening to the driver. */
  close(): void;
}

/** A live namespace: one with an open stream. */
interface Channel {
  recent: RecentOutcomes;
  /** The largest number that is known to be on disk. */
  latest: number;
  wakes: Set<SignalFlag>;
}

interface Bounds {
  heartbeatMs: number;
  recentOutcomesMax: number;
  recentBytesMax: number;
}

/** Outcomes read from the store at a time. */
const pageOutcomes = 1_000;
/** A run of records is sent once it is this long, so that a slow reader costs no more memory. */
const runBytesMax = 256 * 1024;

/** Listens to the driver from now on. */
export function createCompletionHub(
  deps: { driver: Pick<Driver, 'onOutcomes'>; store: Store },
  bounds: Bounds,
): CompletionHub {
  const channels = new Map<NamespaceName, Channel>();
  const unsubscribe = deps.driver.onOutcomes((outcomes) => {
    const woken = new Set<Channel>();
    for (const stored of outcomes) {
      const channel = channels.get(stored.namespace);
      if (channel === undefined) continue;
      channel.recent.push(stored);
      channel.latest = Math.max(channel.latest, stored.outcomeNumber);
      woken.add(channel);
    }
    for (const channel of woken) for (const wake of channel.wakes) wake.set();
  });

  async function* stream(request: CompletionRequest): AsyncGenerator<Uint8Array, void, undefined> {
    const channel = openChannel(channels, request.namespace, () => ({
      recent: createRecentOutcomes(deps.store, {
        countMax: bounds.recentOutcomesMax,
        bytesMax: bounds.recentBytesMax,
      }),
      latest: 0,
      wakes: new Set(),
    }));
    const wake = createSignalFlag();
    channel.wakes.add(wake);
    try {
      const latest = await deps.store.latestOutcomeNumber(request.namespace);
      channel.latest = Math.max(channel.latest, latest);
      yield* run(channel, request, wake);
    } finally {
      channel.wakes.delete(wake);
      if (channel.wakes.size === 0 && channels.get(request.namespace) === channel) {
        channels.delete(request.namespace);
      }
    }
  }

  async function* run(
    channel: Channel,
    request: CompletionRequest,
    wake: SignalFlag,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { signal } = request;
    const wanted = request.groups === null ? null : new Set(request.groups);
    let sent = request.after;
    let saidLatest = false;
    while (!signal.aborted) {
      const part = await nextPart(channel, request, { after: sent, wanted });
      if (signal.aborted) return;
      sent = part.upTo;
      if (part.bytes.length > 0) yield part.bytes;
      if (!part.isLatest) continue;
      if (!saidLatest || !request.follow) {
        // Tells the reader that it has caught up, and the cursor to come back with.
        saidLatest = true;
        yield encodeHeartbeat(sent);
      }
      if (!request.follow) return;
      const woken = await wake.wait({ timeoutMs: bounds.heartbeatMs, signal });
      if (!woken && !signal.aborted) yield encodeHeartbeat(sent);
    }
  }

  async function nextPart(
    channel: Channel,
    request: CompletionRequest,
    position: { after: number; wanted: ReadonlySet<GroupId> | null },
  ): Promise<{ bytes: Uint8Array; upTo: number; isLatest: boolean }> {
    const live = channel.recent.find(position.after + 1);
    if (live !== undefined) {
      return joinRun(liveRun(channel, live, position), {
        encode: (stored) => channel.recent.encode(stored, request.inlineBytesMax),
        wanted: position.wanted,
        isLatest: () => false,
      });
    }
    // What was on disk before the page is read cannot be missing from it.
    const known = channel.latest;
    if (position.after >= known) {
      return { bytes: new Uint8Array(0), upTo: position.after, isLatest: true };
    }
    const page = await deps.store.listOutcomes(request.namespace, {
      after: position.after,
      limit: pageOutcomes,
      groups: request.groups,
    });
    const run = await joinRun(page, {
      encode: (stored) => encodeStoredOutcome(deps.store, stored, request.inlineBytesMax),
      wanted: null,
      isLatest: (count) => count === page.length && page.length < pageOutcomes,
    });
    if (!run.isLatest) return run;
    const upTo = Math.max(run.upTo, known, position.after);
    return { ...run, upTo, isLatest: upTo >= channel.latest };
  }

  return { stream, close: unsubscribe };
}

function* liveRun(
  channel: Channel,
  first: StoredOutcome,
  position: { after: number },
): Generator<StoredOutcome, void, undefined> {
  let stored: StoredOutcome | undefined = first;
  let outcomeNumber = position.after + 1;
  while (stored !== undefined) {
    yield stored;
    outcomeNumber += 1;
    stored = channel.recent.find(outcomeNumber);
  }
}

/** Encodes outcomes until a run is long enough; `isLatest` judges by how many were taken. */
async function joinRun(
  outcomes: Iterable<StoredOutcome>,
  options: {
    encode: (stored: StoredOutcome) => Uint8Array | Promise<Uint8Array>;
    wanted: ReadonlySet<GroupId> | null;
    isLatest: (count: number) => boolean;
  },
): Promise<{ bytes: Uint8Array; upTo: number; isLatest: boolean }> {
  const records: Uint8Array[] = [];
  let size = 0;
  let upTo = 0;
  let count = 0;
  for (const stored of outcomes) {
    count += 1;
    upTo = stored.outcomeNumber;
    if (options.wanted !== null && !options.wanted.has(stored.group)) continue;
    const encoded = options.encode(stored);
    // Successes come as bytes: an await for each would cost more than its encoding.
    const record = encoded instanceof Promise ? await encoded : encoded;
    records.push(record);
    size += record.length;
    if (size >= runBytesMax) break;
  }
  const only = records[0];
  const bytes = records.length === 1 && only !== undefined ? only : Buffer.concat(records, size);
  return { bytes, upTo, isLatest: options.isLatest(count) };
}

function openChannel(
  channels: Map<NamespaceName, Channel>,
  namespace: NamespaceName,
  make: () => Channel,
): Channel {
  const found = channels.get(namespace);
  if (found !== undefined) return found;
  const made = make();
  channels.set(namespace, made);
  return made;
}
