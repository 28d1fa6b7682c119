import { describe, expect, it } from 'vitest';
import { errorTable, PerigeeError } from '../../../../../protocol/base/errors.ts';
import {
  describeError,
  Interrupted,
  renderComplaint,
  renderProblem,
} from '../../../../../sdk/cli/output/errors.ts';

describe('an error', () => {
  it('is three lines: what, why and the fix', () => {
    const error = new PerigeeError('not_found', 'There is no task "9-9".', { fix: 'Look.' });
    expect(renderComplaint(describeError(error), false)).toBe(
      'error: There is no such thing. [not_found]\n  why: There is no task "9-9".\n  fix: Look.\n',
    );
  });

  it('says why even when the message is the table’s own', () => {
    const bare = new PerigeeError('token_wrong', undefined, {
      details: { call: 'GET /v1/status' },
    });
    expect(describeError(bare).why).toBe('GET /v1/status');
    const caused = new PerigeeError('internal', undefined, { cause: new Error('why it was') });
    expect(describeError(caused).why).toBe('why it was');
  });

  it('stays three lines whatever a message holds', () => {
    const error = new PerigeeError('conflict', 'one\ntwo\u001b[2J', { fix: 'three\nfour' });
    const text = renderComplaint(describeError(error), false);
    expect(text.split('\n')).toHaveLength(4);
    expect(text).not.toContain('\u001b');
  });

  it('as a problem carries the code, both statuses and the fix on one line', () => {
    const line = renderProblem(describeError(new PerigeeError('data_locked', 'Held.')));
    expect(line.endsWith('\n')).toBe(true);
    expect(JSON.parse(line)).toEqual({
      type: 'urn:perigee:error:data_locked',
      title: errorTable.data_locked.text,
      status: 500,
      detail: 'Held.',
      code: 'data_locked',
      fix: errorTable.data_locked.fix,
      exitCode: 6,
    });
  });

  it('that nobody expected keeps its stack', () => {
    const complaint = describeError(new TypeError('oops'));
    expect(complaint).toMatchObject({ code: 'internal', exitCode: 1 });
    expect(complaint.why).toMatch(/oops\n\s+at /);
    expect(describeError('text')).toMatchObject({
      code: 'internal',
      why: expect.stringContaining('text'),
    });
  });
});

describe('an interruption', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('by %s ends with %d', (signal, exitCode) => {
    expect(new Interrupted(signal).exitCode).toBe(exitCode);
  });
});
