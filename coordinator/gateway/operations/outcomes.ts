/** The completion stream of a namespace. */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { GroupId } from '../../../protocol/wire/ids.ts';
import { inlineBytesMax } from '../../../protocol/wire/limits.ts';
import { readOwnNamespace } from '../caller.ts';
import type { CompletionRequest } from '../completions/hub.ts';
import type { Input } from '../input/fields.ts';
import { readBooleanOr, readIntegerOr, readTextsOrNull, refused } from '../input/fields.ts';
import type { Context } from '../services.ts';
import { getGroupId } from './find-group.ts';

/** Groups of one filter. */
const groupsMax = 1_000;
const afterMax = Number.MAX_SAFE_INTEGER;

/**
 * Checks a request for the stream.
 * @throws PerigeeError invalid_request, not_found for unknown groups, cursor_expired when `after` is a
 * number that this mesh has not given
 */
export async function readCompletionRequest(
  context: Context,
  input: Input,
): Promise<Omit<CompletionRequest, 'signal'>> {
  const namespace = readOwnNamespace(context.caller, input);
  const after = readIntegerOr(input, 'after', { min: 0, max: afterMax, fallback: null });
  if (after === null) throw refused('after', 'must be an outcome number, 0 for all', undefined);
  const named = readTextsOrNull(input, 'groups', groupsMax);
  if (named?.length === 0) throw refused('groups', 'must name one, or be left out for all', named);
  let groups: GroupId[] | null = null;
  if (named !== null) {
    groups = [];
    for (const id of new Set(named)) groups.push(await getGroupId(context, namespace, id));
  }
  const latest = await context.deps.store.latestOutcomeNumber(namespace);
  if (after > latest) {
    throw new PerigeeError(
      'cursor_expired',
      `Outcome ${after} of ${namespace} is not known here; the latest is ${latest}.`,
      { fix: 'Start again after 0; the data directory may be another than before.' },
    );
  }
  return {
    namespace,
    after,
    groups,
    follow: readBooleanOr(input, 'follow', true),
    inlineBytesMax: readIntegerOr(input, 'inline', {
      min: 0,
      max: inlineBytesMax,
      fallback: inlineBytesMax,
    }),
  };
}
