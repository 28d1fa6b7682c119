/** Runs a program that prints one JSON object a line, each a figure. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Figure } from './figures.ts';

/**
 * The figures a program printed.
 * @throws Error with the program's last words when it failed or printed something else.
 */
export async function runLines(
  of: string,
  [program, ...parameters]: readonly [string, ...string[]],
  options: { env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Promise<Figure[]> {
  const child = spawn(program, parameters, {
    ...options,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'close');
  let lastWords = '';
  child.stderr.on('data', (bytes: Buffer) => {
    lastWords = (lastWords + bytes.toString()).slice(-4_000);
  });
  const figures: Figure[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('{')) continue;
    const said = JSON.parse(line) as Omit<Figure, 'of'> & { of?: string };
    const { scenario, figure, unit } = said;
    // What it measured beside the product bears its own name.
    const whose = said.of ?? of;
    figures.push({ of: whose, scenario, figure, unit });
    process.stderr.write(`  ${whose}: ${scenario} ${figure.toFixed(2)} ${unit}\n`);
  }
  const [code, signal] = (await ended) as [number | null, string | null];
  if (code !== 0) throw new Error(`${of} ended with ${code ?? signal}:\n${lastWords}`);
  return figures;
}
