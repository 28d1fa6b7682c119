/** Calls of `/perigee/client/1` that answer many items. */
import type { ClientSubscriptionName, ClientSubscriptions } from '../../../protocol/wire/client.ts';
import { clientPartBytesMax } from '../../../protocol/wire/client.ts';
import type { Input } from '../input/fields.ts';
import type { Context } from '../services.ts';
import { getBlob } from './blobs.ts';
import { openBuildLog } from './images.ts';
import { openLog } from './logs.ts';
import { readCompletionRequest } from './outcomes.ts';
import { readOutput } from './outputs.ts';
import { getArguments, getResult } from './tasks.ts';

type Items<Name extends ClientSubscriptionName> = (
  signal: AbortSignal,
) => AsyncIterable<ClientSubscriptions[Name]['item']>;

const subscriptions: {
  readonly [Name in ClientSubscriptionName]: (
    context: Context,
    input: Input,
  ) => Promise<Items<Name>>;
} = {
  'outcomes.follow': async (context, input) => {
    const wanted = await readCompletionRequest(context, input);
    return (signal) => context.completions.stream({ ...wanted, signal });
  },
  'tasks.log': async (context, input) => (await openLog(context, input)).items,
  'tasks.result': async (context, input) => {
    const { bytes } = await getResult(context, input);
    return () => inParts(bytes);
  },
  'tasks.arguments': async (context, input) => {
    const { bytes } = await getArguments(context, input);
    return () => inParts(bytes);
  },
  'tasks.output': async (context, input) => {
    const bytes = await readOutput(context, input);
    return () => inParts(bytes);
  },
  'images.log': async (context, input) => (await openBuildLog(context, input)).items,
  'blobs.get': async (context, input) => {
    const { bytes } = await getBlob(context, input);
    return () => inParts(bytes);
  },
};

/** Checks the call's input and makes ready to send its items. */
export function openSubscription(
  context: Context,
  name: ClientSubscriptionName,
  input: Input,
): Promise<(signal: AbortSignal) => AsyncIterable<unknown>> {
  return subscriptions[name](context, input);
}

/** Bytes in pieces of which each is an item. */
async function* inParts(
  bytes: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of bytes) {
    for (let start = 0; start < chunk.length; start += clientPartBytesMax) {
      yield chunk.subarray(start, start + clientPartBytesMax);
    }
  }
}

/** True for the name of a subscription. */
export function isSubscriptionName(name: string): name is ClientSubscriptionName {
  return Object.hasOwn(subscriptions, name);
}
