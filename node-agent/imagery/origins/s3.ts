/** Origins of S3 and everything that speaks its API. Loaded when the first `s3:` asset is read. */
import type { GetObjectCommandOutput, S3ClientConfig } from '@aws-sdk/client-s3';
import { GetObjectCommand, HeadObjectCommand, S3Client } from '@aws-sdk/client-s3';
import type { S3Credentials } from './credentials.ts';
import type { Origin } from './port.ts';
import { failureOfStatus, OriginFailure } from './port.ts';

/** @param stallMsMax how long a request may take to answer, and its body to go on. */
export function createS3Origin(credentials: S3Credentials, stallMsMax: number): Origin {
  let client = new S3Client(configOf(credentials, stallMsMax));
  const payer = credentials.requesterPays ? ({ RequestPayer: 'requester' } as const) : {};
  return {
    async stat(uri, signal) {
      try {
        const head = await client.send(new HeadObjectCommand({ ...nameOf(uri), ...payer }), {
          abortSignal: signal,
        });
        if (head.ContentLength === undefined || head.ETag === undefined) {
          throw new OriginFailure('faulty', 'the answer names no size or no ETag');
        }
        return { sizeBytes: head.ContentLength, version: head.ETag };
      } catch (caught) {
        throw asFailure(caught, signal);
      }
    },
    async read(uri, read) {
      const { offset, length } = read.range;
      try {
        const answer = await client.send(
          new GetObjectCommand({
            ...nameOf(uri),
            ...payer,
            Range: `bytes=${offset}-${offset + length - 1}`,
            IfMatch: read.version,
          }),
          { abortSignal: read.signal },
        );
        if (answer.ETag !== read.version) {
          throw new OriginFailure('changed', `the object is ${answer.ETag ?? 'without a tag'} now`);
        }
        const expected = `bytes ${offset}-${offset + length - 1}/${read.sizeBytes}`;
        if (answer.ContentRange !== expected) {
          throw new OriginFailure('faulty', `the answer is for '${answer.ContentRange ?? ''}'`);
        }
        return await bodyOf(answer, length);
      } catch (caught) {
        throw asFailure(caught, read.signal);
      }
    },
    renew() {
      client.destroy();
      client = new S3Client(configOf(credentials, stallMsMax));
    },
    close: () => client.destroy(),
  };
}

function configOf(credentials: S3Credentials, stallMsMax: number): S3ClientConfig {
  const { accessKeyId, secretAccessKey, sessionToken, endpoint } = credentials;
  const config: S3ClientConfig = {
    region: credentials.region ?? 'us-east-1',
    followRegionRedirects: endpoint === null,
    // Retries are the origin policy's, the same for every scheme.
    maxAttempts: 1,
    // Silence of the socket, before the answer and in its body: `requestTimeout` only logs.
    requestHandler: { socketTimeout: stallMsMax, connectionTimeout: stallMsMax },
    // Ranges have no checksum of their own; the ETag and the length are what can be checked.
    responseChecksumValidation: 'WHEN_REQUIRED',
    ...(endpoint === null ? {} : { endpoint, forcePathStyle: credentials.pathStyle }),
  };
  if (accessKeyId !== null && secretAccessKey !== null) {
    const session = sessionToken === null ? {} : { sessionToken };
    config.credentials = { accessKeyId, secretAccessKey, ...session };
  } else if (!credentials.ambient) {
    // Public buckets: the request goes out as it is.
    config.signer = { sign: async (request) => request };
    config.credentials = { accessKeyId: '', secretAccessKey: '' };
  }
  return config;
}

async function bodyOf(answer: GetObjectCommandOutput, length: number): Promise<Uint8Array> {
  if (answer.ContentLength !== length || answer.Body === undefined) {
    throw new OriginFailure('faulty', `${answer.ContentLength} bytes are told of ${length}`);
  }
  const bytes = await answer.Body.transformToByteArray();
  if (bytes.length === length) return bytes;
  throw new OriginFailure('faulty', `${bytes.length} bytes came of ${length}`);
}

function nameOf(uri: string): { Bucket: string; Key: string } {
  const { host, pathname } = new URL(uri);
  try {
    return { Bucket: host, Key: decodeURIComponent(pathname.slice(1)) };
  } catch (cause) {
    throw new OriginFailure('invalid', `${uri} is no object's name`, { cause });
  }
}

function asFailure(caught: unknown, signal: AbortSignal): unknown {
  if (signal.aborted || caught instanceof OriginFailure) return caught;
  const error = caught instanceof Error ? caught : new Error(String(caught));
  const facts: unknown = '$metadata' in error ? error.$metadata : undefined;
  const found =
    typeof facts === 'object' && facts !== null && 'httpStatusCode' in facts
      ? facts.httpStatusCode
      : undefined;
  const status = typeof found === 'number' ? found : undefined;
  const kind = error.name === 'ExpiredToken' ? 'unsigned' : failureOfStatus(status ?? 500);
  return new OriginFailure(kind, `S3 answered ${error.name}`, {
    status,
    body: error.message,
    cause: error,
  });
}
