/** Imagery by what it shows, where and when: the catalogue for clients that speak no HTTP. */
import type { ClientOperations } from '../../../protocol/wire/client.ts';
import type { Input } from '../input/fields.ts';
import type { Context } from '../services.ts';

type Output<Name extends 'imagery.search' | 'imagery.collections'> =
  ClientOperations[Name]['output'];

/** Nowhere: the answers have no links. */
const page = { method: 'POST', url: '' } as const;

/**
 * A page of the items that fit.
 * @throws PerigeeError invalid_request, timed_out
 */
export async function searchImagery(
  context: Context,
  input: Input,
): Promise<Output<'imagery.search'>> {
  const { namespace } = context.caller;
  const parameters = Object.fromEntries(
    Object.entries(input).filter(([, value]) => value !== undefined),
  );
  const call = { namespace, root: null, page, parameters };
  return decode(await context.deps.stac.call('search', call));
}

/** All collections that the caller sees. */
export async function listImageryCollections(
  context: Context,
): Promise<Output<'imagery.collections'>> {
  const { namespace } = context.caller;
  return decode(await context.deps.stac.call('listCollections', { namespace, root: null }));
}

/** What the catalogue has written. */
function decode<Value>(bytes: Uint8Array): Value {
  return JSON.parse(Buffer.from(bytes).toString('utf8')) as Value;
}
