/**
 * The agent's credentials for imagery, by namespace, from one JSON file that only the agent reads:
 * `{"namespaces": {"team-a": [{"match": "s3://scenes/", "s3": {…}}], "*": […]}}`. The longest
 * `match` that begins the URI counts, a namespace's own before those of `*`.
 */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { PerigeeError, toError } from '../../../protocol/base/errors.ts';
import type { NamespaceName } from '../../../protocol/wire/ids.ts';

export interface S3Credentials {
  accessKeyId: string | null;
  secretAccessKey: string | null;
  sessionToken: string | null;
  region: string | null;
  endpoint: string | null;
  pathStyle: boolean;
  requesterPays: boolean;
  /** The machine's own credentials, as the AWS SDK finds them. */
  ambient: boolean;
}

export interface GsCredentials {
  /** The text of a key file, as an object. */
  credentials: Record<string, string> | null;
  keyFile: string | null;
  endpoint: string;
  userProject: string | null;
  ambient: boolean;
}

export type OriginCredentials =
  | { kind: 'none' }
  | { kind: 's3'; s3: S3Credentials }
  | { kind: 'gs'; gs: GsCredentials }
  | { kind: 'http'; headers: Record<string, string> };

export interface CredentialEntry {
  namespace: string;
  match: string;
  credentials: OriginCredentials;
  /**
   * Whose bytes are whose: what is read under one scope is never given to another. It names the
   * entry, not the secret, which could be guessed from a hash.
   */
  scope: string;
}

export const publicScope = 'public';
export const openS3: S3Credentials = {
  accessKeyId: null,
  secretAccessKey: null,
  sessionToken: null,
  region: null,
  endpoint: null,
  pathStyle: true,
  requesterPays: false,
  ambient: false,
};
export const openGs: GsCredentials = {
  credentials: null,
  keyFile: null,
  endpoint: 'https://storage.googleapis.com',
  userProject: null,
  ambient: false,
};

/** The entry for a URI on behalf of a namespace; undefined: it is read as everybody may. */
export function findEntry(
  entries: readonly CredentialEntry[],
  request: { namespace: NamespaceName; uri: string },
): CredentialEntry | undefined {
  const fitting = entries.filter(
    (entry) =>
      (entry.namespace === '*' || entry.namespace === request.namespace) &&
      request.uri.startsWith(entry.match),
  );
  fitting.sort(
    (one, other) =>
      Number(one.namespace === '*') - Number(other.namespace === '*') ||
      other.match.length - one.match.length,
  );
  return fitting[0];
}

/**
 * Reads the file; none gives no entries.
 * @throws PerigeeError invalid_request with the field at fault, or when others may read the file.
 */
export function readCredentials(path: string | null): CredentialEntry[] {
  if (path === null) return [];
  let text: string;
  try {
    if ((statSync(path).mode & 0o077) !== 0) {
      throw invalid(`${path} can be read by others`, `chmod 600 ${path}`);
    }
    text = readFileSync(path, 'utf8');
  } catch (caught) {
    if (caught instanceof PerigeeError) throw caught;
    throw invalid(`${path} cannot be read: ${toError(caught).message}`, 'Correct the path.');
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    // The parser's message quotes the text, which holds secrets.
    throw invalid(`${path} is no JSON`, 'docs/imagery.md has an example.');
  }
  return parseCredentials(parsed);
}

/** @throws PerigeeError invalid_request with the field at fault. */
export function parseCredentials(value: unknown): CredentialEntry[] {
  const namespaces = fieldsOf(fieldsOf(value, 'the file')['namespaces'], 'namespaces');
  return Object.entries(namespaces).flatMap(([namespace, list]) => {
    if (!Array.isArray(list)) throw wrong(`namespaces.${namespace}`, 'a list');
    return list.map((one: unknown, at) =>
      parseEntry(namespace, one, `namespaces.${namespace}[${at}]`),
    );
  });
}

function parseEntry(namespace: string, value: unknown, path: string): CredentialEntry {
  const fields = fieldsOf(value, path);
  const match = fields['match'];
  if (typeof match !== 'string' || !/^(s3|gs|https?):\/\/[^/]+\//.test(match)) {
    // Without the slash, s3://scenes would fit s3://scenes-of-another as well.
    throw wrong(`${path}.match`, 'the beginning of a URI, with a slash after the host or bucket');
  }
  const kind = match.startsWith('s3:') ? 's3' : match.startsWith('gs:') ? 'gs' : 'http';
  const given = fieldsOf(fields[kind], `${path}.${kind}`);
  const text = (name: string): string | null => {
    const found = given[name];
    if (found === undefined || found === null) return null;
    if (typeof found !== 'string' || found === '') throw wrong(`${path}.${kind}.${name}`, 'text');
    return found;
  };
  const flag = (name: string, byDefault: boolean): boolean => {
    const found = given[name] ?? byDefault;
    if (typeof found !== 'boolean') throw wrong(`${path}.${kind}.${name}`, 'true or false');
    return found;
  };
  const endpoint = text('endpoint');
  const scope = createHash('sha256')
    .update([namespace, match, endpoint ?? ''].join('\0'))
    .digest('hex')
    .slice(0, 32);
  return { namespace, match, scope, credentials: parseKind() };

  function parseKind(): OriginCredentials {
    switch (kind) {
      case 's3':
        return {
          kind,
          s3: {
            accessKeyId: text('accessKeyId'),
            secretAccessKey: text('secretAccessKey'),
            sessionToken: text('sessionToken'),
            region: text('region'),
            endpoint,
            pathStyle: flag('pathStyle', true),
            requesterPays: flag('requesterPays', false),
            ambient: flag('ambient', false),
          },
        };
      case 'gs':
        return {
          kind,
          gs: {
            credentials:
              given['credentials'] === undefined
                ? null
                : textsOf(given['credentials'], `${path}.gs.credentials`),
            keyFile: text('keyFile'),
            endpoint: endpoint ?? openGs.endpoint,
            userProject: text('userProject'),
            ambient: flag('ambient', false),
          },
        };
      default:
        return { kind: 'http', headers: textsOf(given['headers'], `${path}.http.headers`) };
    }
  }
}

function textsOf(value: unknown, path: string): Record<string, string> {
  return fieldsOf(value, path) as Record<string, string>;
}

function fieldsOf(value: unknown, path: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw wrong(path, 'an object');
}

function wrong(path: string, expected: string): PerigeeError {
  return invalid(`${path} is not ${expected}`, 'docs/imagery.md has an example.');
}

function invalid(what: string, fix: string): PerigeeError {
  return new PerigeeError('invalid_request', `--imagery-credentials: ${what}.`, { fix });
}
