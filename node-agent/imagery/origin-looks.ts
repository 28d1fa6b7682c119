/** What an origin says of an asset: asked once for all who want to know, and believed for a moment. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import { createFlights } from './flights.ts';
import type { Origins } from './origins/create-origins.ts';
import type { OriginFacts } from './origins/port.ts';
import type { AssetRequest } from './port.ts';
import { createRecentFacts } from './recent-facts.ts';

export interface OriginLooks {
  /** @throws PerigeeError as `Origins.stat`; that an asset is not there, or closed, is believed too. */
  look(request: AssetRequest, signal: AbortSignal): Promise<OriginFacts>;
  /** The next look asks the origin. */
  forget(scope: string, uri: string): void;
  close(): Promise<void>;
}

export function createOriginLooks(
  origins: Pick<Origins, 'scopeOf' | 'stat'>,
  settings: { now(): number; freshMs: number },
): OriginLooks {
  const facts = createRecentFacts(settings);
  const looks = createFlights<OriginFacts>();
  const ask = async (
    request: AssetRequest,
    key: string,
    signal: AbortSignal,
  ): Promise<OriginFacts> => {
    try {
      const found = await origins.stat(request, signal);
      facts.set(key, { facts: found });
      return found;
    } catch (caught) {
      const isFinal =
        caught instanceof PerigeeError &&
        (caught.code === 'asset_not_found' || caught.code === 'asset_denied');
      if (isFinal) facts.set(key, { error: caught });
      throw caught;
    }
  };
  return {
    async look(request, signal) {
      const key = `${origins.scopeOf(request)} ${request.uri}`;
      const recent = facts.find(key);
      if (recent === undefined) {
        return looks.join(key, (shared) => ask(request, key, shared), signal);
      }
      if ('error' in recent) throw recent.error;
      return recent.facts;
    },
    forget: (scope, uri) => facts.delete(`${scope} ${uri}`),
    close: () => looks.close(),
  };
}
