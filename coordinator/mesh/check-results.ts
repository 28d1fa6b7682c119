/**
 * A report may refer only to blobs that its node has put, as a result or as outputs: the reference
 * gives the namespace the right to read the blob, so a made-up one could hand out what belongs to
 * another.
 */

import type { AttemptRef, BlobHash, NodeId } from '../../protocol/wire/ids.ts';
import { findBlobReference } from '../../protocol/wire/payload.ts';
import type { AttemptOutcome } from '../../protocol/wire/task.ts';
import type { BlobStore, Store } from '../store/port.ts';

export interface ResultCheckDeps {
  store: Pick<Store, 'hasUploaded'>;
  blobs: Pick<BlobStore, 'has' | 'size'>;
}

type Outcome = AttemptRef & AttemptOutcome;

/** Whether any outcome refers to a blob: only then the check is worth its wait. */
export function hasReferences(outcomes: readonly Outcome[]): boolean {
  return outcomes.some(
    (outcome) => outcome.outputs !== undefined || findBlobReference(outcome.result) !== undefined,
  );
}

/** The same outcomes; one whose blob is not there, or of another size, is a crash of its attempt. */
export async function checkResults(
  deps: ResultCheckDeps,
  node: NodeId,
  outcomes: readonly Outcome[],
): Promise<Outcome[]> {
  const checked: Outcome[] = [];
  for (const outcome of outcomes) {
    checked.push((await findFault(deps, node, outcome)) ?? outcome);
  }
  return checked;
}

/** The outcome as a failure, when something that it refers to is not there. */
async function findFault(
  deps: ResultCheckDeps,
  node: NodeId,
  outcome: Outcome,
): Promise<Outcome | undefined> {
  const has = async (blob: { hash: BlobHash; sizeBytes: number }): Promise<boolean> =>
    (await deps.store.hasUploaded(node, blob.hash)) &&
    (await deps.blobs.has(blob.hash)) &&
    // Readers are told what the reference says, and wait for so much.
    (await deps.blobs.size(blob.hash)) === blob.sizeBytes;
  const reference = findBlobReference(outcome.result);
  if (reference !== undefined && !(await has(reference))) {
    return withoutResult(outcome, 'ResultMissing', 'a large result');
  }
  for (const output of outcome.outputs ?? []) {
    if (await has(output)) continue;
    return withoutResult(outcome, 'OutputMissing', `the output ${output.name}`);
  }
  return undefined;
}

function withoutResult(outcome: Outcome, name: string, what: string): Outcome {
  const { outputs: _outputs, ...rest } = outcome;
  return {
    ...rest,
    status: 'crash',
    result: new Uint8Array(0),
    failure: {
      name,
      message: `The node reported ${what} without having uploaded it.`,
      traceback: '',
    },
  };
}
