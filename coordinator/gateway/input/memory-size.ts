/** Sizes as people write them: `2Gi`, `512MB`, or bytes. */
import { PerigeeError } from '../../../protocol/base/errors.ts';
import { show } from './fields.ts';

const decimal = 1000;
const binary = 1024;
const units: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: decimal,
  kb: decimal,
  m: decimal ** 2,
  mb: decimal ** 2,
  g: decimal ** 3,
  gb: decimal ** 3,
  t: decimal ** 4,
  tb: decimal ** 4,
  ki: binary,
  kib: binary,
  mi: binary ** 2,
  mib: binary ** 2,
  gi: binary ** 3,
  gib: binary ** 3,
  ti: binary ** 4,
  tib: binary ** 4,
};

/**
 * The bytes that a size stands for; fractions of a byte are dropped.
 * @throws PerigeeError invalid_request
 */
export function parseMemorySize(value: unknown): number {
  if (typeof value === 'number' && Number.isFinite(value)) return Math.floor(value);
  if (typeof value === 'string') {
    const match = /^\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*$/i.exec(value);
    const unit = units[(match?.[2] ?? '').toLowerCase()];
    if (match !== null && unit !== undefined) return Math.floor(Number(match[1]) * unit);
  }
  throw new PerigeeError('invalid_request', `"memory" cannot be ${show(value)}.`, {
    fix: 'Write a number of bytes, or a number with a unit: "512MB", "2GB", "512Mi", "2Gi".',
    details: { field: 'memory' },
  });
}

/** A size for messages: `2.0 Gi`. */
export function formatMemorySize(bytes: number): string {
  const gib = bytes / binary ** 3;
  return gib >= 1 ? `${gib.toFixed(1)} Gi` : `${(bytes / binary ** 2).toFixed(0)} Mi`;
}
