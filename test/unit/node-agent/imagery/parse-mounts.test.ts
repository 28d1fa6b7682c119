import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseMounts } from '../../../../node-agent/imagery/parse-mounts.ts';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'perigee-mounts-test-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('parseMounts', () => {
  it('reads names and folders', async () => {
    expect(await parseMounts([`landsat=${folder}`, 'all=/'])).toEqual([
      { name: 'landsat', path: folder },
      { name: 'all', path: '/' },
    ]);
  });

  it.each([
    ['landsat', 'is not NAME=DIR'],
    ['=/srv', 'is not NAME=DIR'],
    ['Land/sat=/srv', "'Land/sat' is no name"],
    ['..=/srv', "'..' is no name"],
    ['landsat=srv', "'srv' is not an absolute path"],
    ['landsat=/no/such/folder', "'/no/such/folder' is not a folder"],
  ])('refuses %s', async (value, message) => {
    await expect(parseMounts([value])).rejects.toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining(message),
    });
  });

  it('refuses a name that is given twice', async () => {
    await expect(parseMounts(['a=/', 'a=/'])).rejects.toThrow('a is given twice');
  });
});
