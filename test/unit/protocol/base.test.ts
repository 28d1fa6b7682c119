import { describe, expect, it } from 'vitest';
import { errorTable, PerigeeError, toError } from '../../../protocol/base/errors.ts';
import { nextBelow, nextHex, seedRandom } from '../../../protocol/base/random.ts';
import { canonicalImageName } from '../../../protocol/wire/image-names.ts';

describe('the seeded generator', () => {
  it('repeats itself for a seed and differs for another', () => {
    const draw = (seed: number) => nextHex(seedRandom(seed), 40);
    expect(draw(1)).toBe(draw(1));
    expect(draw(1)).not.toBe(draw(2));
  });

  it('fills a range about evenly', () => {
    const random = seedRandom(3);
    const counts = [0, 0, 0, 0, 0];
    for (let draw = 0; draw < 5_000; draw += 1) {
      const at = nextBelow(random, counts.length);
      counts[at] = (counts[at] ?? 0) + 1;
    }
    for (const count of counts) expect(Math.abs(count - 1_000)).toBeLessThan(120);
  });
});

describe('the error table', () => {
  it('gives every code a text and a fix that are sentences', () => {
    for (const [code, entry] of Object.entries(errorTable)) {
      expect(entry.text, code).toMatch(/^[A-Z].*\.$/);
      expect(entry.fix, code).toMatch(/^[A-Z].*\.$/);
      expect(entry.httpStatus, code).toBeGreaterThanOrEqual(400);
      expect(entry.exitCode, code).toBeGreaterThan(0);
    }
  });

  it('keeps the cause of an error', () => {
    const cause = toError('thrown text');
    expect(new PerigeeError('internal', undefined, { cause }).cause).toBe(cause);
  });
});

describe('an image name', () => {
  const original = 'us.gcr.io/dl-ci-cd/images/tasks/';
  it.each([
    'public/geospatial/geospatial-public:latest',
    'public/py2/default:v2018.11.17',
    'public/alpha/py2/default:v2018.04.26',
    'public/py2-gpu/default:v2018.07.25',
    'base/task-base@sha256:00',
  ])('of DLRun, %s, is the geospatial Python 2.7 image', (path) => {
    expect(canonicalImageName(original + path)).toBe('perigee/geospatial:py2.7');
  });

  it('of any other kind stays as it is', () => {
    expect(canonicalImageName(`${original}public/py3.7/default:v2019.05.29`)).toContain('py3.7');
    expect(canonicalImageName('perigee/python:py3.11')).toBe('perigee/python:py3.11');
  });
});
