/** All calls on one opened file: reads as they are, changes each in a transaction. */
import { storeError } from '../store/sqlite-errors.ts';
import { openStacDatabase } from './open-database.ts';
import type { StacCalls } from './port.ts';
import type { SearchSettings } from './read-documents.ts';
import { createFindOwn, createStacReads } from './read-documents.ts';
import type { SearchState } from './search/run-search.ts';
import { createStacWrites } from './write-documents.ts';

/** The calls, and the end of them. */
export interface StacRunner {
  run(name: keyof StacCalls, input: unknown): unknown;
  close(): void;
}

/**
 * Opens the catalogue.
 * @throws PerigeeError data_corrupt, data_newer, data_unwritable, disk_full
 */
export function openStacRunner(file: string, settings: SearchSettings): StacRunner {
  const state: SearchState = { geometry: null, endsAtMs: Infinity };
  const guarded = <Result>(act: () => Result): Result => {
    try {
      return act();
    } catch (caught) {
      throw storeError(caught, file);
    }
  };
  const database = guarded(() => openStacDatabase(file, { state, nowMs: settings.nowMs }));
  const writes = createStacWrites(database, createFindOwn(database));
  const calls = { ...writes, ...createStacReads(database, { state, settings }) };
  const inTransaction = database.transaction((act: () => unknown) => act());
  return {
    run(name, input) {
      // Each call takes the input that the port gives for its name.
      const act = (): unknown => (calls[name] as (input: unknown) => unknown)(input);
      return guarded(() => (Object.hasOwn(writes, name) ? inTransaction.immediate(act) : act()));
    },
    close: () => void database.close(),
  };
}
