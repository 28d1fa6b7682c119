/** The coordinator's process in a simulation: its real core, a disk, and a driver that may die at any moment. */

import type { CoordinatorEffect, SendEffect } from '../../coordinator/core/effects.ts';
import type { CoordinatorEvent } from '../../coordinator/core/events.ts';
import { checkInvariants } from '../../coordinator/core/invariants.ts';
import { defaultCoreSettings } from '../../coordinator/core/settings.ts';
import type { CoordinatorState } from '../../coordinator/core/state.ts';
import { createState } from '../../coordinator/core/state.ts';
import { step } from '../../coordinator/core/step.ts';
import { nextFloat, nextUint32, type RandomState } from '../../protocol/base/random.ts';
import { encodeBlock } from '../../protocol/wire/block.ts';
import type { NodeId } from '../../protocol/wire/ids.ts';
import type { AgentMessage } from '../../protocol/wire/messages.ts';
import type { Agenda } from './agenda.ts';
import { promise } from './broken-promise.ts';
import { type Disk, isSave } from './disk.ts';
import type { Faults } from './faults.ts';
import type { Link } from './link.ts';

export interface CoordinatorHost {
  readonly isUp: boolean;
  readonly state: CoordinatorState | null;
  /** A new session of a node; null while the process is dead. */
  accept(node: NodeId): number | null;
  /** Binds the link of an accepted session. */
  bind(node: NodeId, link: Link): void;
  receive(link: Link, message: AgentMessage): void;
  lose(link: Link): void;
  dispatch(event: CoordinatorEvent): void;
  kill(): void;
  start(): void;
}

export interface CoordinatorWorld {
  agenda: Agenda;
  random: RandomState;
  disk: Disk;
  faults: Faults;
  onAnswer(effect: Extract<CoordinatorEffect, { kind: 'respond' }>): void;
  /** Just before an effect leaves the process. */
  onSend(effect: SendEffect): void;
  /** A message of a node has reached the coordinator. */
  onHeard(node: NodeId): void;
  onTick(): void;
}

const tickMs = 100;

/** A coordinator that has never run. */
export function createCoordinatorHost(world: CoordinatorWorld): CoordinatorHost {
  const { agenda, random, disk, faults } = world;
  let state: CoordinatorState | null = null;
  let life = 0;
  let nextSession = 1;
  let events: CoordinatorEvent[] = [];
  let working = false;
  const links = new Map<NodeId, Link>();
  const owners = new Map<Link, NodeId>();

  const inLife = (action: () => void) => {
    const own = life;
    return () => {
      if (own === life && state !== null) action();
    };
  };

  const wake = (): void => {
    if (working || state === null || events.length === 0) return;
    working = true;
    agenda.after(nextFloat(random), inLife(work));
  };

  const work = (): void => {
    if (state === null) return;
    const effects: CoordinatorEffect[] = [];
    for (const event of events.splice(0)) {
      for (const seen of faults.seeEvent(state, event)) {
        effects.push(...step(state, seen, Math.floor(agenda.nowMs)));
        checkInvariants(state);
      }
    }
    world.onTick();
    const own = state;
    const saves = faults.seeSaves(own, effects.filter(isSave));
    const rest = effects.filter((effect) => !isSave(effect));
    if (faults.sendsFirst) for (const effect of rest) perform(effect);
    agenda.after(
      nextFloat(random) * 3,
      inLife(() => {
        disk.commit(saves);
        agenda.after(
          nextFloat(random) * 0.1,
          inLife(() => {
            if (!faults.sendsFirst) for (const effect of rest) perform(effect);
            working = false;
            wake();
          }),
        );
      }),
    );
  };

  const perform = (effect: CoordinatorEffect): void => {
    switch (effect.kind) {
      case 'respond':
        world.onAnswer(effect);
        return;
      case 'sendWelcome':
      case 'sendGrant':
      case 'sendAck':
      case 'sendCancel':
      case 'sendHoldingsAsked':
      case 'sendDrain':
      case 'sendUndrain':
      case 'endSession':
        world.onSend(effect);
        transmit(effect);
        return;
      default:
        throw new Error(`nobody performs ${effect.kind}`);
    }
  };

  const transmit = (effect: SendEffect): void => {
    const link = links.get(effect.node);
    if (link === undefined || link.session !== effect.session) return;
    switch (effect.kind) {
      case 'sendWelcome':
        link.toAgent({
          kind: 'welcome',
          protocol: 1,
          software: 'sim',
          node: effect.node,
          settings: { heartbeatMs: 1_000, leaseMs: defaultCoreSettings.leaseMs },
          drop: [...effect.drop],
          logOffsets: [],
        });
        return;
      case 'sendGrant': {
        const group = disk.groups.get(effect.group);
        promise(
          group !== undefined,
          () => `a grant of group ${effect.group}, which is not on disk`,
        );
        const { batch, lo, count, attempt } = effect;
        const payloads = Array.from({ length: count }, () => Uint8Array.from([0x50]));
        const block = encodeBlock(payloads);
        const grant = { group: effect.group, batch, lo, count, attempt, block };
        link.toAgent({ kind: 'grants', groups: [group.spec], grants: [grant] });
        return;
      }
      case 'sendAck':
        link.toAgent({ kind: 'ack', report: effect.report });
        return;
      case 'sendCancel':
        link.toAgent({ kind: 'cancel', attempts: [...effect.attempts] });
        return;
      case 'sendHoldingsAsked':
        link.toAgent({ kind: 'holdingsAsked' });
        return;
      case 'sendDrain':
        link.toAgent({ kind: 'drain', reason: effect.reason });
        return;
      case 'sendUndrain':
        link.toAgent({ kind: 'undrain' });
        return;
      case 'endSession':
        link.cut();
        return;
    }
  };

  const host: CoordinatorHost = {
    get isUp() {
      return state !== null;
    },
    get state() {
      return state;
    },
    accept(_node) {
      if (state === null) return null;
      nextSession += 1;
      return nextSession;
    },
    bind(node, link) {
      links.set(node, link);
      owners.set(link, node);
    },
    receive(link, message) {
      const node = owners.get(link);
      if (state === null || node === undefined) return;
      world.onHeard(node);
      const event = toEvent(node, link, message);
      if (event !== null) host.dispatch(event);
    },
    lose(link) {
      const node = owners.get(link);
      owners.delete(link);
      if (node === undefined || state === null) return;
      if (links.get(node) === link) links.delete(node);
      host.dispatch({ kind: 'nodeDisconnected', node, session: link.session });
    },
    dispatch(event) {
      if (state === null) return;
      events.push(event);
      wake();
    },
    kill() {
      life += 1;
      state = null;
      events = [];
      working = false;
      for (const link of links.values()) link.cut();
      links.clear();
      owners.clear();
    },
    start() {
      if (state !== null) return;
      const restored = disk.restore();
      nextSession = restored.nextSession;
      state = createState({
        seed: nextUint32(random),
        settings: defaultCoreSettings,
        restored,
        now: Math.floor(agenda.nowMs),
      });
      const beat = (): void => {
        host.dispatch({ kind: 'clockTicked' });
        agenda.after(tickMs, inLife(beat));
      };
      agenda.after(0, inLife(beat));
    },
  };
  return host;
}

function toEvent(node: NodeId, link: Link, message: AgentMessage): CoordinatorEvent | null {
  const from = { node, session: link.session };
  switch (message.kind) {
    case 'hello':
      return { kind: 'nodeJoined', hello: message, namespaces: null, ...from };
    case 'heartbeat': {
      const { load, memoryFreeBytes, diskFreeBytes } = message;
      return { kind: 'heartbeatHeard', load, memoryFreeBytes, diskFreeBytes, ...from };
    }
    case 'pull':
      return { kind: 'nodePulled', heldMax: message.heldMax, ...from };
    case 'started':
      return { kind: 'attemptsStarted', attempts: message.attempts, ...from };
    case 'report':
      return {
        kind: 'reportReceived',
        report: message.report,
        outcomes: message.outcomes,
        ...from,
      };
    case 'returned':
      return { kind: 'attemptsReturned', attempts: message.attempts, ...from };
    case 'holdings': {
      const { epoch, sequence, full, add, drop } = message;
      return { kind: 'holdingsTold', epoch, sequence, full, add, drop, ...from };
    }
    case 'drainAsked':
      return { kind: 'nodeDrainAsked', request: null, node, by: 'node', reason: message.reason };
    case 'goodbye':
      return { kind: 'nodeLeft', ...from };
    case 'imagesChanged':
      return { kind: 'imagesChanged', images: message.images, ...from };
    case 'log':
    case 'locate':
    case 'originDemand':
      return null;
  }
}
