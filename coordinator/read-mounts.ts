/** The folders that local nodes offer, as `--mount` names them; looked at once, before any node is made. */
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { PerigeeError } from '../protocol/base/errors.ts';

/** The same names that the agent takes: what it refuses would fail every node's boot. */
const namePattern = /^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$/;

/**
 * Each NAME=DIR with its folder from the root on: nodes run in folders of their own.
 * @throws PerigeeError invalid_request with the value at fault.
 */
export function readMounts(values: readonly string[]): string[] {
  const names = new Set<string>();
  return values.map((value) => {
    const at = value.indexOf('=');
    const name = value.slice(0, Math.max(at, 0));
    if (at < 1 || at === value.length - 1) {
      throw invalid(`"${value}" is not NAME=DIR`, 'For example --mount landsat=/srv/landsat.');
    }
    if (!namePattern.test(name)) {
      throw invalid(`"${name}" is no name`, 'Use 1-63 of a-z, 0-9 and inner - or _.');
    }
    if (names.has(name)) throw invalid(`${name} is given twice`, 'Give each name once.');
    names.add(name);
    const path = resolve(value.slice(at + 1));
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) {
      throw invalid(`${path} is not a folder on this machine`, 'Create it, or correct the path.');
    }
    return `${name}=${path}`;
  });
}

function invalid(what: string, fix: string): PerigeeError {
  return new PerigeeError('invalid_request', `--mount: ${what}.`, { fix });
}
