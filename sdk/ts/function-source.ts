/** Python source, and the name in it to call. */
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PerigeeError } from '../../protocol/base/errors.ts';

/** A function as text, or in a file of its own; exactly one of the two. */
export type FunctionText =
  | { source: string; file?: undefined }
  | { file: string | URL; source?: undefined };

/** What is sent of it. */
export interface FunctionSource {
  bytes: Uint8Array;
  entry: string;
}

/**
 * The source and its entry; without one, the only function at the top level of the source.
 * @throws PerigeeError invalid_request when the file cannot be read or the entry is not clear.
 */
export async function readFunctionSource(
  options: FunctionText & { entry?: string | undefined },
): Promise<FunctionSource> {
  if ((options.source === undefined) === (options.file === undefined)) {
    throw new PerigeeError('invalid_request', 'A function is given as source or as a file.', {
      fix: 'Give exactly one of `source` and `file`.',
    });
  }
  const bytes =
    options.file === undefined ? Buffer.from(options.source) : await readSourceFile(options.file);
  return { bytes, entry: options.entry ?? findEntry(bytes.toString('utf8')) };
}

async function readSourceFile(file: string | URL): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (cause) {
    const path = file instanceof URL ? fileURLToPath(file) : file;
    throw new PerigeeError('invalid_request', `${basename(path)} cannot be read.`, {
      cause,
      fix: `Check the path ${path}.`,
    });
  }
}

function findEntry(source: string): string {
  const names = new Set(
    [...source.matchAll(/^def +([A-Za-z_]\w*)/gm)].map((match) => match[1] ?? ''),
  );
  const [only] = names;
  if (only !== undefined && names.size === 1) return only;
  const found = names.size === 0 ? 'none' : [...names].join(', ');
  throw new PerigeeError(
    'invalid_request',
    `The source has not one function at its top level, but ${found}.`,
    { fix: 'Say which one to call: `entry`.' },
  );
}
