/**
 * User ids for slots. A root agent runs each slot under a uid that nobody else on the machine has,
 * so that slots cannot touch each other and "every process of this uid" means "of this slot".
 * Several agents may run on one machine, so uids are taken by files that name their owner.
 */
import { mkdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AgentMark } from './agent-mark.ts';
import { formatAgentMark, isStaleMark } from './agent-mark.ts';

/** The user and group that a slot's processes run as. */
export interface SlotIdentity {
  uid: number;
  gid: number;
}

/** Between Debian's reserved ranges (60000-61183 are for local use by no one). */
export const uidMin = 61_001;
export const uidMax = 61_183;

/** Takes and gives back uids. */
export interface SlotIdentities {
  /** The slot's own; the same one for the agent's whole life. @throws Error when all are taken. */
  take(slot: number): SlotIdentity;
  releaseAll(): void;
}

/**
 * Whether a map of user ids (`/proc/self/uid_map`: first inside, first outside, count) has all slot
 * uids. Root of a rootless container is root of its own uid alone, and cannot become another.
 */
export function mapsSlotUids(uidMap: string): boolean {
  return uidMap
    .trim()
    .split('\n')
    .some((line) => {
      const [first = Number.NaN, , count = 0] = line.trim().split(/\s+/).map(Number);
      return first <= uidMin && uidMax < first + count;
    });
}

/**
 * Whether root in here is root out there too. Its sandboxes would be the machine's root however they
 * are wrapped, so it must change to a slot's uid or start none.
 */
export function mapsRootToRoot(uidMap: string): boolean {
  return /^\s*0\s+0\s/m.test(uidMap);
}

/** Uids for a root agent, kept in `folder`. */
export function createSlotIdentities(folder: string, agent: AgentMark): SlotIdentities {
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const taken = new Map<number, SlotIdentity>();
  return {
    take(slot) {
      const known = taken.get(slot);
      if (known !== undefined) return known;
      for (let uid = uidMin; uid <= uidMax; uid += 1) {
        if (!claim(join(folder, String(uid)), agent)) continue;
        const identity = { uid, gid: uid };
        taken.set(slot, identity);
        return identity;
      }
      throw new Error(
        `all ${uidMax - uidMin + 1} slot uids of this machine are taken; run fewer agents or slots, ` +
          `or remove stale files in ${folder}`,
      );
    },
    releaseAll() {
      for (const identity of taken.values()) {
        try {
          unlinkSync(join(folder, String(identity.uid)));
        } catch {
          // Removed by hand: it is free either way.
        }
      }
      taken.clear();
    },
  };
}

/** Takes one uid by making its file; a file of an agent that is gone is taken over. */
function claim(path: string, agent: AgentMark): boolean {
  for (let attempt = 0; attempt < 2; attempt += 1) {
    try {
      writeFileSync(path, formatAgentMark(agent), { flag: 'wx' });
      return true;
    } catch {
      if (!isAbandoned(path, agent)) return false;
      try {
        unlinkSync(path);
      } catch {
        // Another agent was quicker.
        return false;
      }
    }
  }
  return false;
}

function isAbandoned(path: string, agent: AgentMark): boolean {
  try {
    return isStaleMark(readFileSync(path, 'utf8'), agent);
  } catch {
    return false;
  }
}
