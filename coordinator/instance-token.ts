/**
 * Join tokens for machines that a provider makes: of one use, soon over, and good for one instance
 * alone. The instance stands in the token's label, so that no table has to say it again.
 */
import type { InstanceId } from '../protocol/wire/ids.ts';
import type { Store, StoredToken } from './store/port.ts';
import { makeToken } from './tokens.ts';

const prefix = 'instance ';

/** Makes and stores a token; only its text leaves. */
export async function makeInstanceToken(
  store: Pick<Store, 'saveToken'>,
  options: { instance: InstanceId; nowMs: number; lifeMs: number },
): Promise<string> {
  const token = makeToken('join');
  await store.saveToken({
    id: token.id,
    purpose: 'join',
    secretHash: token.secretHash,
    label: `${prefix}${options.instance}`,
    role: null,
    namespaces: null,
    createdAtMs: options.nowMs,
    expiresAtMs: options.nowMs + options.lifeMs,
    revokedAtMs: null,
    usesLeft: 1,
  });
  return token.text;
}

/** The instance that a token is bound to; null for one that people made. */
export function instanceOfToken(token: Pick<StoredToken, 'label'>): InstanceId | null {
  if (!token.label.startsWith(prefix)) return null;
  return token.label.slice(prefix.length) as InstanceId;
}
