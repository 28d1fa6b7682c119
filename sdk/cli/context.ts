/** What every command is given. */

import { PerigeeError } from '../../protocol/base/errors.ts';
import type { MeshView } from '../../protocol/wire/api.ts';
import { type MeshAddress, resolveAddress } from '../ts/config.ts';
import { createHttpClient, type HttpClient } from '../ts/http.ts';
import { paint } from './output/text.ts';
import { programName, type Terminal } from './terminal.ts';

export interface CommandContext {
  terminal: Terminal;
  /** Aborted when the command is interrupted. */
  signal: AbortSignal;
  nowMs(): number;
  /**
   * The mesh's HTTP API, found at the first call.
   * @throws PerigeeError unreachable when nothing says where the mesh is.
   */
  client(): Promise<HttpClient>;
}

/** Options of every command that shows something. */
export interface ShowOptions {
  json?: boolean;
}

/** What a command has to show, in both forms. */
export interface Shown {
  /** One JSON document. */
  value: unknown;
  /** For people; ends with a line end. */
  text: string;
  /** What to type next, without the program's name; null when there is nothing sensible. */
  next: string | null;
}

/** A context over a terminal. */
export function createContext(
  terminal: Terminal,
  options: { signal: AbortSignal; nowMs: () => number },
): CommandContext {
  let found: Promise<HttpClient> | undefined;
  return {
    terminal,
    signal: options.signal,
    nowMs: options.nowMs,
    async client() {
      found ??= resolveAddress({}, terminal.environment).then((address) =>
        connect(address, options.signal),
      );
      try {
        return await found;
      } catch (caught) {
        // A command that waits for its mesh asks again.
        found = undefined;
        throw caught;
      }
    },
  };
}

/**
 * A client that has looked whom it talks to: after a restart of the machine another mesh may have
 * the port of the config file, and must not be handed its token.
 */
async function connect(address: MeshAddress, signal: AbortSignal): Promise<HttpClient> {
  const client = createHttpClient(address);
  if (address.peerId === null) return client;
  const stranger = createHttpClient({ url: address.url, token: null });
  const { peerId } = await stranger.json<MeshView>('GET', '/v1/mesh', { signal });
  if (peerId === address.peerId) return client;
  throw new PerigeeError(
    'unreachable',
    `At ${address.url} is another mesh (${peerId}) than the config file names (${address.peerId}).`,
    { fix: `${programName} up starts yours again; or remove the config file.` },
  );
}

/** Shows a command's result: data on standard output, the next command on standard error. */
export function show(context: CommandContext, options: ShowOptions, shown: Shown): void {
  if (options.json === true) {
    context.terminal.stdout.write(`${JSON.stringify(shown.value, null, 2)}\n`);
    return;
  }
  context.terminal.stdout.write(shown.text);
  if (shown.next !== null) hint(context, shown.next);
}

/** Names the next command, on standard error. */
export function hint(context: CommandContext, next: string): void {
  const { stderr, errorColors } = context.terminal;
  stderr.write(`${paint(`next: ${programName} ${next}`, 'dim', errorColors)}\n`);
}

/** Says something to the person, on standard error. */
export function say(context: CommandContext, text: string): void {
  context.terminal.stderr.write(`${text}\n`);
}

/** One line of standard input; empty at its end. */
export async function readLine(context: CommandContext): Promise<string> {
  const { createInterface } = await import('node:readline');
  const { signal } = context;
  const lines = createInterface({ input: context.terminal.stdin, signal });
  try {
    for await (const line of lines) return line;
    signal.throwIfAborted();
    return '';
  } finally {
    lines.close();
  }
}
