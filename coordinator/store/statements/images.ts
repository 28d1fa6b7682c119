/** The catalogue of images and the logs of their builds. */
import type Database from 'better-sqlite3';
import { assert } from '../../../protocol/base/assert.ts';
import type { ImageDigest } from '../../../protocol/wire/ids.ts';
import type { CatalogueImage, ImageName, ImageSource } from '../../images/image.ts';

export interface ImageStatements {
  save(image: CatalogueImage): void;
  list(): CatalogueImage[];
  appendLog(digest: ImageDigest, chunk: { offset: number; bytes: Uint8Array }): void;
  readLog(digest: ImageDigest, options: { offset: number; bytesMax: number }): Uint8Array;
  clearLog(digest: ImageDigest): void;
}

interface ImageRow {
  digest: ImageDigest;
  state: CatalogueImage['state'];
  requestKey: string;
  generation: number;
  source: string;
  names: string;
  implementation: string;
  version: string;
  arch: string;
  sizeBytes: number;
  base: ImageDigest | null;
  packages: string;
  archiveHash: string | null;
  archiveBytes: number | null;
  failureMessage: string | null;
  failureFix: string | null;
  createdAtMs: number;
  endedAtMs: number | null;
}

export function createImageStatements(database: Database.Database): ImageStatements {
  const put = database.prepare<ImageRow>(`
    insert into image (
      digest, state, request_key, generation, source, names, python_implementation,
      python_version, arch, size_bytes, base, packages, archive_hash, archive_bytes,
      failure_message, failure_fix, created_at_ms, ended_at_ms
    ) values (
      @digest, @state, @requestKey, @generation, @source, @names, @implementation,
      @version, @arch, @sizeBytes, @base, @packages, @archiveHash, @archiveBytes,
      @failureMessage, @failureFix, @createdAtMs, @endedAtMs
    ) on conflict (digest) do update set
      state = excluded.state, source = excluded.source, names = excluded.names,
      python_implementation = excluded.python_implementation,
      python_version = excluded.python_version, arch = excluded.arch,
      size_bytes = excluded.size_bytes, packages = excluded.packages,
      archive_hash = excluded.archive_hash, archive_bytes = excluded.archive_bytes,
      failure_message = excluded.failure_message, failure_fix = excluded.failure_fix,
      created_at_ms = excluded.created_at_ms, ended_at_ms = excluded.ended_at_ms`);
  const all = database.prepare<[], ImageRow>(`
    select digest, state, request_key as requestKey, generation, source, names,
      python_implementation as implementation, python_version as version, arch,
      size_bytes as sizeBytes, base, packages, archive_hash as archiveHash,
      archive_bytes as archiveBytes, failure_message as failureMessage,
      failure_fix as failureFix, created_at_ms as createdAtMs, ended_at_ms as endedAtMs
    from image order by id`);
  const addChunk = database.prepare<[string, number, Uint8Array]>(
    'insert into image_log (digest, start, bytes) values (?, ?, ?)',
  );
  const logEnd = database
    .prepare<[string], number | null>(
      'select max(start + length(bytes)) from image_log where digest = ?',
    )
    .pluck();
  const readFrom = database.prepare<[string, number], { start: number; bytes: Uint8Array }>(`
    select start, bytes from image_log
    where digest = ? and start + length(bytes) > ? order by start`);
  const clear = database.prepare<[string]>('delete from image_log where digest = ?');
  return {
    save: (image) => {
      put.run(rowOf(image));
    },
    list: () => all.all().map(imageOf),
    appendLog(digest, { offset, bytes }) {
      assert(offset === (logEnd.get(digest) ?? 0), 'a build log has no gaps');
      addChunk.run(digest, offset, bytes);
    },
    readLog(digest, { offset, bytesMax }) {
      const parts: Uint8Array[] = [];
      let left = bytesMax;
      for (const { start, bytes } of readFrom.iterate(digest, offset)) {
        if (left <= 0) break;
        const skipped = Math.max(0, offset - start);
        const part = bytes.subarray(skipped, skipped + left);
        left -= part.length;
        parts.push(part);
      }
      return Buffer.concat(parts);
    },
    clearLog: (digest) => {
      clear.run(digest);
    },
  };
}

function rowOf(image: CatalogueImage): ImageRow {
  const { digest, state, requestKey, generation, arch, sizeBytes, base } = image;
  return {
    digest,
    state,
    requestKey,
    generation,
    source: JSON.stringify(image.source),
    names: JSON.stringify(image.names),
    implementation: image.python.implementation,
    version: image.python.version,
    arch,
    sizeBytes,
    base,
    packages: JSON.stringify(image.packages),
    archiveHash: image.archive?.hash ?? null,
    archiveBytes: image.archive?.sizeBytes ?? null,
    failureMessage: image.failure?.message ?? null,
    failureFix: image.failure?.fix ?? null,
    createdAtMs: image.createdAtMs,
    endedAtMs: image.endedAtMs,
  };
}

function imageOf(row: ImageRow): CatalogueImage {
  const { digest, state, requestKey, generation, arch, sizeBytes, base } = row;
  const { archiveHash, archiveBytes, failureMessage, failureFix } = row;
  return {
    digest,
    source: JSON.parse(row.source) as ImageSource,
    state,
    names: JSON.parse(row.names) as ImageName[],
    requestKey,
    generation,
    python: { implementation: row.implementation, version: row.version },
    arch,
    sizeBytes,
    base,
    packages: JSON.parse(row.packages) as Record<string, string>,
    archive:
      archiveHash === null || archiveBytes === null
        ? null
        : { hash: archiveHash, sizeBytes: archiveBytes },
    failure: failureMessage === null ? null : { message: failureMessage, fix: failureFix ?? '' },
    createdAtMs: row.createdAtMs,
    endedAtMs: row.endedAtMs,
  };
}
