import { expect, it } from 'vitest';
import {
  chooseImage,
  type KnownImage,
} from '../../../../coordinator/gateway/images/known-images.ts';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import type { ImageDigest } from '../../../../protocol/wire/ids.ts';

function image(names: string[], version: string): KnownImage {
  const digest =
    `sha256:${'0'.repeat(60)}${version.replace('.', '').padEnd(4, '0')}` as ImageDigest;
  const python = { implementation: 'CPython', version: `${version}.1` };
  const made = {
    kind: 'builtin',
    state: 'ready',
    base: null,
    createdAtMs: null,
    failure: null,
  } as const;
  return { digest, names, python, arch: 'x64', sizeBytes: 1, nodes: 1, ...made };
}

const served = [
  image(['perigee/geospatial:py2.7'], '2.7'),
  image(['perigee/geospatial:py3.11', 'perigee/python:py3.11'], '3.11'),
];

function refusal(name: string | null, version: string): PerigeeError {
  try {
    chooseImage(served, { image: name, python: { implementation: 'CPython', version } });
  } catch (caught) {
    if (caught instanceof PerigeeError) return caught;
  }
  throw new Error('nothing was refused');
}

it('names the minors served, and how to get the one that is not', () => {
  const error = refusal(null, '3.13.5');
  expect(error.code).toBe('version_mismatch');
  expect(error.message).toContain('This mesh serves CPython 2.7, CPython 3.11.');
  expect(error.fix).toContain(
    'run `npm run setup -- --image perigee/geospatial:py3.13` where the nodes are and choose ' +
      'image="perigee/geospatial:py3.13"',
  );
});

it('offers the image served for the function’s own minor', () => {
  const error = refusal('perigee/geospatial:py2.7', '3.11.2');
  expect(error.fix).toContain('choose image="perigee/geospatial:py3.11"');
});

it('names no set-up for a minor that set-up has no image of', () => {
  const error = refusal('perigee/geospatial:py3.11', '3.12.1');
  expect(error.fix).not.toContain('npm run setup');
  expect(error.message).toContain('CPython 2.7, CPython 3.11');
});

it('says how to set up an image that is known and not served', () => {
  const error = refusal('perigee/geospatial:py3.9', '3.9.2');
  expect(error.code).toBe('image_unknown');
  expect(error.fix).toContain('npm run setup -- --image perigee/geospatial:py3.9');
});

it('takes the geospatial image of the function’s minor when none is named', () => {
  const python = { implementation: 'CPython', version: '3.9.2' };
  const known = [...served, image(['perigee/geospatial:py3.9'], '3.9')];
  expect(chooseImage(known, { image: null, python }).name).toBe('perigee/geospatial:py3.9');
});
