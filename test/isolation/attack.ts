/** The shape of an attack, and what the attacks share. docs/isolation.md is made from the same list. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { baseEnvironment } from '../../node-agent/runner/launch.ts';
import type { IsolationLevel } from '../../protocol/wire/task.ts';
import type { CallEnd, Sandboxes } from './sandboxes.ts';

/** What an attack may aim at, outside the sandbox; made afresh for each level. */
export interface Targets {
  sandboxes: Sandboxes;
  /** A file that every user of the machine may read. */
  secretPath: string;
  /** A process of root's. */
  decoyPid: number;
  /** Where the machine itself listens. */
  tcpPort: number;
  abstractName: string;
}

export interface Attack {
  title: string;
  /** What stops it, for the documentation. */
  stoppedAs: string;
  /** Levels that stop it; it runs at each of them. */
  levels: readonly IsolationLevel[];
  /** Python source of `f(argument)`; `attempt` and `libc` are at hand. */
  source: string;
  /** What `f` is called with. */
  argument?: (targets: Targets) => unknown;
  /** Overrides of the group. */
  memoryBytes?: number;
  taskIsolation?: 'worker' | 'task';
  /** Calls before the one that is judged. */
  callsBefore?: number;
  /** Whether the attack was stopped: throws when not. */
  holds(end: CallEnd, targets: Targets): void | Promise<void>;
}

export const everyLevel = ['strong', 'standard', 'reduced', 'minimal'] as const;
export const ownNamespaces = ['strong', 'standard', 'reduced'] as const;

/** For attacks that gVisor answers by a kernel of the task's own; `attacks-gvisor.ts` has its side. */
export const machineKernel = ['standard', 'reduced', 'minimal'] as const;

/** Whether this machine has what a level's tests need; `strong` alone is not part of every set-up. */
export function isMissing(level: IsolationLevel): boolean {
  return level === 'strong' && (process.getuid?.() !== 0 || findInstalled('runsc') === undefined);
}

/** Where the agent would find a program of the machine. */
export function findInstalled(program: string): string | undefined {
  const folders = baseEnvironment({ cpus: 1 })['PATH']?.split(':') ?? [];
  return folders.map((folder) => join(folder, program)).find((path) => existsSync(path));
}

/** Put before each attack's source. */
export const prelude = `
import ctypes, errno, os, signal, socket, struct, sys, time

def attempt(action):
    try:
        value = action()
    except (OSError, IOError, ValueError) as caught:
        number = getattr(caught, 'errno', None)
        return 'stopped ' + (errno.errorcode.get(number, str(number)) if number else type(caught).__name__)
    return 'done %r' % (value,)

def write_file(path, data):
    with open(path, 'wb') as opened:
        opened.write(data)

def read_file(path):
    with open(path, 'rb') as opened:
        return opened.read()

libc = ctypes.CDLL(None, use_errno=True)

def syscall(*arguments):
    ctypes.set_errno(0)
    result = libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result == -1:
        raise OSError(ctypes.get_errno(), 'syscall')
    return result
`;

/** Holds when the function came back and every attempt in its result was stopped. */
export function wasStopped(end: CallEnd): void {
  const value = resultValue(end);
  const attempts = Array.isArray(value) ? value : [value];
  expect(attempts.length).toBeGreaterThan(0);
  for (const attempt of attempts) expect(String(attempt)).toMatch(/(^|: )stopped/);
}

/** Holds when the function returned exactly this. */
export function returned(expected: unknown): (end: CallEnd) => void {
  return (end) => expect(resultValue(end)).toEqual(expected);
}

/** What the function returned. */
export function resultValue(end: CallEnd): unknown {
  if (end.kind === 'workerEnded') {
    throw new Error(`the worker ended: ${JSON.stringify(end.event.end)} ${end.log}`);
  }
  if (end.task.status !== 'success') throw new Error(end.task.failure?.traceback);
  return end.value;
}

/** Holds when the worker ended like this. */
export function endedWith(expected: object): (end: CallEnd) => void {
  return (end) => {
    expect(end.kind === 'workerEnded' ? end.event.end : end).toMatchObject(expected);
  };
}
