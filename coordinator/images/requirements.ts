/** A user's requirements: checked line by line before anything is built, and brought into one form. */
import { PerigeeError } from '../../protocol/base/errors.ts';

const requirementsMax = 1_000;
/** Of one line. */
const charsMax = 2_000;

/**
 * The requirements of a file's text or of a list, without comments, sorted, each once: two sets that
 * mean the same are the same.
 * @throws PerigeeError invalid_request that names the line
 */
export function normalizeRequirements(lines: readonly string[]): string[] {
  const joined = lines.join('\n').replace(/\\\r?\n/g, ' ');
  const found = joined.split(/\r?\n/).map((line) => line.replace(/(^|\s)#.*$/, '').trim());
  const normalized = [...new Set(found.filter((line) => line !== '').map(normalizeLine))].sort();
  if (normalized.length === 0) {
    throw new PerigeeError('invalid_request', 'There is no requirement in it.', {
      fix: 'Write one a line, for example affine==2.3.0.',
    });
  }
  if (normalized.length > requirementsMax) {
    throw new PerigeeError('invalid_request', `More than ${requirementsMax} requirements.`);
  }
  return normalized;
}

/** The package that a normalized requirement is about. */
export function packageOf(requirement: string): string {
  return /^[a-z0-9-]+/.exec(requirement)?.[0] ?? '';
}

function normalizeLine(line: string): string {
  const refuse = (why: string, fix: string): never => {
    throw new PerigeeError('invalid_request', `"${line.slice(0, 120)}" ${why}`, {
      fix,
      details: { field: 'requirements' },
    });
  };
  if (line.length > charsMax) refuse(`… has more than ${charsMax} characters.`, 'Shorten it.');
  if (line.startsWith('-')) {
    refuse(
      'is an option of pip, not a requirement.',
      'Write the packages themselves; index and certificates are the coordinator’s pip settings.',
    );
  }
  if (/(^|@\s*)(https?|file|git\+\w+|svn\+\w+|hg\+\w+):/.test(line) || /^[./~]/.test(line)) {
    refuse(
      'is not in the package index: builds reach nothing else.',
      'Name a package of the index; carry your own code with include_modules.',
    );
  }
  const match = /^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[^\]]*\])?\s*(.*)$/.exec(line);
  const [, name = '', extras = '', rest = ''] = match ?? [];
  if (name === '' || !/^($|[<>=!~;(]|--hash)/.test(rest)) {
    refuse('is not a requirement.', 'Write for example affine==2.3.0 or fiona[calc]>=1.8,<1.9.');
  }
  const [specifiers = '', ...marker] = rest.split(';');
  const tail = marker.length === 0 ? '' : ` ; ${marker.join(';').trim().replace(/\s+/g, ' ')}`;
  const versions = specifiers.includes('--hash')
    ? ` ${specifiers.trim().replace(/\s+/g, ' ')}`
    : specifiers.replace(/\s+/g, '');
  return (
    name.toLowerCase().replace(/[._-]+/g, '-') +
    extras.toLowerCase().replace(/\s+/g, '') +
    versions.replace(/^ (?=[<>=!~])/, '') +
    tail
  );
}
