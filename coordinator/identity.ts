/** What the directory keeps in files of mode 0600: its own tokens, shown to whoever may read them. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { toError } from '../protocol/base/errors.ts';
import type { NamespaceName } from '../protocol/wire/ids.ts';
import type { Store, StoredToken } from './store/port.ts';
import { hashToken, makeToken } from './tokens.ts';

/** Namespace of the directory's own token (decision 21). */
export const defaultNamespace = 'default' as NamespaceName;

export interface DirectoryTokens {
  /** Operator, in namespace `default`. */
  access: string;
  /** For any number of nodes, for every namespace. */
  join: string;
}

/**
 * The directory's own tokens: read from its files, made anew when a file is missing or its token was
 * revoked.
 */
export async function readDirectoryTokens(
  store: Store,
  options: { folder: string; nowMs: number },
): Promise<DirectoryTokens> {
  await store.createNamespace(defaultNamespace, options.nowMs);
  const access = await readToken(store, {
    ...options,
    file: 'token',
    token: { purpose: 'access', role: 'operator', namespaces: [defaultNamespace] },
  });
  const joinToken = await readToken(store, {
    ...options,
    file: 'join-token',
    token: { purpose: 'join', role: null, namespaces: null },
  });
  return { access, join: joinToken };
}

async function readToken(
  store: Store,
  options: {
    folder: string;
    nowMs: number;
    file: string;
    token: Pick<StoredToken, 'purpose' | 'role' | 'namespaces'>;
  },
): Promise<string> {
  const path = join(options.folder, options.file);
  const kept = readText(path);
  if (kept !== undefined) {
    const found = await store.findTokenByHash(hashToken(kept));
    if (found !== undefined && found.revokedAtMs === null) return kept;
  }
  const made = makeToken(options.token.purpose);
  await store.saveToken({
    ...options.token,
    id: made.id,
    secretHash: made.secretHash,
    label: `this directory’s own ${options.file}`,
    createdAtMs: options.nowMs,
    expiresAtMs: null,
    revokedAtMs: null,
    usesLeft: null,
  });
  // The store first: a token that is in the file alone would be refused for ever.
  writeFileSync(path, `${made.text}\n`, { mode: 0o600 });
  return made.text;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (caught) {
    const error = toError(caught);
    if ('code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
