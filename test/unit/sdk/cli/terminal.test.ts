import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { createTerminal } from '../../../../sdk/cli/terminal.ts';

const terminal = (isTTY: boolean, env: Record<string, string> = {}) =>
  createTerminal({
    stdin: Object.assign(new PassThrough(), { isTTY }),
    stdout: Object.assign(new PassThrough(), { isTTY, columns: 100 }),
    stderr: Object.assign(new PassThrough(), { isTTY }),
    env,
    on: () => undefined,
    off: () => undefined,
  });

describe('a terminal', () => {
  it('has a width, colours and somebody to ask; a pipe has none of them', () => {
    expect(terminal(true)).toMatchObject({ columns: 100, outColors: true, canAsk: true });
    expect(terminal(false)).toMatchObject({ columns: null, outColors: false, canAsk: false });
  });

  it.each([
    [{ NO_COLOR: '1' }, { outColors: false, columns: 100 }],
    [{ TERM: 'dumb' }, { outColors: false }],
    [{ CI: 'true' }, { canAsk: false }],
    [{ PERIGEE_FORCE_TTY: '60' }, { columns: 60 }],
  ])('follows %j', (env, expected) => expect(terminal(true, env)).toMatchObject(expected));

  it('can be forced where there is none', () => {
    expect(terminal(false, { FORCE_COLOR: '1' })).toMatchObject({ outColors: true, columns: null });
    expect(terminal(false, { PERIGEE_FORCE_TTY: '60' })).toMatchObject({
      outColors: true,
      columns: 60,
    });
    expect(terminal(false, { PERIGEE_FORCE_TTY: 'wide' })).toMatchObject({ columns: null });
  });
});
