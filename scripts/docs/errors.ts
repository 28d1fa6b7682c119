/** Writes docs/errors.md from the table of errors: `node scripts/docs/errors.ts`. */
import { writeFileSync } from 'node:fs';
import { errorTable, exitCodes } from '../../protocol/base/errors.ts';

/** The whole page. */
export function renderErrorsPage(): string {
  const rows = Object.entries(errorTable).map(([code, entry]) => {
    const { text, fix, httpStatus, exitCode, retryable } = entry;
    const cells = [`\`${code}\``, httpStatus, exitCode, retryable ? 'yes' : 'no', text, fix];
    return `| ${cells.join(' | ')} |`;
  });
  const exits = Object.entries(exitCodes).map(([name, code]) => `| ${code} | ${words(name)} |`);
  return `# Errors

<!-- Made from protocol/base/errors.ts by scripts/docs/errors.ts; a test holds the two together. -->

Every error that leaves a Perigee process has one of these codes. Over HTTP it is \`application/problem+json\`:
\`{type, title, status, detail, code, fix, details?}\`, where \`title\` is the code's text below, \`detail\` says what happened this
time, and \`fix\` says what to do about it. The SDKs raise it with the same code, message and fix; the command line prints them on stderr and
exits with the exit code. "Again" says whether the same request may succeed later, unchanged; such answers carry \`Retry-After\`.

| code | HTTP | exit | again | what it says | what to do |
| --- | --- | --- | --- | --- | --- |
${rows.join('\n')}

## Exit codes
| exit | meaning |
| --- | --- |
${exits.join('\n')}
`;
}

function words(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
}

if (import.meta.main) {
  writeFileSync(new URL('../../docs/errors.md', import.meta.url), renderErrorsPage());
}
