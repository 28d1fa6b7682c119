/** Why a coordinator did not start, out of what it wrote to standard error. */
import { isErrorCode, PerigeeError } from '../../../protocol/base/errors.ts';

const quotedCharsMax = 2_000;

/**
 * The coded error among the lines, or an `internal` one that quotes their end. A line counts when
 * it is a JSON object with a code of the table, at its top or under `error` or `err`.
 */
export function describeStartFailure(lines: readonly string[], ended: string): PerigeeError {
  for (const line of lines.toReversed()) {
    const found = findCoded(line);
    if (found !== undefined) return found;
  }
  const quoted = lines.join('\n').slice(-quotedCharsMax);
  return new PerigeeError('internal', `The coordinator ${ended} before it was ready.\n${quoted}`);
}

/** Whether starting again could help; a coded refusal will be the same refusal again. */
export function isWorthRestarting(error: PerigeeError): boolean {
  return error.code === 'internal' || error.retryable;
}

function findCoded(line: string): PerigeeError | undefined {
  const fields = parseObject(line);
  if (fields === undefined) return undefined;
  for (const part of [fields, fields['error'], fields['err']]) {
    if (typeof part !== 'object' || part === null) continue;
    const { code, message, detail, msg, fix } = part as Record<string, unknown>;
    if (!isErrorCode(code)) continue;
    const why = [detail, message, msg].find((text) => typeof text === 'string');
    return new PerigeeError(
      code,
      typeof why === 'string' ? why : undefined,
      typeof fix === 'string' ? { fix } : {},
    );
  }
  return undefined;
}

/** A line of the coordinator's log as people read it; undefined when it is below `levelMin`. */
export function renderLogLine(line: string, levelMin: number): string | undefined {
  const fields = parseObject(line);
  if (fields === undefined) return line.trim() === '' ? undefined : `coordinator: ${line}`;
  const { level, msg } = fields;
  if (typeof level === 'number' && level < levelMin) return undefined;
  const {
    level: _,
    msg: __,
    time: ___,
    pid: ____,
    hostname: _____,
    name: ______,
    ...rest
  } = fields;
  const more = Object.keys(rest).length === 0 ? '' : ` ${JSON.stringify(rest)}`;
  return `coordinator: ${typeof msg === 'string' ? msg : ''}${more}`;
}

function parseObject(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
