/** Serves agents on a libp2p host: their sessions, and the blobs they fetch and put. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import { type BlobSource, serveBlobs } from '../../protocol/net/blob-transfer.ts';
import type { MeshHost } from '../../protocol/net/create-mesh-host.ts';
import { serveResults } from '../../protocol/net/result-line.ts';
import type { AttemptRef, GroupId, NodeId, SessionNumber } from '../../protocol/wire/ids.ts';
import type { MeshSettings } from '../../protocol/wire/messages.ts';
import { agentProtocol, blobProtocol, resultProtocol } from '../../protocol/wire/messages.ts';
import type { GroupSpec } from '../../protocol/wire/task.ts';
import type { SaveEffect, SendEffect } from '../core/effects.ts';
import type { OriginBudget } from '../core/origin-shares.ts';
import type { RunningDriver } from '../driver.ts';
import type { BlobStore, Store } from '../store/port.ts';
import { admitNode } from './admission.ts';
import { createBlockCache } from './block-cache.ts';
import { checkResults, hasReferences } from './check-results.ts';
import { createNodeBlobs, type NodeBlobDeps } from './node-blobs.ts';
import { createOriginBudgets } from './origin-budgets.ts';
import { createOutbox } from './outbox.ts';
import type { Session, SessionDeps, SessionSettings } from './session.ts';
import { startSession } from './session.ts';
import { createUploadRecords } from './upload-records.ts';

export interface AgentMeshDeps {
  host: Pick<MeshHost, 'handle' | 'unhandle'>;
  driver: Pick<RunningDriver, 'appendLogs' | 'dispatch' | 'isBehind' | 'onTick'>;
  store: Store;
  blobs: BlobStore;
  disk: NodeBlobDeps['disk'];
  touchBlob: NodeBlobDeps['touchBlob'];
  clock: { nowMs(): number };
  /** Whether the attempt is the node's at present, by the core's state. */
  holds(node: NodeId, attempt: AttemptRef): boolean;
  findSpec(group: GroupId): GroupSpec | undefined;
  /** Other nodes that have what a node asks for, by the core's state. */
  locate: SessionDeps['locate'];
  log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
  software: string;
}

export interface AgentMeshSettings extends SessionSettings {
  /** Told to agents in their welcome. */
  wire: MeshSettings;
  /** Larger than every session number of earlier runs. */
  sessionFirst: number;
  /** Blocks of arguments kept near at hand. */
  blockCacheBytesMax: number;
  /** Blob streams of one agent at once. */
  blobStreamsMax: number;
  /** What all nodes together may ask of one origin of imagery. */
  originBudget: OriginBudget;
}

/** The agents' side of the coordinator, as the driver and `main.ts` see it. */
export interface AgentMesh {
  start(): Promise<void>;
  /** Sends what the core decided, in order, one write per session. */
  send(effects: readonly SendEffect[]): void;
  keepBlock(save: Extract<SaveEffect, { kind: 'saveBatch' }>): void;
  /** Takes no new sessions, closes those that stand; idempotent. Agents keep what they hold. */
  stop(): Promise<void>;
}

/** A mesh that takes nothing before its start. */
export function createAgentMesh(deps: AgentMeshDeps, settings: AgentMeshSettings): AgentMesh {
  const { host, driver, store, log } = deps;
  const blocks = createBlockCache(store, settings.blockCacheBytesMax);
  /** All and only sessions whose stream is open, admitted or not. */
  const sessions = new Set<Session>();
  const admitted = new Map<SessionNumber, Session>();
  const origins = createOriginBudgets(
    {
      nowMs: () => deps.clock.nowMs(),
      nodesCount: () => admitted.size,
      send(node, message) {
        for (const session of admitted.values()) if (session.node === node) session.tell(message);
      },
    },
    settings.originBudget,
  );
  const uploads = createUploadRecords(store);
  const blobsOf = (peer: string): BlobSource =>
    createNodeBlobs({ ...deps, uploads }, peer as NodeId);
  let nextSession = settings.sessionFirst;
  let stopping = false;
  let unsubscribe: (() => void) | undefined;

  const accept = (stream: Parameters<Parameters<MeshHost['handle']>[1]>[0], peer: string): void => {
    if (stopping) throw new PerigeeError('draining');
    const node = peer as NodeId;
    const session = startSession(
      stream,
      {
        node,
        admit: (hello) => admitNode({ store, clock: deps.clock }, node, hello),
        open(opened) {
          const number = nextSession as SessionNumber;
          nextSession += 1;
          admitted.set(number, opened);
          return number;
        },
        closed(closed) {
          sessions.delete(closed);
          for (const [number, candidate] of admitted) {
            if (candidate === closed) admitted.delete(number);
          }
          // Of two sessions of a node the newer one goes on asking.
          if (![...admitted.values()].some((one) => one.node === node)) origins.left(node);
        },
        createOutbox: (frames, onError) =>
          createOutbox({
            stream: frames,
            blocks,
            store,
            findSpec: deps.findSpec,
            software: deps.software,
            settings: settings.wire,
            onError,
          }),
        dispatch(event) {
          driver.dispatch(event);
          holdBack();
        },
        appendLogs(chunks) {
          driver.appendLogs(chunks);
          holdBack();
        },
        holds: deps.holds,
        locate: deps.locate,
        demandOrigins: (from, demand) => origins.take(from, demand),
        checkReport(from, report) {
          if (!hasReferences(report.outcomes)) return undefined;
          return checkResults(deps, from, report.outcomes).then((outcomes) => ({
            ...report,
            outcomes,
          }));
        },
        log,
      },
      settings,
    );
    sessions.add(session);
    if (driver.isBehind()) session.pause();
  };
  // A disk that is full or slow must not fill the memory: agents wait, their leases do not run.
  const holdBack = (): void => {
    if (!driver.isBehind()) return;
    for (const session of sessions) session.pause();
  };
  const letOn = (): void => {
    if (driver.isBehind()) return;
    for (const session of sessions) if (session.isPaused) session.resume();
  };
  return {
    async start() {
      unsubscribe = driver.onTick(letOn);
      await host.handle(agentProtocol, accept, { streamsMax: 4 });
      await host.handle(blobProtocol, (stream, peer) => serveBlobs(stream, blobsOf(peer)), {
        streamsMax: settings.blobStreamsMax,
      });
      // One is in use, and another may be closing.
      await host.handle(resultProtocol, (stream, peer) => serveResults(stream, blobsOf(peer)), {
        streamsMax: 4,
      });
    },
    send(effects) {
      const touched = new Set<Session>();
      for (const effect of effects) {
        // A session that closed meanwhile is told nothing: the core hears of it as an event.
        const session = admitted.get(effect.session);
        if (session === undefined) continue;
        session.outbox.push(effect);
        touched.add(session);
      }
      for (const session of touched) session.outbox.flush();
    },
    keepBlock: (save) => blocks.keep(save.batch, save.count, save.block),
    async stop() {
      if (stopping) return;
      stopping = true;
      unsubscribe?.();
      origins.stop();
      await host.unhandle(agentProtocol);
      await host.unhandle(blobProtocol);
      await host.unhandle(resultProtocol);
      await Promise.all([...sessions].map((session) => session.close()));
    },
  };
}
