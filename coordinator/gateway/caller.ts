/** Who calls, and what that token may do. Every operation asks here before anything else. */
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { NamespaceName } from '../../protocol/wire/ids.ts';
import { isNamespaceName } from '../../protocol/wire/ids.ts';
import type { Store, StoredToken, TokenRole } from '../store/port.ts';
import { findTokenPurpose, hashToken } from '../tokens.ts';
import type { Input } from './input/fields.ts';
import { readTextOr } from './input/fields.ts';

/** A token that was found good. */
export interface Caller {
  tokenId: string;
  role: TokenRole;
  namespace: NamespaceName;
  expiresAtMs: number | null;
}

/** Finds out who a token stands for. */
export interface Authenticator {
  /** @throws PerigeeError token_missing, token_wrong, token_expired, token_revoked */
  authenticate(token: string | undefined): Promise<Caller>;
  /** Forgets what was looked up; called when tokens are revoked. */
  forget(): void;
}

const cachedTokensMax = 1_000;

/** Tokens by their hash, looked up once: the hot path would pay a query per request. */
export function createAuthenticator(
  store: Pick<Store, 'findTokenByHash'>,
  clock: { nowMs(): number },
): Authenticator {
  let cache = new Map<string, StoredToken>();
  let revision = 0;
  const find = async (hash: string): Promise<StoredToken | undefined> => {
    const cached = cache.get(hash);
    if (cached !== undefined) return cached;
    const asked = revision;
    const found = await store.findTokenByHash(hash);
    // A token revoked while the look-up was under way must not come back into the cache.
    if (found !== undefined && asked === revision) {
      if (cache.size >= cachedTokensMax) cache = new Map();
      cache.set(hash, found);
    }
    return found;
  };
  return {
    async authenticate(token) {
      if (token === undefined || token === '') throw new PerigeeError('token_missing');
      if (findTokenPurpose(token) === 'join') {
        throw new PerigeeError('token_wrong', 'That is a join token, not an access token.');
      }
      const found = await find(hashToken(token));
      const namespace = found?.namespaces?.[0];
      if (found?.purpose !== 'access' || found.role === null || namespace === undefined) {
        throw new PerigeeError('token_wrong');
      }
      if (found.revokedAtMs !== null) throw new PerigeeError('token_revoked');
      const caller: Caller = {
        tokenId: found.id,
        role: found.role,
        namespace,
        expiresAtMs: found.expiresAtMs,
      };
      refuseExpired(caller, clock.nowMs());
      return caller;
    },
    forget() {
      cache = new Map();
      revision += 1;
    },
  };
}

/** @throws PerigeeError token_expired */
export function refuseExpired(caller: Caller, nowMs: number): void {
  if (caller.expiresAtMs !== null && caller.expiresAtMs <= nowMs) {
    throw new PerigeeError('token_expired');
  }
}

/** @throws PerigeeError forbidden unless the token is an operator's. */
export function requireOperator(caller: Caller): void {
  if (caller.role !== 'operator') {
    throw new PerigeeError('forbidden', 'Only an operator may do that.');
  }
}

/** @throws PerigeeError forbidden for a token that may only read. */
export function requireWriter(caller: Caller): void {
  if (caller.role === 'read') {
    throw new PerigeeError('forbidden', 'This token may read, not change anything.');
  }
}

/**
 * The namespace that a call acts in: the token's own, or the one that an operator names.
 * @throws PerigeeError forbidden, invalid_request
 */
export function readNamespace(caller: Caller, input: Input): NamespaceName {
  const named = readTextOr(input, 'namespace', { charsMax: 200, fallback: null });
  if (named === null || named === caller.namespace) return caller.namespace;
  if (caller.role !== 'operator') {
    throw new PerigeeError('forbidden', `This token acts in ${caller.namespace} only.`);
  }
  return checkNamespaceName(named);
}

/**
 * As `readNamespace`, for what users wrote or computed: operators see metadata of other
 * namespaces, never payloads (decision 18).
 * @throws PerigeeError forbidden, invalid_request
 */
export function readOwnNamespace(caller: Caller, input: Input): NamespaceName {
  const namespace = readNamespace(caller, input);
  if (namespace !== caller.namespace) {
    throw new PerigeeError(
      'forbidden',
      `Functions, arguments, results and logs of ${namespace} are read with a token of ${namespace}.`,
    );
  }
  return namespace;
}

/** @throws PerigeeError invalid_request */
export function checkNamespaceName(name: string): NamespaceName {
  if (isNamespaceName(name)) return name;
  throw new PerigeeError('invalid_request', `"${name.slice(0, 80)}" cannot name a namespace.`, {
    fix: 'Use 1-63 of a-z, 0-9 and inner hyphens.',
    details: { field: 'namespace' },
  });
}
