/** The catalogue's own file: what it holds and how long it takes touches no task. */
import Database from 'better-sqlite3';
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { StacGeometry } from '../../protocol/stac/item.ts';
import { migrate } from '../store/migrate.ts';
import { meets } from './geometry.ts';
import { findInstant } from './instants.ts';
import type { SearchState } from './search/run-search.ts';

const migrations = new URL('./migrations/', import.meta.url);
const walBytesMax = 64 * 1024 ** 2;
/** Holds the tree and the rows of some 200,000 items, without their documents. */
const cacheKib = 64 * 1024;

/**
 * Opens or makes it, with the SQL functions that searches use.
 * @throws as SQLite does
 */
export function openStacDatabase(
  file: string,
  options: { state: SearchState; nowMs: () => number },
): Database.Database {
  const database = new Database(file);
  try {
    database.pragma('journal_mode = wal');
    database.pragma('synchronous = full');
    database.pragma('foreign_keys = on');
    database.pragma(`cache_size = -${cacheKib}`);
    database.pragma(`journal_size_limit = ${walBytesMax}`);
    migrate(database, file, migrations);
    addFunctions(database, options);
    return database;
  } catch (caught) {
    database.close();
    throw caught;
  }
}

function addFunctions(
  database: Database.Database,
  options: { state: SearchState; nowMs: () => number },
): void {
  const { state, nowMs } = options;
  database.function('instant', { deterministic: true }, (text: unknown) =>
    typeof text === 'string' ? (findInstant(text) ?? null) : null,
  );
  // Of a row that the boxes let through: whether its geometry meets the searched one.
  database.function(
    'is_there',
    (west: unknown, south: unknown, east: unknown, north: unknown, body: unknown) => {
      if (state.geometry === null || typeof west !== 'number') return 0;
      const { geometry } = JSON.parse(String(body)) as { geometry: StacGeometry };
      const box = { west, south: Number(south), east: Number(east), north: Number(north) };
      return meets({ geometry, box }, state.geometry) ? 1 : 0;
    },
  );
  // Looked at once a row, so that a search that fits nothing ends all the same.
  let rows = 0;
  database.function('in_time', { deterministic: false }, () => {
    rows += 1;
    if (rows % clockRows === 0 && nowMs() > state.endsAtMs) {
      throw new PerigeeError('timed_out', 'The search took too long.', {
        fix: 'Name a collection, a box or a time, so that there is less to look through.',
      });
    }
    return 1;
  });
}

const clockRows = 64;
