/** The spelling of assets' URIs, by the cases that the Python package is held against too. */
import { expect, it } from 'vitest';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import { assetId, canonicalUri } from '../../../../protocol/net/asset-id.ts';
import cases from '../../../contract/asset-ids.json' with { type: 'json' };

it.each(cases)('spells $uri canonically', ({ uri, canonical, id }) => {
  if (canonical === null) {
    expect(() => assetId(uri)).toThrow(PerigeeError);
    return;
  }
  expect(canonicalUri(uri)).toBe(canonical);
  expect(canonicalUri(canonical)).toBe(canonical);
  expect(assetId(uri)).toBe(id);
});
