/**
 * The pools file: what it may say, checked to the last field before anything starts. A pool that
 * contradicts itself would buy for nothing, or never.
 */
import { readFileSync } from 'node:fs';
import { PerigeeError, toError } from '../../../protocol/base/errors.ts';
import type { NamespaceName } from '../../../protocol/wire/ids.ts';
import { isolationLevels } from '../../../protocol/wire/task.ts';
import type { InstanceOffer } from '../provider-port.ts';

export const poolKinds = ['ec2', 'gce', 'slurm', 'command'] as const;
export type PoolKind = (typeof poolKinds)[number];

/** One pool as the file says, with defaults filled in. */
export interface PoolEntry {
  name: string;
  kind: PoolKind;
  min: number;
  max: number;
  warm: number;
  idleMs: number;
  bootMsMax: number;
  leaveMsMax: number;
  billingFloorMs: number;
  spendPerHourMax: number | null;
  spendTotalMax: number | null;
  namespaces: readonly NamespaceName[] | null;
  dryRun: boolean;
  offers: readonly InstanceOffer[];
  /** What stands below the provider's name; its own code reads it. */
  fields: unknown;
}

type Fields = Record<string, unknown>;

const poolFields = [
  ...[
    'name',
    'provider',
    'min',
    'max',
    'warm',
    'idleSeconds',
    'bootSecondsMax',
    'leaveSecondsMax',
    'billingFloorSeconds',
  ],
  ...['spend', 'namespaces', 'dryRun', 'offers', ...poolKinds],
];
const offerFields = [
  'id',
  'type',
  'zone',
  'spot',
  'slots',
  'cpus',
  'memoryGiB',
  'isolation',
  'allowNetwork',
  'pricePerHour',
];
const instancesLimit = 10_000;
const poolsLimit = 100;
const offersLimit = 100;
const gib = 1024 ** 3;
/** What clouds bill at least; batch queues and scripts bill nothing by themselves. */
const billingFloorSeconds: Record<PoolKind, number> = { ec2: 60, gce: 60, slurm: 0, command: 0 };

/**
 * Reads and checks the file.
 * @throws PerigeeError invalid_request that names the pool and the field.
 */
export function readPools(file: string): PoolEntry[] {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, 'utf8'));
  } catch (caught) {
    const cause = toError(caught);
    throw new PerigeeError('invalid_request', `The pools file cannot be read: ${cause.message}`, {
      cause,
      fix: 'Check --pools; docs/autoscaling.md shows such a file.',
    });
  }
  return parsePools(value, file);
}

/** The same from a value. */
export function parsePools(value: unknown, file: string): PoolEntry[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > poolsLimit) {
    throw refusal(file, `it must be a list of 1 to ${poolsLimit} pools`);
  }
  const pools = value.map((entry, index) => readPool(entry, `${file}: pool ${index + 1}`));
  const names = pools.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw refusal(file, `two pools are called "${twice}"`);
  return pools;
}

function readPool(value: unknown, place: string): PoolEntry {
  const fields = readFields(value, { place, known: poolFields });
  const name = fields['name'];
  if (typeof name !== 'string' || !/^[a-z][a-z0-9-]{0,30}$/.test(name) || name === 'local') {
    const rule = 'lower-case letters, digits and dashes, at most 31, not "local"';
    throw refusal(place, `"name" is ${show(name)}; it must be ${rule}`);
  }
  const at = `${place} ("${name}")`;
  const kind = poolKinds.find((known) => known === fields['provider']);
  if (kind === undefined) {
    throw refusal(
      at,
      `"provider" is ${show(fields['provider'])}, not one of ${poolKinds.join(', ')}`,
    );
  }
  for (const other of poolKinds) {
    if (other !== kind && fields[other] !== undefined) {
      throw refusal(at, `"${other}" stands in a pool of provider "${kind}"`);
    }
  }
  const number = (field: string, options: { fallback: number; max: number; whole?: boolean }) =>
    readNumber(fields, field, { place: at, min: 0, whole: false, ...options });
  const whole = (field: string, fallback: number) =>
    number(field, { fallback, max: instancesLimit, whole: true });
  const day = 86_400;
  const entry: PoolEntry = {
    name,
    kind,
    min: whole('min', 0),
    max: readNumber(fields, 'max', { place: at, min: 0, max: instancesLimit, whole: true }),
    warm: whole('warm', 0),
    idleMs: number('idleSeconds', { fallback: 0, max: 7 * day }) * 1000,
    bootMsMax: number('bootSecondsMax', { fallback: 900, max: 7 * day }) * 1000,
    leaveMsMax: number('leaveSecondsMax', { fallback: 60, max: day }) * 1000,
    billingFloorMs:
      number('billingFloorSeconds', { fallback: billingFloorSeconds[kind], max: day }) * 1000,
    ...readSpend(fields['spend'], at),
    namespaces: readNamespaces(fields['namespaces'], at),
    dryRun: readSwitch(fields, 'dryRun', at),
    offers: readOffers(fields['offers'], at),
    fields: fields[kind] ?? {},
  };
  checkRelations(entry, at);
  return entry;
}

function checkRelations(entry: PoolEntry, place: string): void {
  const { min, max, warm, spendPerHourMax, spendTotalMax, offers } = entry;
  if (min > max) throw refusal(place, `"min" is ${min}, more than "max", ${max}`);
  if (warm > max) throw refusal(place, `"warm" is ${warm}, more than "max", ${max}`);
  if (entry.bootMsMax < 10_000) throw refusal(place, '"bootSecondsMax" is less than 10');
  const isCapped = spendPerHourMax !== null || spendTotalMax !== null;
  const unpriced = offers.find(({ pricePerHour }) => pricePerHour === 0);
  if (isCapped && unpriced !== undefined) {
    throw refusal(
      place,
      `"spend" caps what offer "${unpriced.id}" costs, which has no "pricePerHour"`,
    );
  }
  if (spendPerHourMax === null) return;
  const least = Math.min(...offers.map(({ pricePerHour }) => pricePerHour));
  if (least * Math.max(1, min) > spendPerHourMax) {
    throw refusal(
      place,
      `"spend.perHour" is ${spendPerHourMax}, less than ${Math.max(1, min)} of its cheapest offer cost`,
    );
  }
}

function readOffers(value: unknown, place: string): InstanceOffer[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > offersLimit) {
    throw refusal(
      place,
      `"offers" must be a list of 1 to ${offersLimit} machines, the preferred first`,
    );
  }
  const offers = value.map((one, index) => readOffer(one, `${place}, offer ${index + 1}`));
  const ids = offers.map(({ id }) => id);
  const twice = ids.find((id, index) => ids.indexOf(id) !== index);
  if (twice !== undefined) throw refusal(place, `two offers are called "${twice}"`);
  return offers;
}

function readOffer(value: unknown, place: string): InstanceOffer {
  const fields = readFields(value, { place, known: offerFields });
  const text = (field: string): string | null => {
    const given = fields[field];
    if (given === undefined || given === null) return null;
    if (typeof given === 'string' && given !== '' && given.length <= 200) return given;
    throw refusal(place, `"${field}" is ${show(given)}, not a text`);
  };
  const type = text('type');
  if (type === null) throw refusal(place, '"type" is missing');
  const zone = text('zone');
  const spot = readSwitch(fields, 'spot', place);
  const cpus = readNumber(fields, 'cpus', { place, min: 0.1, max: 1_024, whole: false });
  const memoryGiB = readNumber(fields, 'memoryGiB', { place, min: 0.1, max: 65_536, whole: false });
  const isolation = isolationLevels.find((level) => level === (fields['isolation'] ?? 'standard'));
  if (isolation === undefined) {
    throw refusal(
      place,
      `"isolation" is ${show(fields['isolation'])}, not one of ${isolationLevels.join(', ')}`,
    );
  }
  const fallback = Math.max(1, Math.floor(cpus));
  return {
    id: text('id') ?? [type, zone, spot ? 'spot' : null].filter((part) => part !== null).join('/'),
    type,
    zone,
    spot,
    shape: {
      slots: readNumber(fields, 'slots', { place, min: 1, max: 1_024, whole: true, fallback }),
      cpus,
      memoryBytes: Math.floor(memoryGiB * gib),
      isolation,
      network: readSwitch(fields, 'allowNetwork', place),
    },
    pricePerHour: readNumber(fields, 'pricePerHour', {
      place,
      min: 0,
      max: 1_000,
      whole: false,
      fallback: 0,
    }),
  };
}

function readSpend(
  value: unknown,
  place: string,
): Pick<PoolEntry, 'spendPerHourMax' | 'spendTotalMax'> {
  if (value === undefined || value === null) return { spendPerHourMax: null, spendTotalMax: null };
  const fields = readFields(value, { place: `${place}, "spend"`, known: ['perHour', 'total'] });
  const dollars = (field: string): number | null =>
    fields[field] === undefined || fields[field] === null
      ? null
      : readNumber(fields, field, {
          place: `${place}, "spend"`,
          min: 0.001,
          max: 1e9,
          whole: false,
        });
  return { spendPerHourMax: dollars('perHour'), spendTotalMax: dollars('total') };
}

function readNamespaces(value: unknown, place: string): NamespaceName[] | null {
  if (value === undefined || value === null) return null;
  if (Array.isArray(value) && value.length > 0 && value.every((name) => typeof name === 'string')) {
    return value as NamespaceName[];
  }
  throw refusal(place, `"namespaces" is ${show(value)}, not a list of names`);
}

function readSwitch(fields: Fields, field: string, place: string): boolean {
  const value = fields[field] ?? false;
  if (typeof value === 'boolean') return value;
  throw refusal(place, `"${field}" is ${show(value)}, not true or false`);
}

function readNumber(
  fields: Fields,
  field: string,
  options: { place: string; min: number; max: number; whole: boolean; fallback?: number },
): number {
  const { place, min, max, whole } = options;
  const value = fields[field] ?? options.fallback;
  const kind = whole ? 'a whole number' : 'a number';
  if (value === undefined)
    throw refusal(place, `"${field}" is missing: ${kind} from ${min} to ${max}`);
  const fits = typeof value === 'number' && value >= min && value <= max;
  if (fits && (!whole || Number.isInteger(value))) return value;
  throw refusal(place, `"${field}" is ${show(value)}, not ${kind} from ${min} to ${max}`);
}

function readFields(value: unknown, options: { place: string; known: readonly string[] }): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw refusal(options.place, `${show(value)} is not an object`);
  }
  const unknown = Object.keys(value).find((field) => !options.known.includes(field));
  if (unknown !== undefined) {
    throw refusal(
      options.place,
      `there is no field "${unknown}"; it takes ${options.known.join(', ')}`,
    );
  }
  return value as Fields;
}

function show(value: unknown): string {
  return (JSON.stringify(value) ?? 'missing').slice(0, 80);
}

function refusal(place: string, what: string): PerigeeError {
  return new PerigeeError('invalid_request', `${place}: ${what}.`, {
    fix: 'Correct the pools file; docs/autoscaling.md says what each field means.',
  });
}
