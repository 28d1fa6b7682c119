import { tmpdir } from 'node:os';
import { relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readMounts } from '../../../coordinator/read-mounts.ts';

describe('readMounts', () => {
  it('gives folders from the root on, for nodes run elsewhere', () => {
    const here = relative(process.cwd(), tmpdir());
    expect(readMounts([`scenes=${here}`, 'all=/'])).toEqual([`scenes=${tmpdir()}`, 'all=/']);
  });

  it.each([
    [['/srv'], '"/srv" is not NAME=DIR'],
    [['=/'], 'is not NAME=DIR'],
    [['a='], 'is not NAME=DIR'],
    [['A.b=/'], '"A.b" is no name'],
    [['a=/', 'a=/'], 'a is given twice'],
    [['a=/nowhere/at/all'], '/nowhere/at/all is not a folder on this machine'],
    [['a=/etc/hostname'], '/etc/hostname is not a folder'],
  ])('refuses %j', (values, said) => {
    expect(() => readMounts(values)).toThrow(said);
  });
});
