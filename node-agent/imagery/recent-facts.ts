/** What origins said a moment ago, so that a thousand tasks on one scene ask once. */
import type { PerigeeError } from '../../protocol/base/errors.ts';
import type { OriginFacts } from './origins/port.ts';

type Answer = { facts: OriginFacts } | { error: PerigeeError };

export interface RecentFacts {
  find(key: string): Answer | undefined;
  set(key: string, answer: Answer): void;
  delete(key: string): void;
}

const entriesMax = 10_000;
/** A refusal is kept shorter: somebody may be mending it. */
const refusedMsMax = 5_000;

export function createRecentFacts(settings: { now(): number; freshMs: number }): RecentFacts {
  const entries = new Map<string, { answer: Answer; untilMs: number }>();
  return {
    find(key) {
      const entry = entries.get(key);
      if (entry === undefined || entry.untilMs <= settings.now()) return undefined;
      return entry.answer;
    },
    set(key, answer) {
      const keptMs =
        'facts' in answer ? settings.freshMs : Math.min(settings.freshMs, refusedMsMax);
      entries.delete(key);
      entries.set(key, { answer, untilMs: settings.now() + keptMs });
      for (const oldest of entries.keys()) {
        if (entries.size <= entriesMax) break;
        entries.delete(oldest);
      }
    },
    delete: (key) => entries.delete(key),
  };
}
