/**
 * Protocol `/perigee/agent/1`: one long-lived stream per session, opened by the agent; msgpack
 * frames (`codec.ts`, `frames.ts`) both ways, one frame per tick and direction at most.
 *
 * The agent says `hello`; the coordinator answers `welcome` or `refused`. From then on the agent
 * pulls by stating how many attempts it is willing to hold, and the coordinator grants up to that.
 * A grant stands until it is reported, returned, cancelled or its lease is lost. `report` is
 * repeated until it is acknowledged, in this session or a later one.
 */
import type {
  AssetId,
  AttemptRef,
  BatchNumber,
  BlobHash,
  GroupId,
  ImageDigest,
  InstanceId,
  NamespaceName,
  NodeId,
  OriginId,
} from './ids.ts';
import type { AttemptOutcome, Capacity, GroupSpec, IsolationLevel, NodeImage } from './task.ts';

/** The version of every `/perigee/*` protocol; N talks to N-1. */
export const protocolVersion = 1;
export const agentProtocol = `/perigee/agent/${protocolVersion}`;
export const blobProtocol = `/perigee/blob/${protocolVersion}`;
export const resultProtocol = `/perigee/result/${protocolVersion}`;
export const clientProtocol = `/perigee/client/${protocolVersion}`;

/** How assets come to tasks: large ones filled as they are read, each as a whole file, or none at all. */
export type ImageryMode = 'lazy' | 'whole' | 'none';
export const imageryModes = ['lazy', 'whole', 'none'] as const satisfies readonly ImageryMode[];

/** First message of a session: who the node is and what it can carry. */
export interface Hello {
  kind: 'hello';
  protocol: number;
  software: string;
  /** Null once the node's peer id is known to the coordinator. */
  joinToken: string | null;
  /** For people; the host's name by default. */
  nodeName: string;
  /** The provider's name for the machine, when a provider made it. */
  instance: InstanceId | null;
  capacity: Capacity;
  images: NodeImage[];
  isolation: IsolationLevel;
  /** Names offered with --mount. */
  mounts: string[];
  /** Multiaddrs where other nodes reach this one; empty when it does not listen. */
  peerAddresses: string[];
  /** How imagery comes to tasks; left out by an agent from before there was any. */
  imagery?: ImageryMode;
  /** Whether groups that ask for it get the machine's network; left out by an agent that never said so. */
  network?: boolean;
  /** Its processor, as Node's `process.arch`; left out by an agent from before it said so. */
  arch?: string;
  /** Process id of the agent, for people and tests. */
  pid: number;
  /** Every attempt that the node still has: waiting, running, or ended and not acknowledged. */
  held: AttemptRef[];
  /** True after SIGTERM: the node finishes what runs and takes nothing new. */
  draining: boolean;
}

/** What tasks read of imagery on a node, by where it came from, since its agent began. */
export interface ImageryReads {
  /** Reads of blocks that the cache had, and those that it had not. */
  hits: number;
  misses: number;
  cacheBytes: number;
  peerBytes: number;
  originBytes: number;
}

/** Renews the leases of everything the node holds. */
export interface Heartbeat {
  kind: 'heartbeat';
  /** For people: 0-1 of the node's cores. */
  load: number;
  memoryFreeBytes: number;
  diskFreeBytes: number;
  /** Left out by an agent without a cache of imagery, or whose cache was not read yet. */
  imageryReads?: ImageryReads;
}

/** How many attempts the node is willing to hold in all; absolute, so a lost one does no harm. */
export interface Pull {
  kind: 'pull';
  heldMax: number;
}

/** Attempts that a worker has begun to run. */
export interface Started {
  kind: 'started';
  attempts: AttemptRef[];
}

/** Outcomes; repeated until acknowledged by number. */
export interface Report {
  kind: 'report';
  report: number;
  outcomes: (AttemptRef & AttemptOutcome)[];
}

/** Output of running attempts. `offset` counts all bytes of the attempt's output, cut ones too. */
export interface LogOutput {
  kind: 'log';
  chunks: (AttemptRef & { offset: number; bytes: Uint8Array })[];
}

/** Attempts that the node gives back without having run them. */
export interface Returned {
  kind: 'returned';
  attempts: AttemptRef[];
}

/** The node wants to stop: it takes nothing new, finishes what runs, then says `goodbye`. */
export interface DrainAsked {
  kind: 'drainAsked';
  /** For people; an older agent says nothing. */
  reason: string;
}

/** Nothing is held any more; the node leaves for good. */
export interface Goodbye {
  kind: 'goodbye';
}

/** The images that the node has now, when they are others than it said in its hello. */
export interface ImagesChanged {
  kind: 'imagesChanged';
  images: NodeImage[];
}

/**
 * What imagery the node's cache holds. With `full` it is everything; else the changes since the
 * message with the sequence number before, of the same epoch (one run of the agent).
 */
export interface Holdings {
  kind: 'holdings';
  epoch: number;
  sequence: number;
  full: boolean;
  add: { asset: AssetId; bytes: number }[];
  drop: AssetId[];
}

/**
 * Which nodes have some of these, or are these: answered by `located` with the same number. A node
 * that another has never heard of asks for it by `peers` before it serves it.
 */
export interface Locate {
  kind: 'locate';
  request: number;
  images: ImageDigest[];
  assets: AssetId[];
  peers: NodeId[];
}

/**
 * How much the node wants to ask of origins of imagery; those whose figure changed, and all at a
 * session's opening. What is not said again within 15 s is taken as no longer wanted.
 */
export interface OriginDemand {
  kind: 'originDemand';
  origins: {
    origin: OriginId;
    /** Requests at once; 0 when the node is done with it. */
    wanted: number;
    /** The origin has just asked to be left alone for so long; null when it has not. */
    pauseMs: number | null;
  }[];
}

export type AgentMessage =
  | ImagesChanged
  | OriginDemand
  | Holdings
  | Locate
  | Hello
  | Heartbeat
  | Pull
  | Started
  | Report
  | LogOutput
  | Returned
  | DrainAsked
  | Goodbye;

/** What a node must know of the settings that both ends keep. */
export interface MeshSettings {
  heartbeatMs: number;
  leaseMs: number;
}

/** The session stands. */
export interface Welcome {
  kind: 'welcome';
  protocol: number;
  software: string;
  node: NodeId;
  settings: MeshSettings;
  /** Of the attempts in `hello`: those no longer the node's, to be dropped or killed. */
  drop: AttemptRef[];
  /** Of the others: how much of their log is on the coordinator's disk. */
  logOffsets: (AttemptRef & { offset: number })[];
}

/** The session does not stand; the coordinator closes the stream after this. */
export interface Refused {
  kind: 'refused';
  code: string;
  message: string;
  fix: string;
}

/** A run of tasks of one batch: indexes `lo … lo + count - 1`, all with the same attempt number. */
export interface Grant {
  group: GroupId;
  batch: BatchNumber;
  lo: number;
  count: number;
  attempt: number;
  /** `count` payloads, each behind its u32 length (`block.ts`). */
  block: Uint8Array;
}

export interface Grants {
  kind: 'grants';
  /** Groups that this session has not been told yet. */
  groups: GroupSpec[];
  grants: Grant[];
}

/** The report with this number is on the coordinator's disk. */
export interface Ack {
  kind: 'ack';
  report: number;
}

/** Stop these; they are reported as `cancelled` if they were still the node's. */
export interface Cancel {
  kind: 'cancel';
  attempts: AttemptRef[];
}

/** Take nothing new, return what has not started, finish the rest, say goodbye. */
export interface Drain {
  kind: 'drain';
  /** For people, in the node's log. */
  reason: string;
}

/** The drain is off: pull again. */
export interface Undrain {
  kind: 'undrain';
}

/** A node of the mesh that works for a namespace of the asking one. */
export interface LocatedNode {
  node: NodeId;
  /** Where it can be dialled, with its peer id; empty when it only dials. */
  addresses: string[];
  /** Whose work it does; null for every namespace. */
  namespaces: NamespaceName[] | null;
  /** Of what was asked for, what it has. */
  images: ImageDigest[];
  assets: AssetId[];
}

/** Answers `locate`: the nodes that have something of it, the least loaded first. */
export interface Located {
  kind: 'located';
  request: number;
  nodes: LocatedNode[];
}

/** A change of the node's holdings was missed: say all of them. */
export interface HoldingsAsked {
  kind: 'holdingsAsked';
}

/** What the node may ask of origins from now on: its shares of what the whole mesh may. */
export interface OriginShares {
  kind: 'originShares';
  /** Nodes that are there, and what they may together: by these a node goes while the coordinator is away. */
  nodes: number;
  requestsMax: number;
  perSecondMax: number;
  origins: {
    origin: OriginId;
    /** Requests at once, at least 1. */
    requests: number;
    perSecond: number;
    /** For so long from now nothing is asked; 0 for no pause. */
    pauseMs: number;
  }[];
}

export type CoordinatorMessage =
  | OriginShares
  | Welcome
  | Refused
  | Grants
  | Ack
  | Cancel
  | Drain
  | Undrain
  | Located
  | HoldingsAsked;

/**
 * Protocol `/perigee/blob/1`: one request per stream. A `get` is answered by a `BlobAnswer` frame
 * and then exactly `sizeBytes` raw bytes; a `put` frame is followed by its raw bytes and answered
 * by a `BlobAnswer` once the bytes are verified and on disk.
 */
export type BlobRequest =
  | { kind: 'get'; hash: BlobHash; offset: number }
  /** `output`: it is a file that a task gave out, for which there must be room beside all else. */
  | { kind: 'put'; hash: BlobHash; sizeBytes: number; output?: true };

export type BlobAnswer =
  | { kind: 'ok'; sizeBytes: number }
  | { kind: 'refused'; code: string; message: string; fix: string };

/**
 * Protocol `/perigee/result/1`: many results on one stream. A put's frame is followed by its raw bytes
 * and then by the next put; each is answered, in whatever order, once its bytes are verified and on disk.
 */
export interface ResultPut {
  kind: 'put';
  /** Of this put, by its sender's count. */
  number: number;
  hash: BlobHash;
  sizeBytes: number;
}

export type ResultAnswer =
  | { kind: 'ok'; number: number }
  | { kind: 'refused'; number: number; code: string; message: string; fix: string };
