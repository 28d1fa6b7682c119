/** Access tokens and join tokens: made, listed and revoked by operators. */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { JoinTokenView, Page, TokenView } from '../../../protocol/wire/api.ts';
import { nameCharsMax } from '../../../protocol/wire/limits.ts';
import { chooseJoinAddress } from '../../join-address.ts';
import type { StoredToken } from '../../store/port.ts';
import type { TokenPurpose } from '../../tokens.ts';
import { makeToken } from '../../tokens.ts';
import { checkNamespaceName, requireOperator } from '../caller.ts';
import type { Input } from '../input/fields.ts';
import {
  readChoiceOr,
  readIntegerOr,
  readNumberOr,
  readText,
  readTextOr,
  readTextsOrNull,
  refused,
  refuseUnknownFields,
} from '../input/fields.ts';
import type { Context } from '../services.ts';
import { formatTime, formatTimeOrNull } from '../views/times.ts';
import { getNamespace } from './namespaces.ts';

/** Ten years: longer is a mistake for "for ever", which is said by leaving it out. */
const ttlSeconds = { min: 1, max: 10 * 366 * 86_400, fallback: null } as const;
const usesMax = 1_000_000;
const joinNamespacesMax = 100;

/** Makes an access token; its text is answered once and never again. */
export async function createToken(
  context: Context,
  input: Input,
): Promise<{ id: string; token: string }> {
  requireOperator(context.caller);
  refuseUnknownFields(input, ['role', 'namespace', 'label', 'ttlSeconds'], 'A token');
  const role = readChoiceOr(input, 'role', {
    choices: ['user', 'read', 'operator'],
    fallback: null,
  });
  if (role === null) throw refused('role', 'must be "user", "read" or "operator"', undefined);
  const namespace = checkNamespaceName(readText(input, 'namespace', 200));
  await getNamespace(context, namespace);
  const made = makeToken('access');
  await context.deps.store.saveToken({
    ...readCommon(context, input),
    id: made.id,
    secretHash: made.secretHash,
    purpose: 'access',
    role,
    namespaces: [namespace],
    usesLeft: null,
  });
  return { id: made.id, token: made.text };
}

/** Access tokens, without their secrets. */
export async function listTokens(context: Context): Promise<Page<TokenView>> {
  requireOperator(context.caller);
  const tokens = await context.deps.store.listTokens('access');
  return { items: tokens.flatMap(viewToken), next: null };
}

/** Ends an access token at once, open streams included. */
export function revokeToken(context: Context, input: Input): Promise<{ id: string }> {
  return revoke(context, input, 'access');
}

/** Makes a join token, and the address that an agent joins with it. */
export async function createJoinToken(
  context: Context,
  input: Input,
): Promise<{ id: string; token: string; join: string }> {
  requireOperator(context.caller);
  refuseUnknownFields(input, ['namespaces', 'label', 'ttlSeconds', 'uses'], 'A join token');
  const names = readTextsOrNull(input, 'namespaces', joinNamespacesMax);
  if (names?.length === 0)
    throw refused('namespaces', 'must name one, or be left out for all', names);
  const namespaces = names?.map(checkNamespaceName) ?? null;
  for (const namespace of namespaces ?? []) await getNamespace(context, namespace);
  const made = makeToken('join');
  await context.deps.store.saveToken({
    ...readCommon(context, input),
    id: made.id,
    secretHash: made.secretHash,
    purpose: 'join',
    role: null,
    namespaces,
    usesLeft: readIntegerOr(input, 'uses', { min: 1, max: usesMax, fallback: null }),
  });
  return { id: made.id, token: made.text, join: chooseJoinAddress(context.deps.mesh.addresses()) };
}

/** Join tokens, without their secrets. */
export async function listJoinTokens(context: Context): Promise<Page<JoinTokenView>> {
  requireOperator(context.caller);
  const tokens = await context.deps.store.listTokens('join');
  return { items: tokens.map(viewJoinToken), next: null };
}

/** Ends a join token: nodes that were admitted stay, no further one is. */
export function revokeJoinToken(context: Context, input: Input): Promise<{ id: string }> {
  return revoke(context, input, 'join');
}

async function revoke(
  context: Context,
  input: Input,
  purpose: TokenPurpose,
): Promise<{ id: string }> {
  requireOperator(context.caller);
  const id = readText(input, 'id', 200);
  const known = await context.deps.store.listTokens(purpose);
  // By the purpose too: an access token is not revoked by a slip in a join token's list.
  const isKnown = known.some((token) => token.id === id);
  if (!isKnown || !(await context.deps.store.revokeToken(id, context.deps.clock.nowMs()))) {
    throw new PerigeeError('not_found', `There is no ${purpose} token "${id.slice(0, 40)}".`, {
      fix: 'The list of tokens shows their ids.',
    });
  }
  context.authenticator.forget();
  await context.streams.recheck();
  return { id };
}

function readCommon(
  context: Context,
  input: Input,
): Pick<StoredToken, 'label' | 'createdAtMs' | 'expiresAtMs' | 'revokedAtMs'> {
  const createdAtMs = context.deps.clock.nowMs();
  const ttl = readNumberOr(input, 'ttlSeconds', ttlSeconds);
  return {
    label: readTextOr(input, 'label', { charsMax: nameCharsMax, fallback: '' }),
    createdAtMs,
    expiresAtMs: ttl === null ? null : createdAtMs + Math.round(ttl * 1000),
    revokedAtMs: null,
  };
}

function viewToken(token: StoredToken): TokenView[] {
  const namespace = token.namespaces?.[0];
  if (token.role === null || namespace === undefined) return [];
  return [{ ...viewCommon(token), role: token.role, namespace }];
}

function viewJoinToken(token: StoredToken): JoinTokenView {
  const namespaces = token.namespaces === null ? null : [...token.namespaces];
  return { ...viewCommon(token), namespaces, usesLeft: token.usesLeft };
}

function viewCommon(
  token: StoredToken,
): Pick<TokenView, 'id' | 'label' | 'createdAt' | 'expiresAt' | 'revokedAt'> {
  return {
    id: token.id,
    label: token.label,
    createdAt: formatTime(token.createdAtMs),
    expiresAt: formatTimeOrNull(token.expiresAtMs),
    revokedAt: formatTimeOrNull(token.revokedAtMs),
  };
}
