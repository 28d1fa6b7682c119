/**
 * Protocol `/perigee/client/1`: what the TypeScript SDK speaks. Frames (`frames.ts`) of msgpack
 * (`codec.ts`) both ways; protocol/README.md, "Client protocol", says the order of things.
 */
import type { StacCollection, StacItemCollection } from '../stac/item.ts';
import type {
  BatchView,
  ExplainView,
  FleetExplainView,
  FleetView,
  GroupLimitsRequest,
  GroupRequest,
  GroupView,
  ImageBuildRequest,
  ImageDetailView,
  ImageView,
  JoinTokenView,
  MeshView,
  NamespaceView,
  NodeView,
  OutputView,
  Page,
  StatusView,
  TaskView,
  TokenRole,
  TokenView,
  WhoamiView,
} from './api.ts';
import type { GroupId, ImageDigest, NamespaceName, TaskId } from './ids.ts';
import type { TaskState } from './task.ts';

/** An operator may name a namespace other than the token's own. */
interface Scoped {
  namespace?: string;
}

interface Paged extends Scoped {
  /** 1-1000, default 100. */
  limit?: number;
  cursor?: string | null;
}

/** Calls that are answered once, by name. HTTP routes run the same operations. */
export interface ClientOperations {
  'mesh.get': { input: Record<string, never>; output: MeshView };
  whoami: { input: Scoped; output: WhoamiView };
  'status.get': { input: Scoped; output: StatusView };

  'namespaces.create': {
    input: { name: string };
    output: { namespace: NamespaceName; created: boolean };
  };
  'namespaces.list': { input: Record<string, never>; output: Page<NamespaceView> };
  'namespaces.remove': { input: { name: string }; output: { namespace: NamespaceName } };

  'tokens.create': {
    input: { role: TokenRole; namespace: string; label?: string; ttlSeconds?: number | null };
    output: { id: string; token: string };
  };
  'tokens.list': { input: Record<string, never>; output: Page<TokenView> };
  'tokens.revoke': { input: { id: string }; output: { id: string } };

  'joinTokens.create': {
    input: {
      namespaces?: string[] | null;
      label?: string;
      ttlSeconds?: number | null;
      uses?: number | null;
    };
    output: { id: string; token: string; join: string };
  };
  'joinTokens.list': { input: Record<string, never>; output: Page<JoinTokenView> };
  'joinTokens.revoke': { input: { id: string }; output: { id: string } };

  'groups.create': { input: Scoped & GroupRequest; output: GroupView };
  'groups.list': { input: Paged & { name?: string | null }; output: Page<GroupView> };
  /** `id` may be a unique prefix, here and below. */
  'groups.get': { input: Scoped & { id: string }; output: GroupView };
  'groups.update': { input: Scoped & { id: string } & GroupLimitsRequest; output: GroupView };
  'groups.terminate': { input: Scoped & { id: string; drain?: boolean }; output: GroupView };
  /** Takes a terminated group away, with its tasks, results and logs. */
  'groups.remove': { input: Scoped & { id: string }; output: { id: GroupId } };

  /** `clientBatch` is a UUID of the caller's: sent again, it answers what it answered before. */
  'batches.submit': {
    input: Scoped & {
      group: string;
      clientBatch: string;
      count: number;
      block: Uint8Array;
      /** What the tasks read (`asset-list.ts`). */
      assets?: Uint8Array;
    };
    output: BatchView;
  };

  'tasks.list': {
    input: Paged & { group?: string | null; state?: TaskState | null };
    output: Page<TaskView>;
  };
  'tasks.get': { input: Scoped & { id: string }; output: TaskView };
  'tasks.cancel': {
    input: Scoped & { id: string };
    output: { id: TaskId; state: TaskState };
  };
  /** The files that a task gave out, by name. */
  'tasks.outputs': { input: Scoped & { id: string }; output: Page<OutputView> };
  /** Those of all tasks of a group, in order of tasks; a page holds 250 at most. */
  'groups.outputs': { input: Paged & { id: string }; output: Page<OutputView> };
  'tasks.explain': { input: Scoped & { id: string }; output: ExplainView };

  /** `sizeBytes` is null when the namespace has no such blob. */
  'blobs.find': { input: Scoped & { hash: string }; output: { sizeBytes: number | null } };

  'nodes.list': { input: Scoped; output: Page<NodeView> };
  'nodes.drain': { input: { id: string }; output: NodeView };
  'nodes.undrain': { input: { id: string }; output: NodeView };
  'fleet.get': { input: Record<string, never>; output: FleetView };
  'fleet.explain': { input: Record<string, never>; output: FleetExplainView };
  'images.list': { input: Scoped; output: Page<ImageView> };
  /** `id` is a name, a digest, or a unique beginning of a digest's digits, here and below. */
  'images.show': { input: Scoped & { id: string }; output: ImageDetailView };
  /** Answers at once, also while it is being built; `created` is false when the set was known. */
  'images.build': {
    input: Scoped & ImageBuildRequest;
    output: ImageDetailView & { created: boolean };
  };
  /** Pulls an image from a registry into the namespace; `images.log` tells how it goes. */
  'images.import': {
    input: Scoped & { reference: string };
    output: { digest: ImageDigest; name: string; state: 'building' | 'ready' };
  };
  'images.remove': { input: Scoped & { id: string }; output: { digest: ImageDigest } };
  /** STAC's item search (docs/imagery.md): its parameters as they are. */
  'imagery.search': {
    input: Readonly<Record<string, unknown>>;
    /** `next` is the `token` of the page behind this one; null behind the last. */
    output: StacItemCollection & { next: string | null };
  };
  'imagery.collections': {
    input: Record<string, never>;
    output: { collections: StacCollection[] };
  };
}

/** Calls that are answered by any number of items, then `ended`. */
export interface ClientSubscriptions {
  /** Items are runs of whole records of the completion stream (`outcome-record.ts`). */
  'outcomes.follow': {
    input: Scoped & {
      /** Outcome number after which to begin; 0 for all. */
      after: number;
      /** Whole group ids; null for the whole namespace. */
      groups?: string[] | null;
      /** False: ends once everything recorded has been sent. Default true. */
      follow?: boolean;
      /** Results up to this size are in the record. Default 65,536. */
      inline?: number;
    };
    item: Uint8Array;
  };
  /** The log of one attempt, the latest by default, from `offset` on. */
  'tasks.log': {
    input: Scoped & { id: string; attempt?: number | null; offset?: number; follow?: boolean };
    item: LogItem;
  };
  /** The payload, tag first, blob references resolved; items are its bytes in order, from `offset` on. */
  'tasks.result': { input: Scoped & { id: string; offset?: number }; item: Uint8Array };
  'tasks.arguments': { input: Scoped & { id: string; offset?: number }; item: Uint8Array };
  /** The bytes of an output, from `offset` on. */
  'tasks.output': {
    input: Scoped & { id: string; name: string; offset?: number };
    item: Uint8Array;
  };
  /** What the build of an image printed, from `offset` on; with `follow`, until the build is over. */
  'images.log': {
    input: Scoped & { id: string; offset?: number; follow?: boolean };
    item: { offset: number; bytes: Uint8Array };
  };
  'blobs.get': { input: Scoped & { hash: string; offset?: number }; item: Uint8Array };
}

/** Calls whose bytes follow in `part` messages, up to `partsEnd`; answered once. */
export interface ClientUploads {
  'blobs.put': {
    input: Scoped & { hash: string };
    /** `created` is false when it was already there. */
    output: { hash: string; created: boolean };
  };
}

/** A stretch of a log; where bytes were cut, `bytes` is the line that says so. */
export interface LogItem {
  attempt: number;
  /** In the attempt's whole output, cut bytes counted. */
  offset: number;
  /** Where the next item begins: `offset` of a call that goes on from here. */
  nextOffset: number;
  bytes: Uint8Array;
}

export type ClientOperationName = keyof ClientOperations;
export type ClientSubscriptionName = keyof ClientSubscriptions;
export type ClientUploadName = keyof ClientUploads;
export type ClientCallName = ClientOperationName | ClientSubscriptionName | ClientUploadName;

/** What a client sends. `id` is the client's own number for a call, not reused while it is open. */
export type ClientMessage =
  /** First on every stream. */
  | { kind: 'open'; protocol: number; software: string; token: string }
  | { kind: 'call'; id: number; name: ClientCallName; input: Readonly<Record<string, unknown>> }
  /** The next bytes of an upload. */
  | { kind: 'part'; id: number; bytes: Uint8Array }
  /** The upload is complete. */
  | { kind: 'partsEnd'; id: number }
  /** The caller wants no more of a call; it is answered by `ended` unless it was over already. */
  | { kind: 'cancel'; id: number };

/** What the coordinator sends on the client's stream. */
export type ClientReply =
  /** The token is good; calls may follow. A client need not wait for it. */
  | { kind: 'opened'; protocol: number; software: string; who: WhoamiView }
  /** The stream is closed after this. */
  | { kind: 'refused'; code: string; message: string; fix: string }
  | { kind: 'result'; id: number; output: unknown }
  | {
      kind: 'failed';
      id: number;
      code: string;
      message: string;
      fix: string;
      details: Readonly<Record<string, unknown>>;
    }
  | { kind: 'item'; id: number; item: unknown }
  /** The subscription is over, or was cancelled. */
  | { kind: 'ended'; id: number };

/** Calls open at once on one stream; more are refused with `queue_full`. */
export const clientCallsMax = 256;
/** Bytes of one `part` or byte item; senders cut to this. */
export const clientPartBytesMax = 256 * 1024;
