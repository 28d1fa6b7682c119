import { describe, expect, it } from 'vitest';
import { mapsRootToRoot, mapsSlotUids } from '../../../../node-agent/runner/slot-identity.ts';

describe('root can become the user of a slot', () => {
  it.each([
    ['on the machine itself', '         0          0 4294967295\n', true],
    ['in a container with a range of uids', '0 100000 65536\n', true],
    ['nowhere where only its own uid is mapped', '         0          0          1\n', false],
    ['not when the second range ends before them', '0 1000 1\n1 100000 61001\n', false],
    ['when a later range has them', '0 1000 1\n1 100000 65536\n', true],
    ['not without any map', '', false],
  ])('%s', (_, uidMap, expected) => {
    expect(mapsSlotUids(uidMap)).toBe(expected);
  });
});

describe('root in a user namespace', () => {
  it.each([
    ['is the machine’s root when it is mapped to it', '         0          0          1\n', true],
    ['is an ordinary user when it is mapped to one', '         0       1000          1\n', false],
    ['is not told by another line', '0 1000 1\n1 0 1\n', false],
  ])('%s', (_, uidMap, expected) => {
    expect(mapsRootToRoot(uidMap)).toBe(expected);
  });
});
