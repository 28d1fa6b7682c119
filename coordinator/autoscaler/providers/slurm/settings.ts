/** What a pool of Slurm jobs says below `"slurm"` in the pools file. */
import {
  readIntegerOr,
  readObject,
  readTextOr,
  readTextsOrNull,
  refuseUnknownFields,
} from '../../../gateway/input/fields.ts';

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

const text = { charsMax: 256, fallback: null };

/** @throws PerigeeError invalid_request */
export function parseSlurmSettings(fields: unknown): SlurmSettings {
  const input = readObject(fields ?? {}, '"slurm"');
  const names = ['partition', 'account', 'qos', 'timeLimitMinutes', 'extra', 'folder'];
  refuseUnknownFields(input, names, '"slurm"');
  const range = { min: 1, max: 365 * 24 * 60, fallback: null };
  return {
    partition: readTextOr(input, 'partition', text),
    account: readTextOr(input, 'account', text),
    qos: readTextOr(input, 'qos', text),
    timeLimitMinutes: readIntegerOr(input, 'timeLimitMinutes', range),
    extra: readTextsOrNull(input, 'extra', 64) ?? [],
    folder: readTextOr(input, 'folder', { charsMax: 4_096, fallback: '/tmp' }),
  };
}
