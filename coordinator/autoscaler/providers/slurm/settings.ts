/** What a pool of Slurm jobs says below `"slurm"` in the pools file. */
import { readPoolFields } from '../pool-fields.ts';

export interface SlurmSettings {
  /** Null for the cluster's own default; an offer's `zone` names another one. */
  partition: string | null;
  account: string | null;
  qos: string | null;
  /** Of one job, in minutes; null for the partition's own. */
  timeLimitMinutes: number | null;
  /** More words for sbatch, such as `--constraint=avx512`. */
  extra: readonly string[];
  /** Where jobs run and write their logs; must be there on every node. */
  folder: string;
}

const fieldNames = ['partition', 'account', 'qos', 'timeLimitMinutes', 'extra', 'folder'];
/** Of a path, too. */
const charsMax = 4_096;
const minutesMax = 365 * 24 * 60;

/** @throws PerigeeError invalid_request */
export function parseSlurmSettings(fields: unknown): SlurmSettings {
  const pool = readPoolFields(fields, { provider: 'slurm', known: fieldNames, charsMax });
  return {
    partition: pool.textOrNull('partition'),
    account: pool.textOrNull('account'),
    qos: pool.textOrNull('qos'),
    timeLimitMinutes: pool.integerOr('timeLimitMinutes', {
      ...{ min: 1, max: minutesMax, fallback: null },
    }),
    extra: pool.texts('extra', 64),
    folder: pool.textOr('folder', '/tmp'),
  };
}
