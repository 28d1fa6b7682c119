/** Holds the mesh's database against what its client saw acknowledged. */
import Database from 'better-sqlite3';
import type { AcknowledgedBatch } from './client.ts';

export interface Ledger {
  /** Breaches of the promises, in words; empty when all were kept. */
  faults: string[];
  /**
   * Attempts of each task that wrote something: those that really ran. One that was only granted, and
   * whose grant died with the coordinator, is on the ledger too and never ran.
   */
  ran: Map<string, number>;
  /** How tasks ended, by status number of the wire. */
  statuses: Record<number, number>;
}

/** Reads the database and checks every acknowledged task: one outcome, the right result, an honest ledger. */
export function readLedger(path: string, acknowledged: readonly AcknowledgedBatch[]): Ledger {
  const database = new Database(path, { readonly: true });
  try {
    const outcome = database.prepare<[number], { status: number; attempt: number; result: Buffer }>(
      'select status, attempt, result from outcome where task_key = ?',
    );
    const attempts = database
      .prepare<[number, number, number], number>(
        'select count(*) from grant_run where batch = ? and lo <= ? and lo + task_count > ?',
      )
      .pluck();
    const written = database
      .prepare<[number], number>(
        'select count(*) from log_end where task_key = ? and end_offset > 0',
      )
      .pluck();
    const charged = database
      .prepare<[number], number>(
        'select count(*) from attempt_end where task_key = ? and charged = 1',
      )
      .pluck();
    const ledger: Ledger = { faults: [], ran: new Map(), statuses: {} };
    for (const batch of acknowledged) {
      batch.values.forEach((value, index) => {
        const id = `${batch.batch}-${index}`;
        const key = batch.batch * 65_536 + index;
        const row = outcome.get(key);
        if (row === undefined) {
          ledger.faults.push(`${id} was acknowledged and has no outcome`);
          return;
        }
        ledger.statuses[row.status] = (ledger.statuses[row.status] ?? 0) + 1;
        const expected = `J${JSON.stringify(value * value)}`;
        const result = Buffer.from(row.result).toString();
        if (row.status === 0 && result !== expected) {
          ledger.faults.push(`${id} has the result ${result}, not ${expected}`);
        }
        const count = attempts.get(batch.batch, index, index) ?? 0;
        ledger.ran.set(id, written.get(key) ?? 0);
        if (row.attempt > count)
          ledger.faults.push(`${id} was settled by an attempt never granted`);
        if ((charged.get(key) ?? 0) > 0) ledger.faults.push(`${id} was charged for a planned kill`);
      });
    }
    const numbers = database
      .prepare<[], { count: number; highest: number }>(
        'select count(*) as count, coalesce(max(number), 0) as highest from outcome group by namespace_id',
      )
      .all();
    for (const { count, highest } of numbers) {
      if (count !== highest) ledger.faults.push(`${count} outcomes are numbered up to ${highest}`);
    }
    return ledger;
  } finally {
    database.close();
  }
}
