/** Checks the documents: every relative link leads somewhere, every named script and test exists. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const skipped = /(^|\/)(node_modules|\.git|\.perigee|perigee-demo)(\/|$)/;

const documents = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.md') && !skipped.test(path))
  .map((path) => join(root, path));

const faults = documents.flatMap((path) => findFaults(path, readFileSync(path, 'utf8')));
for (const fault of faults) process.stdout.write(`${fault}\n`);
process.stdout.write(`${documents.length} documents read, ${faults.length} faults\n`);
process.exitCode = faults.length === 0 && documents.length > 0 ? 0 : 1;

function findFaults(path: string, text: string): string[] {
  const name = relative(root, path);
  const links = [...text.matchAll(/\]\(([^)\s#]+)(#[^)]*)?\)/g)]
    .map((match) => match[1] ?? '')
    .filter((target) => !/^[a-z]+:/.test(target))
    .filter((target) => !existsSync(resolve(dirname(path), target)))
    .map((target) => `${name}: the link to ${target} leads nowhere`);
  const scripts = readScripts();
  const commands = [...text.matchAll(/npm run ([a-z][a-z:-]*)/g)]
    .map((match) => match[1] ?? '')
    .filter((script) => !scripts.has(script))
    .map((script) => `${name}: there is no \`npm run ${script}\``);
  return [...links, ...commands];
}

function readScripts(): Set<string> {
  const parsed: unknown = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const scripts =
    typeof parsed === 'object' && parsed !== null && 'scripts' in parsed ? parsed.scripts : {};
  return new Set(Object.keys(scripts ?? {}));
}
