/** Runs a program that prints one JSON object a line, each a figure. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Figure } from './figures.ts';
import { type CpuMeter, startCpuMeter } from './product/processes.ts';

/** A line: a figure, or where only `mark` is given, the end of what is not to be measured. */
interface Line {
  mark?: true;
  of?: string;
  scenario: string;
  figure: number;
  unit: string;
  tasks?: number;
}

/**
 * The figures a program printed.
 * @throws Error with the program's last words when it failed or printed something else.
 */
export async function runLines(
  of: string,
  [program, ...parameters]: readonly [string, ...string[]],
  options: { env?: NodeJS.ProcessEnv; cwd?: string; meshPid?: number } = {},
): Promise<Figure[]> {
  const child = spawn(program, parameters, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'close');
  let lastWords = '';
  child.stderr.on('data', (bytes: Buffer) => {
    lastWords = (lastWords + bytes.toString()).slice(-4_000);
  });
  const { meshPid } = options;
  const readCpu: CpuMeter | null =
    meshPid === undefined || child.pid === undefined ? null : startCpuMeter([meshPid, child.pid]);
  const figures: Figure[] = [];
  for await (const text of createInterface({ input: child.stdout })) {
    if (!text.startsWith('{')) continue;
    const line = JSON.parse(text) as Line;
    const cpuMs = readCpu?.();
    if (line.mark === true) continue;
    const { scenario, figure, unit, tasks } = line;
    // What it measured beside the product bears its own name.
    const whose = line.of ?? of;
    figures.push({
      of: whose,
      scenario,
      figure,
      unit,
      // What follows at once, as a quantile of the same run, has no time of its own.
      ...(cpuMs === undefined || tasks === undefined ? {} : { cpuMs, tasks }),
    });
    process.stderr.write(`  ${whose}: ${scenario} ${figure.toFixed(2)} ${unit}\n`);
  }
  const [code, signal] = (await ended) as [number | null, string | null];
  if (code !== 0) throw new Error(`${of} ended with ${code ?? signal}:\n${lastWords}`);
  return figures;
}
