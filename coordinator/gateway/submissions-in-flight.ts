/**
 * Batches that are being taken at this moment, by namespace and the client's id. The store answers
 * repeats of what is on disk; two copies of one batch that arrive together meet here.
 */
import type { BatchView } from '../../protocol/wire/api.ts';
import type { NamespaceName } from '../../protocol/wire/ids.ts';

/** One batch on its way to disk. */
export interface Submission {
  blockHash: string;
  group: string;
  count: number;
  taken: Promise<BatchView>;
}

export interface SubmissionsInFlight {
  find(namespace: NamespaceName, clientBatch: string): Submission | undefined;
  /** Keeps a submission until it is settled. */
  add(namespace: NamespaceName, clientBatch: string, submission: Submission): void;
}

/** Nothing on its way. */
export function createSubmissionsInFlight(): SubmissionsInFlight {
  const open = new Map<string, Submission>();
  const keyOf = (namespace: NamespaceName, clientBatch: string): string =>
    `${namespace}/${clientBatch}`;
  return {
    find: (namespace, clientBatch) => open.get(keyOf(namespace, clientBatch)),
    add(namespace, clientBatch, submission) {
      const key = keyOf(namespace, clientBatch);
      open.set(key, submission);
      const remove = (): void => void open.delete(key);
      submission.taken.then(remove, remove);
    },
  };
}
