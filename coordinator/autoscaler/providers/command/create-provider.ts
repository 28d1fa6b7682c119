/**
 * Machines made by three programs of the user's. All get `PERIGEE_COORDINATOR`, `PERIGEE_POOL`, and
 * create and destroy `PERIGEE_INSTANCE` in their environment.
 *
 * - create: also `PERIGEE_OFFER`, `PERIGEE_TYPE`, `PERIGEE_ZONE`, `PERIGEE_SPOT` (1 or empty); the user
 *   data on stdin; prints the machine's handle. Asked again for one instance it makes no second one.
 * - list: prints a JSON list of `{"instance", "handle", "state"}` and, where known, `"offer"`,
 *   `"launchedAtMs"`, `"interrupted"`; state is pending, running, stopping or gone.
 * - destroy: also `PERIGEE_HANDLE`, empty when it is not known. A machine that is gone is no error.
 *
 * Exit codes: 0; 10 stockout; 11 quota; 12 throttled; 13 denied; 14 invalid; all else unavailable.
 */
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import type { InstanceId } from '../../../../protocol/wire/ids.ts';
import {
  readBooleanOr,
  readChoiceOr,
  readIntegerOr,
  readObject,
  readText,
  readTextOr,
} from '../../../gateway/input/fields.ts';
import type { ListedInstance, Provider, ProviderFailureKind } from '../../provider-port.ts';
import { ProviderFailure } from '../../provider-port.ts';
import type { CloudDeps } from '../cloud-provider.ts';
import { faultOf, getOffer, seenByListing } from '../cloud-provider.ts';
import type { Ran } from '../run-program.ts';
import { runProgram } from '../run-program.ts';
import type { CommandSettings } from './settings.ts';

const exitKinds: Readonly<Record<number, ProviderFailureKind>> = {
  10: 'stockout',
  11: 'quota',
  12: 'throttled',
  13: 'denied',
  14: 'invalid',
};
const handleCharsMax = 4_096;
/** Between a program’s own time-out and the fleet’s: the program’s says more. */
const slackMs = 5_000;

export function createCommandProvider(settings: CommandSettings, deps: CloudDeps): Provider {
  /** Creations under way, so that a second call for one waits for the first. */
  const creating = new Map<InstanceId, Promise<string>>();

  const run = async (
    words: readonly string[],
    more: Record<string, string>,
    options: { input?: string; signal: AbortSignal },
  ): Promise<string> => {
    const env = {
      ...deps.env,
      PERIGEE_COORDINATOR: deps.coordinator,
      PERIGEE_POOL: deps.pool,
      ...more,
    };
    let ran: Ran;
    try {
      ran = await runProgram(words, { ...options, env, msMax: settings.timeoutMs });
    } catch (caught) {
      const said = caught instanceof Error ? caught.message : String(caught);
      throw new ProviderFailure('invalid', `${words[0]} cannot be started: ${said}`, {
        mayHaveMade: false,
        cause: caught,
      });
    }
    if (ran.status === 0) return ran.stdout;
    const failure = exitKinds[ran.status ?? -1] ?? 'unavailable';
    const how = ran.timedOut
      ? `took over ${settings.timeoutMs / 1_000} s`
      : ran.status === null
        ? 'was ended by a signal'
        : `exited with ${ran.status}`;
    throw new ProviderFailure(failure, `${words[0]} ${how}: ${ran.stderr}`, {
      mayHaveMade: failure === 'unavailable',
    });
  };
  const list = async (signal: AbortSignal): Promise<Map<InstanceId, ListedInstance>> => {
    const printed = await run(settings.list, {}, { signal });
    try {
      return readListing(printed);
    } catch (caught) {
      const said = caught instanceof Error ? caught.message : String(caught);
      throw new ProviderFailure('unavailable', `${settings.list[0]} printed no listing: ${said}`, {
        mayHaveMade: false,
        cause: caught,
      });
    }
  };
  return {
    kind: 'command',
    pool: deps.pool,
    answerMsMax: settings.timeoutMs + slackMs,
    offers: () => deps.offers,
    async check(signal) {
      try {
        await list(signal);
        return [];
      } catch (caught) {
        const fix =
          'Check "command" in the pools file; docs/autoscaling.md says what each program must do.';
        return [faultOf(caught, { what: 'Machines cannot be listed', fix })];
      }
    },
    create(request, signal) {
      const before = creating.get(request.instance);
      if (before !== undefined) return before;
      const making = (async () => {
        const offer = getOffer(deps, request.offer);
        const printed = await run(
          settings.create,
          {
            PERIGEE_INSTANCE: request.instance,
            PERIGEE_OFFER: offer.id,
            PERIGEE_TYPE: offer.type,
            PERIGEE_ZONE: offer.zone ?? '',
            PERIGEE_SPOT: offer.spot ? '1' : '',
          },
          { input: request.userData, signal },
        );
        const handle = printed.trim();
        if (handle !== '' && handle.length <= handleCharsMax) return handle;
        throw new ProviderFailure('unavailable', `${settings.create[0]} printed no handle.`, {
          mayHaveMade: true,
        });
      })().finally(() => creating.delete(request.instance));
      creating.set(request.instance, making);
      return making;
    },
    list,
    async terminate(instance, handle, signal) {
      await run(
        settings.destroy,
        { PERIGEE_INSTANCE: instance, PERIGEE_HANDLE: handle ?? '' },
        { signal },
      );
    },
    ...seenByListing,
    close: async () => undefined,
  };
}

function readListing(printed: string): Map<InstanceId, ListedInstance> {
  const entries: unknown = JSON.parse(printed);
  if (!Array.isArray(entries)) throw new PerigeeError('invalid_request', 'it is not a JSON list');
  const listing = new Map<InstanceId, ListedInstance>();
  for (const entry of entries) {
    const input = readObject(entry, 'an entry');
    const instance = readText(input, 'instance', handleCharsMax) as InstanceId;
    const choices = ['pending', 'running', 'stopping', 'gone'] as const;
    const state = readChoiceOr(input, 'state', {
      choices,
      fallback: 'running' as const,
    });
    const range = { min: 0, max: Number.MAX_SAFE_INTEGER, fallback: null };
    listing.set(instance, {
      handle: readText(input, 'handle', handleCharsMax),
      state,
      launchedAtMs: readIntegerOr(input, 'launchedAtMs', range),
      offer: readTextOr(input, 'offer', { charsMax: handleCharsMax, fallback: null }),
      interrupted: readBooleanOr(input, 'interrupted', false),
    });
  }
  return listing;
}
