/**
 * The store on SQLite: WAL, `synchronous = full`, one writer. Calls are performed at once on this
 * thread: with a local disk a worker thread costs 11 % and gains no latency (a slow disk is the
 * reason that the port is asynchronous).
 */
import { statSync } from 'node:fs';
import Database from 'better-sqlite3';
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { SaveEffect } from '../core/effects.ts';
import { migrate } from './migrate.ts';
import { createNames } from './names.ts';
import type { LogChunk, Store } from './port.ts';
import type { RetentionStore } from './retention-port.ts';
import { storeError } from './sqlite-errors.ts';
import { createAdministration } from './statements/administration.ts';
import { createBlobStatements } from './statements/blobs.ts';
import { createImageStatements } from './statements/images.ts';
import { createLogStatements } from './statements/logs.ts';
import { createOutputStatements } from './statements/outputs.ts';
import { createOutcomeReader } from './statements/read-outcomes.ts';
import { createWorkReader } from './statements/read-work.ts';
import { readRestoredState } from './statements/restore.ts';
import { createRetentionStatements } from './statements/retention.ts';
import type { SaveOutcome } from './statements/save-outcomes.ts';
import { createOutcomeWriter } from './statements/save-outcomes.ts';
import { createWorkWriter } from './statements/save-work.ts';

/** A larger database is not read through at every start: a gigabyte takes seconds. */
const checkedBytesMax = 1024 ** 3;
/** The log is cut back to this after a burst, so that it does not hold the disk for ever. */
const walBytesMax = 64 * 1024 ** 2;

/**
 * Opens or makes a database file and brings it to this version's schema.
 * @throws PerigeeError data_corrupt, data_newer, data_unwritable, disk_full
 * @example
 * const directory = openDataDirectory('/var/lib/perigee/coordinator');
 * const store = openSqliteStore(directory.databaseFile);
 */
export function openSqliteStore(file: string): Store & RetentionStore {
  const database = openDatabase(file);
  const names = createNames(database);
  const blobs = createBlobStatements(database, names);
  const logs = createLogStatements(database);
  const images = createImageStatements(database);
  const outputs = createOutputStatements(database, names, blobs);
  const saveOutcomes = createOutcomeWriter(database, { names, blobs, outputs });
  const saveWork = createWorkWriter(database, names, blobs);
  const outcomes = createOutcomeReader(database, names);
  const work = createWorkReader(database, names);
  const administration = createAdministration(database, names);
  const retention = createRetentionStatements(database, names);

  const commit = database.transaction(
    (saves: readonly SaveEffect[], chunks: readonly LogChunk[]): void => {
      const outcomeSaves: SaveOutcome[] = [];
      for (const save of saves) {
        if (save.kind === 'saveOutcome') outcomeSaves.push(save);
        else saveWork(save);
      }
      // After the groups and batches of the same tick, which they count into.
      saveOutcomes(outcomeSaves);
      for (const chunk of chunks) logs.append(chunk);
    },
  );
  const restore = database.transaction(() => {
    const run = Number(administration.getMeta('runs') ?? '0') + 1;
    administration.setMeta('runs', String(run));
    return readRestoredState(database, run);
  });
  /** Runs a call and tells a full disk and a damaged file by code. */
  const perform = async <Result>(call: () => Result): Promise<Result> => {
    try {
      return call();
    } catch (caught) {
      // What a rolled-back transaction interned is not there.
      names.forget();
      throw storeError(caught, file);
    }
  };
  return {
    restore: () => perform(() => restore.immediate()),
    commit: ({ saves, logs: chunks }) => perform(() => commit.immediate(saves, chunks)),
    findBatchByClient: (...args) => perform(() => work.findBatchByClient(...args)),
    findBatch: (...args) => perform(() => work.findBatch(...args)),
    getBlock: (...args) => perform(() => work.getBlock(...args)),
    findGroup: (...args) => perform(() => work.findGroup(...args)),
    findGroupsByPrefix: (...args) => perform(() => work.findGroupsByPrefix(...args)),
    listGroups: (...args) => perform(() => work.listGroups(...args)),
    listBatches: (...args) => perform(() => work.listBatches(...args)),
    findOutcome: (...args) => perform(() => outcomes.find(...args)),
    listOutcomes: (...args) => perform(() => outcomes.list(...args)),
    listBatchOutcomes: (...args) => perform(() => outcomes.listBatch(...args)),
    listAttempts: (...args) => perform(() => outcomes.listAttempts(...args)),
    latestOutcomeNumber: (...args) => perform(() => outcomes.latestNumber(...args)),
    readLog: (...args) => perform(() => logs.read(...args)),
    logOffset: (...args) => perform(() => logs.endOffset(...args)),
    createNamespace: (...args) => perform(() => administration.createNamespace(...args)),
    hasNamespace: (...args) => perform(() => administration.hasNamespace(...args)),
    listNamespaces: () => perform(() => administration.listNamespaces()),
    removeNamespace: (...args) => perform(() => administration.removeNamespace(...args)),
    saveToken: (...args) => perform(() => administration.saveToken(...args)),
    findTokenByHash: (...args) => perform(() => administration.findTokenByHash(...args)),
    listTokens: (...args) => perform(() => administration.listTokens(...args)),
    revokeToken: (...args) => perform(() => administration.revokeToken(...args)),
    admitNode: (...args) => perform(() => administration.admitNode(...args)),
    findNode: (...args) => perform(() => administration.findNode(...args)),
    grantBlob: (...args) => perform(() => blobs.grant(...args)),
    mayReadBlob: (...args) => perform(() => blobs.mayRead(...args)),
    recordUploads: (...args) => perform(() => blobs.recordUploads(...args)),
    hasUploaded: (...args) => perform(() => blobs.hasUploaded(...args)),
    listTaskOutputs: (...args) => perform(() => outputs.listTask(...args)),
    findTaskOutput: (...args) => perform(() => outputs.find(...args)),
    listGroupOutputs: (...args) => perform(() => outputs.listGroup(...args)),
    saveInstance: (...args) => perform(() => administration.saveInstance(...args)),
    listInstances: (...args) => perform(() => administration.listInstances(...args)),
    pruneInstances: (...args) => perform(() => administration.pruneInstances(...args)),
    prunedCosts: () => perform(() => administration.prunedCosts()),
    saveImage: (...args) => perform(() => images.save(...args)),
    listImages: () => perform(() => images.list()),
    appendImageLog: (...args) => perform(() => images.appendLog(...args)),
    readImageLog: (...args) => perform(() => images.readLog(...args)),
    clearImageLog: (...args) => perform(() => images.clearLog(...args)),
    sweepBatches: (...args) => perform(() => retention.sweepBatches(...args)),
    deleteRemoved: () => perform(() => retention.deleteRemoved()),
    removeOldGroups: (...args) => perform(() => retention.removeOldGroups(...args)),
    removeGroup: (...args) => perform(() => retention.removeGroup(...args)),
    removedUntil: (...args) => perform(() => retention.removedUntil(...args)),
    listBlobs: (...args) => perform(() => retention.listBlobs(...args)),
    listGroupBlobs: (...args) => perform(() => retention.listGroupBlobs(...args)),
    touchBlob: (...args) => perform(() => retention.touchBlob(...args)),
    forgetBlob: (...args) => perform(() => retention.forgetBlob(...args)),
    saveFleetEvent: (...args) => perform(() => administration.saveFleetEvent(...args)),
    listFleetEvents: (...args) => perform(() => administration.listFleetEvents(...args)),
    getMeta: (...args) => perform(() => administration.getMeta(...args)),
    setMeta: (...args) => perform(() => administration.setMeta(...args)),
    close: async () => {
      database.close();
    },
  };
}

function openDatabase(file: string): Database.Database {
  let database: Database.Database | undefined;
  try {
    database = new Database(file);
    database.pragma('journal_mode = wal');
    database.pragma('synchronous = full');
    database.pragma('foreign_keys = on');
    database.pragma(`journal_size_limit = ${walBytesMax}`);
    checkDatabase(database, file);
    migrate(database, file);
    return database;
  } catch (caught) {
    database?.close();
    throw storeError(caught, file);
  }
}

function checkDatabase(database: Database.Database, file: string): void {
  if (statSync(file).size > checkedBytesMax) return;
  const fault = String(database.pragma('quick_check(1)', { simple: true }));
  if (fault !== 'ok') {
    throw new PerigeeError('data_corrupt', `${file} is damaged: ${fault}`);
  }
}
