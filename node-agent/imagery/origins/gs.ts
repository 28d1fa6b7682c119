/** Origins of Google Cloud Storage by its JSON API. Loaded when the first `gs:` asset is read. */
import { GoogleAuth } from 'google-auth-library';
import type { GsCredentials } from './credentials.ts';
import type { HttpAnswer, HttpClient } from './http-request.ts';
import type { Origin } from './port.ts';
import { OriginFailure } from './port.ts';
import { checkRanged, refusal } from './ranged-answer.ts';

const scope = 'https://www.googleapis.com/auth/devstorage.read_only';
const metadataBytesMax = 256 * 1024;

export function createGsOrigin(client: HttpClient, credentials: GsCredentials): Origin {
  const makeAuth = (): GoogleAuth | null => {
    if (credentials.credentials !== null) {
      return new GoogleAuth({ credentials: credentials.credentials, scopes: [scope] });
    }
    if (credentials.keyFile !== null) {
      return new GoogleAuth({ keyFile: credentials.keyFile, scopes: [scope] });
    }
    return credentials.ambient ? new GoogleAuth({ scopes: [scope] }) : null;
  };
  let auth = makeAuth();
  /** A token that is being fetched: all who need one wait for it. */
  let coming: { of: GoogleAuth; token: Promise<string> } | undefined;
  const takeToken = (from: GoogleAuth): Promise<string> => {
    if (coming?.of === from) return coming.token;
    const mine = { of: from, token: tokenOf(from) };
    coming = mine;
    const end = (): void => {
      if (coming === mine) coming = undefined;
    };
    mine.token.then(end, end);
    return mine.token;
  };
  const ask = async (
    url: string,
    options: { headers: Record<string, string>; bodyBytesMax: number; signal: AbortSignal },
  ): Promise<HttpAnswer> => {
    const headers: Record<string, string> = { ...options.headers };
    if (auth !== null) headers['authorization'] = `Bearer ${await takeToken(auth)}`;
    if (credentials.userProject !== null) headers['x-goog-user-project'] = credentials.userProject;
    return client.ask(url, { ...options, method: 'GET', headers });
  };
  return {
    async stat(uri, signal) {
      const url = objectUrl(credentials.endpoint, uri);
      const options = { headers: {}, bodyBytesMax: metadataBytesMax, signal };
      const answer = await ask(`${url}?fields=size,generation`, options);
      if (answer.status !== 200) throw refusal(answer);
      return readFacts(answer.body);
    },
    async read(uri, read) {
      const { offset, length } = read.range;
      // A generation never changes: it is gone, or it is the same bytes.
      const url = `${objectUrl(credentials.endpoint, uri)}?alt=media&generation=${read.version}`;
      const answer = await ask(url, {
        headers: { range: `bytes=${offset}-${offset + length - 1}` },
        bodyBytesMax: length,
        signal: read.signal,
      });
      if (answer.status === 404) {
        throw new OriginFailure('changed', `generation ${read.version} is gone`, {
          status: answer.status,
          body: answer.body,
        });
      }
      return checkRanged(answer, read, () => null);
    },
    renew() {
      auth = makeAuth();
    },
    close: () => undefined,
  };
}

async function tokenOf(auth: GoogleAuth): Promise<string> {
  try {
    const token = await auth.getAccessToken();
    if (typeof token === 'string' && token !== '') return token;
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new OriginFailure('faulty', 'no access token could be had', { body: message, cause });
  }
  throw new OriginFailure('denied', 'the credentials give no access token');
}

function objectUrl(endpoint: string, uri: string): string {
  const { host, pathname } = new URL(uri);
  let key: string;
  try {
    key = decodeURIComponent(pathname.slice(1));
  } catch (cause) {
    throw new OriginFailure('invalid', `${uri} is no object's name`, { cause });
  }
  return `${endpoint}/storage/v1/b/${encodeURIComponent(host)}/o/${encodeURIComponent(key)}`;
}

function readFacts(body: Buffer): { sizeBytes: number; version: string } {
  let found: unknown;
  try {
    found = JSON.parse(body.toString('utf8'));
  } catch (cause) {
    throw new OriginFailure('faulty', 'the object is described by no JSON', { body, cause });
  }
  if (typeof found === 'object' && found !== null && 'size' in found && 'generation' in found) {
    const [sizeBytes, version] = [Number(found.size), String(found.generation)];
    if (Number.isSafeInteger(sizeBytes) && /^\d+$/.test(version)) return { sizeBytes, version };
  }
  throw new OriginFailure('faulty', 'the object is described without size and generation', {
    body,
  });
}
