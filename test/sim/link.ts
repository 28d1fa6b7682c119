/**
 * One session between a node and the coordinator: messages arrive in order, late, sometimes twice;
 * when it breaks, what is on its way is lost and each end learns of it in its own time.
 */
import { nextBelow, nextFloat, type RandomState } from '../../protocol/base/random.ts';
import type { SessionNumber } from '../../protocol/wire/ids.ts';
import type { AgentMessage, CoordinatorMessage } from '../../protocol/wire/messages.ts';
import type { Agenda } from './agenda.ts';

export interface Link {
  readonly session: SessionNumber;
  readonly isBroken: boolean;
  toCoordinator(message: AgentMessage): void;
  toAgent(message: CoordinatorMessage): void;
  /** Cuts it. Both ends are told later, unless the end is dead by then. */
  cut(): void;
}

export interface LinkEnds {
  coordinator: { receive(link: Link, message: AgentMessage): void; lose(link: Link): void };
  agent: { receive(link: Link, message: CoordinatorMessage): void; lose(link: Link): void };
}

export interface LinkWeather {
  /** Chance that a message is very late, up to `lateMs`. */
  lateChance: number;
  lateMs: number;
  /** Chance that a message arrives twice. */
  twiceChance: number;
}

/** Messages that say the same when they come twice. A doubled hello would be another session. */
const repeatable = new Set(['heartbeat', 'pull', 'started', 'report', 'grants', 'ack', 'cancel']);
/** Those of them that carry a number or say nothing: their twin may come when much has changed since. */
const mayTrail = new Set(['heartbeat', 'started', 'report', 'ack']);

/** A link that stands from now on. */
export function createLink(options: {
  session: SessionNumber;
  agenda: Agenda;
  random: RandomState;
  weather: () => LinkWeather;
  ends: LinkEnds;
}): Link {
  const { agenda, random, ends } = options;
  let broken = false;
  const lastAtMs = { up: 0, down: 0 };

  const send = (way: 'up' | 'down', kind: string, deliver: () => void): void => {
    if (broken) return;
    const weather = options.weather();
    const isLate = nextFloat(random) < weather.lateChance;
    const delayMs = isLate ? nextFloat(random) * weather.lateMs : nextFloat(random) * 3;
    const atMs = Math.max(lastAtMs[way], agenda.nowMs + delayMs);
    lastAtMs[way] = atMs;
    const arrive = (whenMs: number): void => {
      agenda.after(whenMs - agenda.nowMs, () => {
        if (!broken) deliver();
      });
    };
    arrive(atMs);
    if (!repeatable.has(kind) || nextFloat(random) >= weather.twiceChance) return;
    const trails = mayTrail.has(kind) && nextFloat(random) < 0.5;
    arrive(trails ? atMs + nextFloat(random) * weather.lateMs : atMs);
  };

  const link: Link = {
    session: options.session,
    get isBroken() {
      return broken;
    },
    toCoordinator(message) {
      send('up', message.kind, () => ends.coordinator.receive(link, message));
    },
    toAgent(message) {
      send('down', message.kind, () => ends.agent.receive(link, message));
    },
    cut() {
      if (broken) return;
      broken = true;
      agenda.after(nextBelow(random, 2_000), () => ends.coordinator.lose(link));
      agenda.after(nextBelow(random, 2_000), () => ends.agent.lose(link));
    },
  };
  return link;
}
