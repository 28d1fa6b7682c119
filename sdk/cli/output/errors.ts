/** The one place that turns an error into what a person or a program sees, and into an exit code. */
import { constants } from 'node:os';
import { CommanderError } from 'commander';
import { errorTable, exitCodes, PerigeeError, toError } from '../../../protocol/base/errors.ts';
import { programName } from '../terminal.ts';
import { oneLine, paint } from './text.ts';

/** What went wrong, in the form that both renderers need. */
export interface Complaint {
  code: string;
  /** What happened, in one sentence. */
  what: string;
  /** Why, as exactly as it is known. */
  why: string;
  fix: string;
  exitCode: number;
  httpStatus: number;
}

/** Shells tell an end by signal n as 128 + n. */
const signalBase = 128;

/** Thrown when a command was stopped by a signal; 128 and the signal's number is its exit code. */
export class Interrupted extends Error {
  override name = 'Interrupted';
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals) {
    super(`Stopped by ${signal}.`);
    this.exitCode = signalBase + constants.signals[signal];
  }
}

/** Any caught value as a complaint; `command` is the one whose help is the fix of a bad line. */
export function describeError(caught: unknown, command = ''): Complaint {
  if (caught instanceof CommanderError) return describeUsage(caught, command);
  if (caught instanceof PerigeeError) return describePerigee(caught);
  const error = toError(caught);
  return {
    code: 'internal',
    what: errorTable.internal.text,
    why: error.stack ?? error.message,
    fix: errorTable.internal.fix,
    exitCode: exitCodes.failed,
    httpStatus: 500,
  };
}

/** Three lines: what, why, and the fix. */
export function renderComplaint(complaint: Complaint, colors: boolean): string {
  const lines = [
    `${paint('error:', 'red', colors)} ${complaint.what} [${complaint.code}]`,
    `  why: ${complaint.code === 'internal' ? complaint.why : oneLine(complaint.why)}`,
    `  fix: ${oneLine(complaint.fix)}`,
  ];
  return `${lines.join('\n')}\n`;
}

/** The problem object of `--json`, one line. */
export function renderProblem(complaint: Complaint): string {
  const { code, what, why, fix, exitCode, httpStatus } = complaint;
  const problem = {
    type: `urn:perigee:error:${code}`,
    title: what,
    status: httpStatus,
    detail: why,
    code,
    fix,
    exitCode,
  };
  return `${JSON.stringify(problem)}\n`;
}

function describePerigee(error: PerigeeError): Complaint {
  const { text } = errorTable[error.code];
  const call = error.details['call'];
  const cause = error.cause instanceof Error ? error.cause.message : '';
  // The three lines each say something: a message that only repeats the table's text gives way.
  const why = [error.message === text ? '' : error.message, cause, String(call ?? '')].find(
    (part) => part !== '',
  );
  return {
    code: error.code,
    what: text,
    why: why ?? text,
    fix: error.fix,
    exitCode: error.exitCode,
    httpStatus: error.httpStatus,
  };
}

function describeUsage(error: CommanderError, command: string): Complaint {
  const [first = '', ...more] = error.message.replace(/^error: /, '').split('\n');
  const help = [programName, command, '--help'].filter((word) => word !== '').join(' ');
  const suggestion = /\(Did you mean (.*)\?\)/.exec(more.join(' '))?.[1];
  return {
    code: 'invalid_request',
    what: 'The command line is not valid.',
    why: `${first}.`.replace(/\.+$/, '.'),
    fix:
      suggestion === undefined ? help : `Did you mean ${suggestion}? \`${help}\` lists everything.`,
    exitCode: exitCodes.usage,
    httpStatus: errorTable.invalid_request.httpStatus,
  };
}
