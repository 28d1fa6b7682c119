/** Numbered, forward-only migrations. The number of the last one is SQLite's `user_version`. */
import { readdirSync, readFileSync } from 'node:fs';
import type Database from 'better-sqlite3';
import { assert } from '../../protocol/base/assert.ts';
import { PerigeeError } from '../../protocol/base/errors.ts';

const ownFolder = new URL('./migrations/', import.meta.url);
const filePattern = /^(\d{3})-[a-z0-9-]+\.sql$/;

/**
 * Brings a database to this version's schema, one transaction per step; `folder` holds the steps of
 * another database than the store's own.
 * @throws PerigeeError data_newer when it is ahead.
 */
export function migrate(database: Database.Database, file: string, folder = ownFolder): void {
  const steps = listMigrations(folder);
  const version = Number(database.pragma('user_version', { simple: true }));
  const latest = steps.at(-1)?.number ?? 0;
  if (version > latest) {
    throw new PerigeeError(
      'data_newer',
      `${file} has schema ${version}; this version knows schemas up to ${latest}.`,
    );
  }
  for (const step of steps.filter(({ number }) => number > version)) {
    database
      .transaction(() => {
        database.exec(readFileSync(new URL(step.file, folder), 'utf8'));
        database.pragma(`user_version = ${step.number}`);
      })
      .immediate();
  }
}

interface Migration {
  number: number;
  file: string;
}

function listMigrations(folder: URL): Migration[] {
  const migrations = readdirSync(folder)
    .filter((file) => filePattern.test(file))
    .sort()
    .map((file) => ({ number: Number(file.slice(0, 3)), file }));
  for (const [index, migration] of migrations.entries()) {
    assert(migration.number === index + 1, `migration ${migration.file} has the next number`);
  }
  return migrations;
}
