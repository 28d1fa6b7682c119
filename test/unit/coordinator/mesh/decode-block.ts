import { indexBlock, payloadAt } from '../../../../protocol/wire/block.ts';
import type { Grant } from '../../../../protocol/wire/messages.ts';

/** The payloads of a grant, as text. */
export function decodeBlock(grant: Grant | undefined): string[] {
  if (grant === undefined) return [];
  const offsets = indexBlock(grant.block, grant.count);
  return Array.from({ length: grant.count }, (_, index) =>
    Buffer.from(payloadAt(grant.block, offsets, index)).toString(),
  );
}
