/** `--mount NAME=DIR`: a folder of this machine, read-only in every sandbox as /data/NAME. */
import { stat } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { PerigeeError } from '../../protocol/base/errors.ts';

export interface Mount {
  name: string;
  /** Absolute, exists. */
  path: string;
}

const mountsMax = 100;
const namePattern = /^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$/;

/**
 * Reads the values of --mount and looks at the folders.
 * @throws PerigeeError invalid_request with the value at fault.
 */
export async function parseMounts(values: readonly string[]): Promise<Mount[]> {
  if (values.length > mountsMax)
    throw invalid(`there are more than ${mountsMax} of them`, 'Give fewer.');
  const mounts = new Map<string, Mount>();
  for (const value of values) {
    const mount = await parseMount(value);
    if (mounts.has(mount.name))
      throw invalid(`${mount.name} is given twice`, 'Give each name once.');
    mounts.set(mount.name, mount);
  }
  return [...mounts.values()];
}

async function parseMount(value: string): Promise<Mount> {
  const at = value.indexOf('=');
  const name = value.slice(0, at);
  const path = value.slice(at + 1);
  if (at < 1 || path === '') {
    throw invalid(`'${value}' is not NAME=DIR`, 'For example --mount landsat=/srv/landsat.');
  }
  if (!namePattern.test(name)) {
    throw invalid(`'${name}' is no name`, 'Use 1-63 of a-z, 0-9 and inner - or _.');
  }
  if (!isAbsolute(path)) {
    throw invalid(`'${path}' is not an absolute path`, 'Give the folder from the root on.');
  }
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory() !== true) {
    throw invalid(`'${path}' is not a folder on this machine`, 'Create it, or correct the path.');
  }
  return { name, path };
}

function invalid(what: string, fix: string): PerigeeError {
  return new PerigeeError('invalid_request', `--mount: ${what}.`, { fix });
}
