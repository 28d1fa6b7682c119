import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { ImageryLink } from '../../../../node-agent/imagery/imagery-link.ts';
import { createImageryLink } from '../../../../node-agent/imagery/imagery-link.ts';
import { createOriginShares } from '../../../../node-agent/imagery/origins/origin-shares.ts';
import type { AssetId, NodeId } from '../../../../protocol/wire/ids.ts';
import type { AgentMessage, LocatedNode } from '../../../../protocol/wire/messages.ts';

const red = 'aaaaaaaaaaaaaaaa' as AssetId;
const blue = 'bbbbbbbbbbbbbbbb' as AssetId;
const signal = AbortSignal.timeout(60_000);

let nowMs = 0;
let link: ImageryLink;
let said: (AgentMessage | string)[];
let located: LocatedNode[];

beforeEach(() => {
  vi.useFakeTimers();
  nowMs = 0;
  said = [];
  located = [];
  const now = (): number => nowMs;
  const origins = createOriginShares(now, { requestsMax: 32, perSecondMax: 500 });
  link = createImageryLink(now, origins, { epoch: 7, gatherMs: 1_000, readingMs: 120_000 });
  link.connect({
    peers: {
      async locate() {
        said.push('locate');
        return located;
      },
      isMember: async (peer) => peer === 'friend',
    },
    send: (message) => said.push(message),
  });
  return () => vi.useRealTimers();
});

const holdings = (sequence: number, fields: object) => ({
  kind: 'holdings',
  epoch: 7,
  sequence,
  full: false,
  add: [],
  drop: [],
  ...fields,
});

describe('the line of the imagery cache', () => {
  it('tells all at the opening, then gathered changes, each once', () => {
    link.heldChanged(red, 'key', 10);
    vi.advanceTimersByTime(5_000);
    expect(said).toEqual([]);
    link.tellAll();
    link.heldChanged(red, 'key', 20);
    link.heldChanged(red, 'other', 5);
    link.heldChanged(blue, 'key', 1);
    link.heldChanged(blue, 'key', 0);
    vi.advanceTimersByTime(999);
    expect(said).toEqual([holdings(1, { full: true, add: [{ asset: red, bytes: 10 }] })]);
    vi.advanceTimersByTime(1);
    link.heldChanged(red, 'key', 0);
    link.heldChanged(red, 'other', 0);
    vi.advanceTimersByTime(5_000);
    expect(said.slice(1)).toEqual([
      holdings(2, { add: [{ asset: red, bytes: 25 }] }),
      holdings(3, { drop: [red] }),
    ]);
  });

  it('says that an asset is read before it asks who else does, and forgets it in the end', async () => {
    await expect(link.enter(red, signal)).rejects.toThrow('away');
    link.tellAll();
    const node = { node: 'n' as NodeId, addresses: ['/ip4/192.0.2.1/tcp/1'] };
    located = [
      { ...node, namespaces: null, images: [], assets: [red] },
      { ...node, addresses: [], namespaces: null, images: [], assets: [red] },
    ];
    expect(await link.enter(blue, signal)).toEqual([node]);
    expect(said).toEqual([
      holdings(1, { full: true, add: [{ asset: red, bytes: 0 }] }),
      holdings(2, { add: [{ asset: blue, bytes: 0 }] }),
      'locate',
    ]);
    nowMs = 120_000;
    link.heldChanged(blue, 'key', 9);
    vi.advanceTimersByTime(1_000);
    expect(said[3]).toEqual(holdings(3, { add: [{ asset: blue, bytes: 9 }], drop: [red] }));
  });

  it('is silent without a session', async () => {
    link.tellAll();
    link.sessionLost();
    link.heldChanged(red, 'key', 10);
    vi.advanceTimersByTime(5_000);
    expect(said).toHaveLength(1);
    await expect(link.enter(red, signal)).rejects.toThrow('away');
    expect(await link.isMember('friend')).toBe(true);
    expect(await link.isMember('stranger')).toBe(false);
  });
});
