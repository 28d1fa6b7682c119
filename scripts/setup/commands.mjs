// Runs the programs that set-up needs, with their output in the log and only its end shown when
// one fails.

import { spawn } from 'node:child_process';
import { accessSync, appendFileSync, constants, mkdirSync, statSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { logFile } from './places.mjs';

const tailLinesMax = 20;
const outputCharsMax = 4 * 1024 * 1024;
const running = new Set();
let isStopped = false;

/** An error whose message is for the person at the terminal: what happened and what to do. */
export class SetupError extends Error {}

/**
 * Runs a program to its end and returns what it wrote on stdout.
 * @throws SetupError with `problem`, the end of the output and the log's path.
 */
export function run(program, parameters, options = {}) {
  const { problem, env = process.env, cwd, input } = options;
  return new Promise((done, fail) => {
    if (isStopped)
      return fail(new SetupError(`${program} was not started: set-up was interrupted`));
    const title = [program, ...parameters].join(' ');
    log(`$ ${title.length > 500 ? `${title.slice(0, 500)} …` : title}\n`);
    const child = spawn(program, parameters, {
      cwd,
      env,
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      // A process group of its own, so that what it starts can be ended with it.
      detached: true,
    });
    running.add(child);
    let output = '';
    let everything = '';
    const keep = (text) => {
      log(text);
      everything = (everything + text).slice(-outputCharsMax);
    };
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output = (output + text).slice(-outputCharsMax);
      keep(text);
    });
    child.stderr.setEncoding('utf8').on('data', keep);
    if (input !== undefined) child.stdin.on('error', () => {}).end(input);
    child.on('error', (error) => {
      running.delete(child);
      fail(new SetupError(`${problem ?? `${program} failed`}: ${error.message}`, { cause: error }));
    });
    child.on('close', (status, signal) => {
      running.delete(child);
      if (status === 0) return done(output);
      const end = everything.trimEnd().split('\n').slice(-tailLinesMax).join('\n  ');
      const how = signal ? `was ended by ${signal}` : `exited with status ${status}`;
      fail(
        new SetupError(
          `${problem ?? 'A command failed'} (${program} ${how}):\n  ${end}\n` +
            `The whole log: ${logFile}`,
        ),
      );
    });
  });
}

/** Ends what still runs and starts nothing more: an interrupted set-up leaves no process behind. */
export function stopRunning() {
  isStopped = true;
  for (const child of running) {
    try {
      process.kill(-child.pid, 'SIGTERM');
    } catch (error) {
      // It has ended, and with it its group.
      if (error.code !== 'ESRCH') throw error;
    }
  }
}

/** The path of a program on PATH (and the administrator's folders), or undefined. */
export function findProgram(name, env = process.env) {
  const folders = [...(env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  for (const folder of folders) {
    if (folder === '') continue;
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch (error) {
      if (!['ENOENT', 'ENOTDIR', 'EACCES'].includes(error.code)) throw error;
    }
  }
  return undefined;
}

export function log(text) {
  mkdirSync(dirname(logFile), { recursive: true });
  appendFileSync(logFile, text);
}

const nodeMajorMin = 18;

/** @throws SetupError when even these scripts are too new for the Node that runs them. */
export function checkNode() {
  const major = Number.parseInt(process.versions.node, 10);
  if (major >= nodeMajorMin && process.platform === 'linux') return;
  throw new SetupError(
    `Set-up needs Linux and Node ${nodeMajorMin} or later to start with (this is ` +
      `${process.platform}, Node ${process.versions.node}). On Debian 12: apt-get install nodejs npm`,
  );
}
