/** Origins over `http:` and `https:`, with the headers that a namespace's credentials give. */
import type { HttpAnswer, HttpClient } from './http-request.ts';
import type { Origin } from './port.ts';
import { isOneLook, nameLook, OriginFailure } from './port.ts';
import { checkRanged, refusal } from './ranged-answer.ts';

export function createHttpOrigin(
  client: HttpClient,
  headers: Readonly<Record<string, string>>,
): Origin {
  return {
    async stat(uri, signal) {
      const head = await client.ask(uri, { method: 'HEAD', headers, bodyBytesMax: 0, signal });
      const length = Number(head.headers['content-length']);
      if (head.status === 200 && Number.isSafeInteger(length) && length >= 0) {
        return { sizeBytes: length, version: versionOf(head, length) ?? nameLook() };
      }
      if (head.status === 404 || head.status >= 500 || head.status === 429) throw refusal(head);
      // Signed URLs and some servers know GET alone: its first byte tells the same.
      const ask = { method: 'GET', bodyBytesMax: 1, signal } as const;
      const first = await client.ask(uri, { ...ask, headers: { ...headers, range: 'bytes=0-0' } });
      if (first.status !== 206) throw refusal(first);
      const size = Number(/\/(\d+)$/.exec(first.headers['content-range'] ?? '')?.[1]);
      if (!Number.isSafeInteger(size)) {
        throw new OriginFailure('invalid', 'the origin does not tell the size of the asset');
      }
      return { sizeBytes: size, version: versionOf(first, size) ?? nameLook() };
    },
    async read(uri, read) {
      const { offset, length } = read.range;
      const answer = await client.ask(uri, {
        method: 'GET',
        headers: {
          ...headers,
          range: `bytes=${offset}-${offset + length - 1}`,
          // A weak tag never matches; what it names is compared in the answer.
          ...(read.version.startsWith('"') ? { 'if-match': read.version } : {}),
        },
        bodyBytesMax: length,
        signal: read.signal,
      });
      // Within one look the size is all that can be compared.
      const unnamed = isOneLook(read.version) ? read.version : 'without a version';
      return checkRanged(answer, read, (found, size) => versionOf(found, size) ?? unnamed);
    },
    renew: () => undefined,
    close: () => undefined,
  };
}

/** Null where the origin tells no version. */
function versionOf(answer: HttpAnswer, sizeBytes: number): string | null {
  const { etag } = answer.headers;
  if (etag !== undefined && etag !== '') return etag;
  const modified = answer.headers['last-modified'];
  return modified === undefined ? null : `time:${modified}:${sizeBytes}`;
}
