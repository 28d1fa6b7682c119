/** Runs users' Python scripts against a mesh by `scripts/perigee python`, as a person does. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Ended, launcher, type RunOptions, runProgram } from '../setup/run-program.ts';

/** The two client environments that set-up makes, by their flag. */
export const pythons = [
  { version: '2.7', flag: '--py2', image: 'perigee/geospatial:py2.7' },
  { version: '3.11', flag: '--py3', image: 'perigee/python:py3.11' },
] as const;

export type ClientPython = (typeof pythons)[number];

export interface Scripts extends Disposable {
  /** Runs a script of its own file in the environment of the mesh. */
  run(script: string, options?: ScriptOptions): Promise<Ended>;
}

export interface ScriptOptions {
  /** `--py2` by default. */
  flag?: ClientPython['flag'];
  parameters?: readonly string[];
  env?: NodeJS.ProcessEnv;
  input?: string;
  when?: RunOptions['when'];
}

/** Scripts for the clients of a mesh; `environment` is what names the mesh. */
export function createScripts(environment: NodeJS.ProcessEnv): Scripts {
  const folder = mkdtempSync(join(tmpdir(), 'perigee-scripts-'));
  let count = 0;
  return {
    run(script, { flag = '--py2', parameters = [], env = {}, input = '', when } = {}) {
      count += 1;
      const path = join(folder, `script-${count}.py`);
      writeFileSync(path, `# -*- coding: utf-8 -*-\n${script}`);
      return runProgram([launcher, 'python', flag, path, ...parameters], {
        cwd: folder,
        env: { ...environment, ...env },
        input,
        ...(when === undefined ? {} : { when }),
      });
    },
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}
