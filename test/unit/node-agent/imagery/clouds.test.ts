import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { request as ask, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateBucketCommand,
  GetBucketLocationCommand,
  PutBucketPolicyCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CredentialEntry } from '../../../../node-agent/imagery/origins/credentials.ts';
import {
  parseCredentials,
  readCredentials,
} from '../../../../node-agent/imagery/origins/credentials.ts';
import type { MotoServer } from '../../../setup/moto.ts';
import { startMoto } from '../../../setup/moto.ts';
import { namespace, never, openCache, other } from './caches.ts';
import { makeBytes } from './range-server.ts';

const options = { namespace, signal: never };
const mib = 1024 ** 2;
const scene = makeBytes(9 * mib + 3, 5);

describe('s3: assets, from a real server of the API', () => {
  let moto: MotoServer;
  let client: S3Client;
  beforeAll(async () => {
    moto = await startMoto();
    client = new S3Client({
      endpoint: moto.url,
      region: 'eu-west-1',
      forcePathStyle: true,
      credentials: { accessKeyId: 'writer', secretAccessKey: 'secret' },
    });
    const location = { LocationConstraint: 'eu-west-1' } as const;
    await client.send(
      new CreateBucketCommand({ Bucket: 'scenes', CreateBucketConfiguration: location }),
    );
    const found = await client.send(new GetBucketLocationCommand({ Bucket: 'scenes' }));
    expect(found.LocationConstraint).toBe('eu-west-1');
    await client.send(
      new PutObjectCommand({ Bucket: 'scenes', Key: 'L7/a scene.tif', Body: scene }),
    );
  });
  afterAll(async () => {
    client.destroy();
    await moto[Symbol.asyncDispose]();
  });
  const entries = (extra: object = {}): CredentialEntry[] =>
    parseCredentials({
      namespaces: {
        'team-a': [
          {
            match: 's3://scenes/',
            s3: {
              accessKeyId: 'reader',
              secretAccessKey: 'secret',
              region: 'eu-west-1',
              endpoint: moto.url,
              requesterPays: true,
              ...extra,
            },
          },
        ],
      },
    });
  const uri = 's3://scenes/L7/a%20scene.tif';

  it('are read in ranges, with If-Match, and told when they changed', async () => {
    await using test = await openCache({ credentials: entries() });
    const version = await test.cache.stat({ uri, namespace }, never);
    expect(version).toMatchObject({ sizeBytes: scene.length });
    const range = { offset: 3 * mib, length: 3 * mib };
    const bytes = await test.cache.read(version, range, options);
    expect(Buffer.compare(bytes, scene.subarray(3 * mib, 6 * mib))).toBe(0);
    const body = makeBytes(scene.length, 6);
    await client.send(
      new PutObjectCommand({ Bucket: 'scenes', Key: 'L7/a scene.tif', Body: body }),
    );
    await expect(
      test.cache.read(version, { offset: 8 * mib, length: 10 }, options),
    ).rejects.toMatchObject({ code: 'asset_changed' });
    await client.send(
      new PutObjectCommand({ Bucket: 'scenes', Key: 'L7/a scene.tif', Body: scene }),
    );
  });

  it('are paid for by the reader where the entry says so, and only there', async () => {
    const asked: { method: string; payer: string | undefined }[] = [];
    await using recorder = await startRecorder(moto.url, (request) => {
      const payer = request.headers['x-amz-request-payer'];
      asked.push({ method: request.method ?? '', payer: payer?.toString() });
    });
    for (const requesterPays of [true, false]) {
      asked.length = 0;
      const credentials = entries({ endpoint: recorder.url, requesterPays });
      await using test = await openCache({ credentials });
      const version = await test.cache.stat({ uri, namespace }, never);
      await test.cache.read(version, { offset: 0, length: 10 }, options);
      const payer = requesterPays ? 'requester' : undefined;
      expect(asked).toEqual([
        { method: 'HEAD', payer },
        { method: 'GET', payer },
      ]);
    }
  });

  it('are not found by their name, with S3’s own word for it', async () => {
    await using test = await openCache({ credentials: entries() });
    await expect(
      test.cache.stat({ uri: 's3://scenes/none.tif', namespace }, never),
    ).rejects.toMatchObject({ code: 'asset_not_found', message: expect.stringContaining('404') });
  });

  it('are closed to a namespace without the credentials', async () => {
    await client.send(
      new PutBucketPolicyCommand({
        Bucket: 'scenes',
        Policy: JSON.stringify({ Version: '2012-10-17', Statement: [] }),
      }),
    );
    await using test = await openCache({ credentials: entries() });
    const version = await test.cache.stat({ uri, namespace }, never);
    await test.cache.read(version, { offset: 0, length: 10 }, options);
    // Without an entry the request goes to AWS itself, which this name does not lead to.
    const elsewhere = AbortSignal.timeout(300);
    await expect(
      test.cache.read(version, { offset: 0, length: 10 }, { namespace: other, signal: elsewhere }),
    ).rejects.toThrow();
  });
});

describe('gs: assets, from a small server of the JSON API calls used', () => {
  it('are read by generation with a renewed token', async () => {
    const tokens: string[] = [];
    const asked: string[] = [];
    let generation = '17';
    let accepted = 'token2';
    const serve = (request: IncomingMessage, response: ServerResponse): void => {
      const url = new URL(request.url ?? '', 'http://x');
      if (url.pathname === '/token') {
        tokens.push(`token${tokens.length + 1}`);
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end(
          JSON.stringify({
            access_token: tokens.at(-1),
            issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
            token_type: 'Bearer',
            expires_in: 3_600,
          }),
        );
        return;
      }
      asked.push(url.pathname + url.search);
      // The first token was revoked: only a renewed one is taken.
      if (request.headers.authorization !== `Bearer ${accepted}`) {
        response.writeHead(401).end('{"error": {"message": "Invalid Credentials"}}');
        return;
      }
      if (url.pathname !== '/storage/v1/b/scenes/o/L7%2Fscene.tif') {
        response.writeHead(404).end('no such object');
      } else if (url.searchParams.get('alt') !== 'media') {
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ size: String(scene.length), generation }));
      } else if (url.searchParams.get('generation') !== generation) {
        response.writeHead(404).end('no such generation');
      } else {
        const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
        response.writeHead(206, { 'content-range': `bytes ${from}-${to}/${scene.length}` });
        response.end(scene.subarray(Number(from), Number(to) + 1));
      }
    };
    const server = createServer(serve).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const folder = await mkdtemp(join(tmpdir(), 'perigee-gs-'));
    try {
      await writeFile(join(folder, 'subject'), 'a subject token');
      const keyFile = join(folder, 'key.json');
      await writeFile(
        keyFile,
        JSON.stringify({
          type: 'external_account',
          audience:
            '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x',
          subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
          token_url: `${url}/token`,
          credential_source: { file: join(folder, 'subject') },
        }),
      );
      const file = join(folder, 'credentials.json');
      const entry = { match: 'gs://scenes/', gs: { keyFile, endpoint: url } };
      await writeFile(file, JSON.stringify({ namespaces: { '*': [entry] } }), { mode: 0o600 });
      await using test = await openCache({ credentials: readCredentials(file) });
      const version = await test.cache.stat({ uri: 'gs://scenes/L7/scene.tif', namespace }, never);
      expect(version).toMatchObject({ version: '17', sizeBytes: scene.length });
      const bytes = await test.cache.read(version, { offset: 4 * mib - 5, length: 10 }, options);
      expect(Buffer.compare(bytes, scene.subarray(4 * mib - 5, 4 * mib + 5))).toBe(0);
      expect(tokens).toEqual(['token1', 'token2']);
      // Revoked again: of all who are refused together one renews it for all.
      accepted = 'token3';
      const looks = Array.from({ length: 12 }, (_, at) =>
        test.cache.stat({ uri: `gs://scenes/none${at}`, namespace }, never),
      );
      for (const look of await Promise.allSettled(looks)) {
        expect(look).toMatchObject({ reason: { code: 'asset_not_found' } });
      }
      expect(tokens).toEqual(['token1', 'token2', 'token3']);
      generation = '18';
      await expect(
        test.cache.read(version, { offset: 9 * mib, length: 1 }, options),
      ).rejects.toMatchObject({ code: 'asset_changed' });
      await expect(
        test.cache.stat({ uri: 'gs://scenes/none', namespace }, never),
      ).rejects.toMatchObject({ code: 'asset_not_found' });
      expect(asked.length).toBeGreaterThan(4);
    } finally {
      server.closeAllConnections();
      server.close();
      await rm(folder, { recursive: true, force: true });
    }
  });
});

describe('the credentials file', () => {
  it('is refused when others can read it, and never quoted', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'perigee-credentials-'));
    try {
      const file = join(folder, 'credentials.json');
      await writeFile(file, '{"namespaces": hush}', { mode: 0o644 });
      expect(() => readCredentials(file)).toThrow(/can be read by others/);
      await writeFile(`${file}2`, '{"namespaces": hush}', { mode: 0o600 });
      expect(() => readCredentials(`${file}2`)).toThrow(/is no JSON/);
      expect(() => readCredentials(`${file}2`)).not.toThrow(/hush/);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });

  it('names the field at fault', () => {
    const parse = (match: string) => () =>
      parseCredentials({ namespaces: { a: [{ match, s3: {} }] } });
    expect(parse('s3://scenes')).toThrow(/namespaces\.a\[0\]\.match.*slash/);
    expect(parse('s3://scenes/')).not.toThrow();
  });
});

/** Stands before a server, and shows each request. */
async function startRecorder(
  target: string,
  onRequest: (request: IncomingMessage) => void,
): Promise<AsyncDisposable & { url: string }> {
  const server = createServer((request, response) => {
    onRequest(request);
    const { method, headers, url = '/' } = request;
    const forwarded = ask(new URL(url, target), { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
    });
    forwarded.on('error', () => response.destroy());
    request.pipe(forwarded);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
