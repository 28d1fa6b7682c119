/** Every document that is made from the code, and the text it must have. */
import { PassThrough } from 'node:stream';
import { createContext } from '../../sdk/cli/context.ts';
import { renderManual } from '../../sdk/cli/manual.ts';
import { createProgram } from '../../sdk/cli/program.ts';
import type { Terminal } from '../../sdk/cli/terminal.ts';
import { renderSettingsDocument } from './settings-document.ts';

export interface GeneratedDocument {
  /** From the root of the checkout. */
  path: string;
  text: string;
}

/** The documents, the same on every machine. */
export function generatedDocuments(): GeneratedDocument[] {
  return [
    { path: 'docs/cli.md', text: renderCliDocument() },
    { path: 'docs/settings.md', text: renderSettingsDocument() },
  ];
}

function renderCliDocument(): string {
  const terminal: Terminal = {
    stdin: new PassThrough(),
    stdout: new PassThrough(),
    stderr: new PassThrough(),
    environment: {},
    columns: null,
    canAsk: false,
    outColors: false,
    errorColors: false,
    onSignal: () => () => undefined,
  };
  const { signal } = new AbortController();
  return renderManual(createProgram(createContext(terminal, { signal, nowMs: () => 0 })));
}
