/** Whom to ask, how long to wait, what to check: decisions alone, no I/O. */

/** The node that fetches a block for all who read the asset: the same on every node that knows the same members. */
export function ownerOf(
  members: readonly string[],
  key: string,
  index: number,
): string | undefined {
  let owner: string | undefined;
  let best = -1;
  for (const member of members) {
    const weight = hashText(`${key}/${index}/${member}`);
    if (weight < best || (weight === best && owner !== undefined && member > owner)) continue;
    best = weight;
    owner = member;
  }
  return owner;
}

/** FNV-1a with a last mix: enough to spread blocks evenly, and the same everywhere. */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** Times of the last answers, for the wait after which the origin is asked as well. */
export interface Latencies {
  add(ms: number): void;
  /** At least `msMin`; before enough is known, `msUnknown`. */
  hedgeAfterMs(): number;
}

const samplesMax = 100;
const samplesMin = 10;

export function createLatencies(settings: { msMin: number; msUnknown: number }): Latencies {
  const samples: number[] = [];
  return {
    add(ms) {
      samples.push(ms);
      if (samples.length > samplesMax) samples.shift();
    },
    hedgeAfterMs() {
      if (samples.length < samplesMin) return settings.msUnknown;
      const sorted = samples.toSorted((one, other) => one - other);
      const p95 = sorted[Math.floor(sorted.length * 0.95)] ?? settings.msUnknown;
      return Math.max(settings.msMin, p95);
    },
  };
}

/** A part of a block to hold against the origin; undefined for the blocks that are taken on trust. */
export function pickCheck(
  lengthBytes: number,
  chance: { oneIn: number; random: number; place: number },
): { offset: number; length: number } | undefined {
  if (chance.random >= 1 / chance.oneIn) return undefined;
  const length = Math.min(checkBytes, lengthBytes);
  return { offset: Math.floor((lengthBytes - length) * chance.place), length };
}

/** A sixty-fourth of a block: gross lies show in any part, and the origin is not asked twice for a scene. */
const checkBytes = 64 * 1024;
