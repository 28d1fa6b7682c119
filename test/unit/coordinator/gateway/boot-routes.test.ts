import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fastify } from 'fastify';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { packFolder } from '../../../../coordinator/bootstrap/boot-files.ts';
import { createBootstrap } from '../../../../coordinator/bootstrap/create-bootstrap.ts';
import type { BootFile } from '../../../../coordinator/bootstrap/port.ts';
import { addBootRoutes } from '../../../../coordinator/gateway/http/boot-routes.ts';
import { coerceError } from '../../../../coordinator/gateway/http/problems.ts';
import { makeInstanceToken } from '../../../../coordinator/instance-token.ts';
import { openSqliteStore } from '../../../../coordinator/store/open-sqlite.ts';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import type { InstanceId } from '../../../../protocol/wire/ids.ts';

let folder = '';
let file: BootFile;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-boot-routes-'));
  mkdirSync(join(folder, 'agent'));
  writeFileSync(join(folder, 'agent/main'), 'x'.repeat(5_000));
  file = await packFolder({ kept: join(folder, 'boot'), key: 'k', parent: folder, name: 'agent' });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** The routes over a real file; whoever shows the token "good" may have it. */
function openRoutes() {
  const server = fastify();
  addBootRoutes(server, {
    async open(digest, token) {
      if (token !== 'good') throw new PerigeeError('token_wrong');
      if (digest !== file.digest) throw new PerigeeError('not_found');
      return file;
    },
  });
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  server.setErrorHandler((error, _request, reply) =>
    reply.status(coerceError(error, log).httpStatus).send(),
  );
  return (headers: Record<string, string> = {}) =>
    server.inject({
      ...{ method: 'GET', url: `/v1/boot/${file.digest}` },
      headers: { authorization: 'Bearer good', ...headers },
    });
}

describe('a boot file', () => {
  it('comes whole, with its size and its digest', async () => {
    const got = await openRoutes()();
    expect(got.statusCode).toBe(200);
    expect(got.headers).toMatchObject({
      'content-length': String(file.sizeBytes),
      'accept-ranges': 'bytes',
      etag: `"${file.digest}"`,
    });
    expect(createHash('sha256').update(got.rawPayload).digest('hex')).toBe(file.digest);
  });

  it('goes on where a transfer was cut', async () => {
    const get = openRoutes();
    const whole = (await get()).rawPayload;
    const cut = 37;
    const rest = await get({ range: `bytes=${cut}-` });
    expect(rest.statusCode).toBe(206);
    expect(rest.headers).toMatchObject({
      'content-length': String(file.sizeBytes - cut),
      'content-range': `bytes ${cut}-${file.sizeBytes - 1}/${file.sizeBytes}`,
    });
    expect(Buffer.concat([whole.subarray(0, cut), rest.rawPayload]).equals(whole)).toBe(true);
  });

  it('comes whole for a range that it does not know', async () => {
    const got = await openRoutes()({ range: 'bytes=0-9,20-29' });
    expect([got.statusCode, got.rawPayload.length]).toEqual([200, file.sizeBytes]);
  });

  it('has nothing beyond its end, and says how long it is', async () => {
    const got = await openRoutes()({ range: `bytes=${file.sizeBytes}-` });
    expect(got.statusCode).toBe(400);
    expect(got.headers['content-range']).toBe(`bytes */${file.sizeBytes}`);
  });

  it('is for nobody without the token', async () => {
    const get = openRoutes();
    expect((await get({ authorization: 'Bearer bad' })).statusCode).toBe(401);
    expect((await get({ authorization: 'good' })).statusCode).toBe(401);
  });
});

it('only the token of a machine on its way opens a boot file, as long as it lasts', async () => {
  const store = openSqliteStore(join(folder, 'perigee.db'));
  try {
    let nowMs = 1_000;
    const bootstrap = createBootstrap(
      {
        store,
        clock: { nowMs: () => nowMs },
        url: () => 'http://127.0.0.1:1',
        joinAddress: () => '',
        kindOf: () => 'ec2',
      },
      {
        ...{
          root: folder,
          home: folder,
          tokenLifeMs: () => 1_000,
          deadManMs: 1_000,
          certificate: null,
        },
        agentFlags: () => [],
      },
    );
    const instance = 'aws-1' as InstanceId;
    const token = await makeInstanceToken(store, { instance, nowMs, lifeMs: 1_000 });
    const refusal = (shown: string | undefined) =>
      bootstrap.open('not a digest', shown).then(
        () => 'opened',
        (error: PerigeeError) => error.code,
      );
    expect(await refusal(undefined)).toBe('token_missing');
    expect(await refusal('made up')).toBe('token_wrong');
    // It is let in: what it asks for is not there.
    expect(await refusal(token)).toBe('not_found');
    nowMs = 2_000;
    expect(await refusal(token)).toBe('token_expired');
  } finally {
    await store.close();
  }
});
