/**
 * Where the mesh is and with what token: options, then `PERIGEE_URL` and `PERIGEE_TOKEN`, then the
 * config file that `scripts/perigee up` writes, so that a script on the same machine needs nothing.
 */
import { chmod, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { PerigeeError } from '../../protocol/base/errors.ts';

/** The environment variables that are read here; `process.env` by default. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What the config file holds. */
export interface MeshConfig {
  url: string;
  token: string;
  /** Pinned: a coordinator with another identity is not talked to. */
  peerId: string;
  /** The mesh's data directory on the machine that wrote the file. */
  data: string;
}

/** Where to reach a mesh. */
export interface MeshAddress {
  url: string;
  /** Null when none was given: enough for what needs no token. */
  token: string | null;
  /** Null when the address did not come from the config file. */
  peerId: string | null;
}

/** The config file's path: `PERIGEE_CONFIG`, else below the XDG config home. */
export function configPath(environment: Environment): string {
  const named = environment['PERIGEE_CONFIG'];
  if (named !== undefined && named !== '') return named;
  const xdg = environment['XDG_CONFIG_HOME'];
  const home = environment['HOME'] ?? homedir();
  return join(
    xdg !== undefined && xdg !== '' ? xdg : join(home, '.config'),
    'perigee',
    'config.json',
  );
}

/**
 * The config file's content; undefined when there is no file.
 * @throws PerigeeError forbidden when others can read it, invalid_request when it is not valid.
 */
export async function findConfig(path: string): Promise<MeshConfig | undefined> {
  let text: string;
  try {
    const { mode } = await stat(path);
    // The token in it is a credential: a file that others can read has already given it away.
    if ((mode & 0o077) !== 0) {
      throw new PerigeeError('forbidden', `${path} can be read by others; it holds a token.`, {
        fix: `chmod 600 ${path}`,
      });
    }
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (hasCode(cause, 'ENOENT') || hasCode(cause, 'ENOTDIR')) return undefined;
    if (cause instanceof PerigeeError) throw cause;
    throw new PerigeeError('invalid_request', `${path} cannot be read.`, { cause });
  }
  return decodeConfig(path, text);
}

/** Writes the config file as mode 0600, in one step, so that no reader sees half of it. */
export async function writeConfig(path: string, config: MeshConfig): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await writeFile(temporary, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
    await chmod(temporary, 0o600);
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}

/**
 * The mesh to talk to.
 * @throws PerigeeError unreachable when nothing names one; and what `findConfig` throws.
 */
export async function resolveAddress(
  options: { url?: string | undefined; token?: string | undefined },
  environment: Environment,
): Promise<MeshAddress> {
  const url = nonEmpty(options.url) ?? nonEmpty(environment['PERIGEE_URL']);
  const token = nonEmpty(options.token) ?? nonEmpty(environment['PERIGEE_TOKEN']);
  // A URL without a token takes the file's token only if the file is about the same mesh: a token
  // must never be sent to a mesh that did not issue it.
  if (url !== undefined && token !== undefined) return { url: checkUrl(url), token, peerId: null };
  const path = configPath(environment);
  const config = await findConfig(path);
  if (url !== undefined) {
    const same = config !== undefined && trimUrl(config.url) === trimUrl(url);
    return {
      url: checkUrl(url),
      token: same ? config.token : null,
      peerId: same ? config.peerId : null,
    };
  }
  if (config === undefined) {
    throw new PerigeeError(
      'unreachable',
      `No mesh is up on this machine: there is no ${path}, and PERIGEE_URL is not set.`,
      { fix: 'scripts/perigee up' },
    );
  }
  return { url: checkUrl(config.url), token: token ?? config.token, peerId: config.peerId };
}

/** A URL without the slash at its end. */
export function trimUrl(url: string): string {
  return url.replace(/\/+$/, '');
}

function checkUrl(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed === undefined || !['http:', 'https:'].includes(parsed.protocol)) {
    throw new PerigeeError('invalid_request', `"${url}" is not an http or https URL.`, {
      fix: 'Give one like http://127.0.0.1:7480 in PERIGEE_URL.',
    });
  }
  return trimUrl(url);
}

function decodeConfig(path: string, text: string): MeshConfig {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalidConfig(path, 'it is not JSON', cause);
  }
  if (typeof value !== 'object' || value === null) throw invalidConfig(path, 'it is not an object');
  const fields = value as Record<string, unknown>;
  const [url, token, peerId, data] = [
    fields['url'],
    fields['token'],
    fields['peerId'],
    fields['data'],
  ];
  if (typeof url !== 'string') throw invalidConfig(path, '"url" is missing');
  if (typeof token !== 'string') throw invalidConfig(path, '"token" is missing');
  if (typeof peerId !== 'string') throw invalidConfig(path, '"peerId" is missing');
  return { url, token, peerId, data: typeof data === 'string' ? data : '' };
}

function invalidConfig(path: string, fault: string, cause?: unknown): PerigeeError {
  return new PerigeeError('invalid_request', `The config file ${path} is not valid: ${fault}.`, {
    cause,
    fix: 'Remove the file and run `scripts/perigee up`, which writes a new one.',
  });
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text === '' ? undefined : text;
}

function hasCode(caught: unknown, code: string): boolean {
  return caught instanceof Error && 'code' in caught && caught.code === code;
}
