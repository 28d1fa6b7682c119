/**
 * What one session is told, in the order in which it was decided. Some of it needs the store first
 * (a block that is not at hand, the log offsets of a welcome); what follows waits, or a cancel
 * would overtake its grant.
 */
import { assert, assertNever } from '../../protocol/base/assert.ts';
import { errorTable } from '../../protocol/base/errors.ts';
import type { FrameStream } from '../../protocol/net/frame-stream.ts';
import type { GroupId } from '../../protocol/wire/ids.ts';
import { heldAttemptsMax } from '../../protocol/wire/limits.ts';
import type { CoordinatorMessage, Grants, MeshSettings } from '../../protocol/wire/messages.ts';
import { protocolVersion } from '../../protocol/wire/messages.ts';
import type { GroupSpec } from '../../protocol/wire/task.ts';
import type { SendEffect } from '../core/effects.ts';
import type { Store } from '../store/port.ts';
import type { BlockCache } from './block-cache.ts';

export interface OutboxDeps {
  stream: Pick<FrameStream, 'send' | 'drained' | 'close' | 'isOpen'>;
  blocks: BlockCache;
  store: Pick<Store, 'logOffset'>;
  /** A group as it is now. */
  findSpec(group: GroupId): GroupSpec | undefined;
  software: string;
  settings: MeshSettings;
  onError(error: unknown): void;
}

export interface Outbox {
  /** Queues effects of this session; call `flush` once per tick. */
  push(effect: SendEffect): void;
  flush(): void;
}

/** Payload bytes of one grants frame: far below the frame's bound with its groups and ids. */
const grantsBytesMax = 8 * 1024 ** 2;

export function createOutbox(deps: OutboxDeps): Outbox {
  let queue: SendEffect[] = [];
  let writing = false;
  /** What the session was told of each group. A change of limits makes a new object. */
  const told = new Map<GroupId, GroupSpec>();
  let grants: Grants = emptyGrants();
  let grantsBytes = 0;

  const write = async (): Promise<void> => {
    while (queue.length > 0 && deps.stream.isOpen) {
      const effects = queue;
      queue = [];
      for (const effect of effects) {
        // Waits only for what takes time: each await would be a turn, and so a write, of its own.
        const added = effect.kind === 'sendGrant' ? addGrant(effect) : sendGrants();
        if (added !== undefined) await added;
        const performed = effect.kind === 'sendGrant' ? undefined : perform(effect);
        if (performed !== undefined) await performed;
      }
      const sent = sendGrants();
      if (sent !== undefined) await sent;
    }
  };
  const send = (message: CoordinatorMessage): Promise<void> | undefined =>
    deps.stream.send(message) ? undefined : deps.stream.drained();
  const sendGrants = (): Promise<void> | undefined => {
    if (grants.grants.length === 0) return undefined;
    const message = grants;
    grants = emptyGrants();
    grantsBytes = 0;
    return send(message);
  };
  const addGrant = (
    effect: Extract<SendEffect, { kind: 'sendGrant' }>,
  ): Promise<void> | undefined => {
    const block = deps.blocks.find(effect);
    const isFull = (bytes: number): boolean =>
      grantsBytes + bytes > grantsBytesMax || grants.grants.length >= heldAttemptsMax;
    if (block !== undefined && !isFull(block.length)) return addBlock(effect, block);
    return (async () => {
      const found = block ?? (await deps.blocks.get(effect));
      if (isFull(found.length)) await sendGrants();
      addBlock(effect, found);
    })();
  };
  const addBlock = (
    { group, batch, lo, count, attempt }: Extract<SendEffect, { kind: 'sendGrant' }>,
    block: Uint8Array,
  ): undefined => {
    const spec = deps.findSpec(group);
    assert(spec !== undefined, `a grant of ${group}, which is not known`);
    if (told.get(group) !== spec) {
      told.set(group, spec);
      grants.groups.push(spec);
    }
    grants.grants.push({ group, batch, lo, count, attempt, block });
    grantsBytes += block.length;
  };
  const perform = (
    effect: Exclude<SendEffect, { kind: 'sendGrant' }>,
  ): Promise<void> | undefined => {
    switch (effect.kind) {
      case 'sendWelcome':
        return welcome(effect).then(send);
      case 'sendAck':
        return send({ kind: 'ack', report: effect.report });
      case 'sendCancel':
        return send({ kind: 'cancel', attempts: [...effect.attempts] });
      case 'sendHoldingsAsked':
        return send({ kind: 'holdingsAsked' });
      case 'sendDrain':
        return send({ kind: 'drain', reason: effect.reason });
      case 'sendUndrain':
        return send({ kind: 'undrain' });
      case 'endSession': {
        const { code, message } = effect;
        deps.stream.send({ kind: 'refused', code, message, fix: errorTable[code].fix });
        return deps.stream.close();
      }
      default:
        return assertNever(effect);
    }
  };
  const welcome = async (
    effect: Extract<SendEffect, { kind: 'sendWelcome' }>,
  ): Promise<CoordinatorMessage> => {
    const logOffsets = [];
    for (const attempt of effect.kept) {
      logOffsets.push({ ...attempt, offset: await deps.store.logOffset(attempt) });
    }
    return {
      kind: 'welcome',
      protocol: protocolVersion,
      software: deps.software,
      node: effect.node,
      settings: deps.settings,
      drop: [...effect.drop],
      logOffsets,
    };
  };
  return {
    push(effect) {
      queue.push(effect);
    },
    flush() {
      if (writing) return;
      writing = true;
      write()
        .catch(deps.onError)
        .finally(() => {
          writing = false;
          // What arrived while the last await of `write` settled.
          if (queue.length > 0 && deps.stream.isOpen) this.flush();
        });
    },
  };
}

function emptyGrants(): Grants {
  return { kind: 'grants', groups: [], grants: [] };
}
