import { spawn } from 'node:child_process';
import {
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDataDirectory } from '../../../../coordinator/store/data-directory.ts';
import { openSqliteStore } from '../../../../coordinator/store/open-sqlite.ts';

describe('data directory', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'perigee-data-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('is made for its owner alone, with what lies above it', () => {
    const path = join(folder, 'a', 'b');
    openDataDirectory(path).release();
    expect(statSync(path).mode & 0o777).toBe(0o700);
  });

  it('is locked against this and every other process until it is released', () => {
    const directory = openDataDirectory(folder);
    expect(() => openDataDirectory(folder)).toThrow(
      expect.objectContaining({ code: 'data_locked', message: expect.stringContaining(folder) }),
    );
    directory.release();
    directory.release();
    openDataDirectory(folder).release();
  });

  it('is locked by a process for as long as it lives, and free when it is killed', async () => {
    const program = join(import.meta.dirname, 'committing-process.ts');
    const child = spawn(process.execPath, [program, folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    expect(() => openDataDirectory(folder)).toThrow(
      expect.objectContaining({ code: 'data_locked' }),
    );
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await exited;
    openDataDirectory(folder).release();
  });

  it('says so when the path cannot be written', () => {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    for (const path of [file, join(file, 'below')]) {
      expect(() => openDataDirectory(path)).toThrow(
        expect.objectContaining({ code: 'data_unwritable' }),
      );
    }
    // /proc takes no files from anyone: the one read-only place that root meets everywhere.
    expect(() => openDataDirectory('/proc/self')).toThrow(
      expect.objectContaining({ code: 'data_unwritable' }),
    );
  });
});

describe('a database', () => {
  let folder: string;
  let file: string;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'perigee-data-'));
    file = join(folder, 'perigee.db');
    await openSqliteStore(file).close();
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('of a newer version is left alone', () => {
    const database = new Database(file);
    database.pragma('user_version = 999');
    database.close();
    const before = readFileSync(file);
    expect(() => openSqliteStore(file)).toThrow(
      expect.objectContaining({ code: 'data_newer', message: expect.stringContaining('999') }),
    );
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  it('that is damaged is not opened, and the fault is named', () => {
    const database = new Database(file);
    database.exec(`
      insert into namespace (name, created_at_ms)
      with recursive n (i) as (select 1 union all select i + 1 from n where i < 5000)
      select 'namespace-' || i, i from n`);
    database.pragma('wal_checkpoint(truncate)');
    database.close();
    const descriptor = openSync(file, 'r+');
    const { size } = statSync(file);
    writeSync(descriptor, Buffer.alloc(8_192, 0xee), 0, 8_192, Math.floor(size / 8_192) * 4_096);
    expect(() => openSqliteStore(file)).toThrow(expect.objectContaining({ code: 'data_corrupt' }));
  });

  it('that is none is not opened', () => {
    writeFileSync(file, 'x'.repeat(10_000));
    expect(() => openSqliteStore(file)).toThrow(expect.objectContaining({ code: 'data_corrupt' }));
  });

  it('has one migration per number, and is at the last', () => {
    const migrations = readdirSync(
      join(import.meta.dirname, '../../../../coordinator/store/migrations'),
    );
    const database = new Database(file);
    expect(database.pragma('user_version', { simple: true })).toBe(
      Math.max(...migrations.map((file) => Number(file.slice(0, 3)))),
    );
    expect(database.pragma('journal_mode', { simple: true })).toBe('wal');
    database.close();
  });
});
