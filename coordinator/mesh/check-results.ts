/**
 * A report may refer only to blobs that its node has put: the reference gives the namespace the
 * right to read the blob, so a made-up one could hand out what belongs to another.
 */

import type { AttemptRef, NodeId } from '../../protocol/wire/ids.ts';
import { findBlobReference } from '../../protocol/wire/payload.ts';
import type { AttemptOutcome } from '../../protocol/wire/task.ts';
import type { BlobStore, Store } from '../store/port.ts';

export interface ResultCheckDeps {
  store: Pick<Store, 'hasUploaded'>;
  blobs: Pick<BlobStore, 'has'>;
}

type Outcome = AttemptRef & AttemptOutcome;

/** Whether any outcome refers to a blob: only then the check is worth its wait. */
export function hasReferences(outcomes: readonly Outcome[]): boolean {
  return outcomes.some((outcome) => findBlobReference(outcome.result) !== undefined);
}

/** The same outcomes; one whose blob is not there is a crash of its attempt. */
export async function checkResults(
  deps: ResultCheckDeps,
  node: NodeId,
  outcomes: readonly Outcome[],
): Promise<Outcome[]> {
  const checked: Outcome[] = [];
  for (const outcome of outcomes) {
    const reference = findBlobReference(outcome.result);
    const isThere =
      reference === undefined ||
      ((await deps.store.hasUploaded(node, reference.hash)) &&
        (await deps.blobs.has(reference.hash)));
    checked.push(isThere ? outcome : withoutResult(outcome));
  }
  return checked;
}

function withoutResult(outcome: Outcome): Outcome {
  return {
    ...outcome,
    status: 'crash',
    result: new Uint8Array(0),
    failure: {
      name: 'ResultMissing',
      message: 'The node reported a large result without having uploaded it.',
      traceback: '',
    },
  };
}
