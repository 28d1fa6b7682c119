/** Ids are branded strings or numbers, so that one cannot be passed for another. */
declare const brand: unique symbol;
type Brand<Base, Name extends string> = Base & { readonly [brand]: Name };

/** A namespace's name: 1-63 of a-z 0-9 and inner hyphens. */
export type NamespaceName = Brand<string, 'NamespaceName'>;
/** A group's id, 12 hexadecimal digits; the SDKs' `guid`. */
export type GroupId = Brand<string, 'GroupId'>;
/** A batch's number: given by the coordinator in order of submission, never used again. */
export type BatchNumber = Brand<number, 'BatchNumber'>;
/** `<batch>-<index>`, for example `17-3`; the SDKs' `tuid`. */
export type TaskId = Brand<string, 'TaskId'>;
/** A libp2p peer id as text. */
export type NodeId = Brand<string, 'NodeId'>;
/** One connection of one node to one run of the coordinator; later sessions of a node are larger. */
export type SessionNumber = Brand<number, 'SessionNumber'>;
/** What a provider calls the machine, process or job that it made. */
export type InstanceId = Brand<string, 'InstanceId'>;
/** Lower-case hexadecimal SHA-256 of a blob's bytes. */
export type BlobHash = Brand<string, 'BlobHash'>;
/** `sha256:` and 64 hexadecimal digits: what an image is, whatever it is called. */
export type ImageDigest = Brand<string, 'ImageDigest'>;

/** An imagery file: the first 8 bytes of the SHA-256 of its canonical URI, 16 hexadecimal digits. */
export type AssetId = Brand<string, 'AssetId'>;

/** A host or bucket that assets come from: the first 8 bytes of the SHA-256 of `scheme://host`, 16 hexadecimal digits. */
export type OriginId = Brand<string, 'OriginId'>;

/** A task, as the cores carry it. */
export interface TaskRef {
  batch: BatchNumber;
  /** Place within the batch, from 0. */
  index: number;
}

/** One run of a task; `attempt` counts from 1 and is the fencing token. */
export interface AttemptRef extends TaskRef {
  attempt: number;
}

/** Tasks in one batch are at most this many, so that batch and index fit one 53-bit key. */
export const taskIndexMax = 65_535;

const taskIdPattern = /^([1-9][0-9]{0,9})-(0|[1-9][0-9]{0,4})$/;

/** The id that users see. */
export function formatTaskId(task: TaskRef): TaskId {
  return `${task.batch}-${task.index}` as TaskId;
}

/** The task that an id names; undefined when the text is not a task id. */
export function findTaskRef(text: string): TaskRef | undefined {
  const match = taskIdPattern.exec(text);
  if (match === null) return undefined;
  const index = Number(match[2]);
  if (index > taskIndexMax) return undefined;
  return { batch: Number(match[1]) as BatchNumber, index };
}

/** One number per task, in order of submission: `batch * 65536 + index`. */
export function taskKey(task: TaskRef): number {
  return task.batch * 65_536 + task.index;
}

/** The task of a key. */
export function taskOfKey(key: number): TaskRef {
  return { batch: Math.floor(key / 65_536) as BatchNumber, index: key % 65_536 };
}

const namespacePattern = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** Whether a text may name a namespace. */
export function isNamespaceName(text: string): text is NamespaceName {
  return namespacePattern.test(text);
}

/** Whether a text is a blob's hash. */
export function isBlobHash(text: string): text is BlobHash {
  return /^[0-9a-f]{64}$/.test(text);
}
