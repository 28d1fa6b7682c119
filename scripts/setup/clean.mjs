// scripts/perigee clean [--yes]: removes what set-up made outside npm: the images of this checkout's
// recipes and its client environments.

import { existsSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { SetupError } from './commands.mjs';
import { findImage, removeTree } from './images/build-image.mjs';
import { recipes } from './images/recipes.mjs';
import { takeLock } from './lock.mjs';
import { imageFolder, imagesFolder, ownFolder, perigeeHome } from './places.mjs';

const parameters = process.argv.slice(2);
const unknown = parameters.find((parameter) => !['--yes', '-y'].includes(parameter));
if (unknown !== undefined) {
  process.stderr.write(
    'Usage: scripts/perigee clean [--yes]\n\n' +
      'Removes the images and client environments that set-up made.\n',
  );
  process.exit(unknown === '--help' || unknown === '-h' ? 0 : 2);
}

try {
  process.exitCode = await clean(parameters.length > 0);
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  process.stderr.write(`clean: ${error.message}\n`);
  process.exitCode = 1;
}

async function clean(isAgreed) {
  const found = findAll();
  if (found.length === 0) {
    console.log('There is nothing to remove.');
    return 0;
  }
  console.log('To be removed:');
  for (const { what, path } of found) console.log(`  ${what}  ${path}`);
  if (!isAgreed && !(await ask())) {
    process.stderr.write('Nothing was removed. --yes removes without asking.\n');
    return 1;
  }
  const free = await takeLock(join(perigeeHome(), 'setup.lock'), () =>
    console.log('A set-up is running; waiting for it to end …'),
  );
  try {
    for (const { path } of found) remove(path);
    if (existsSync(imagesFolder()) && readdirSync(imagesFolder()).length === 0) {
      rmdirSync(imagesFolder());
    }
  } finally {
    await free();
  }
  console.log(
    'Removed. node_modules is left to you (rm -r node_modules), and so are the Debian ' +
      'packages.\n`npm run setup` makes it all again.',
  );
  return 0;
}

function findAll() {
  const images = recipes.map(findImage).filter((image) => image !== undefined);
  const found = images.map((image) => ({
    what: `image ${image.name}, ${Math.round(image.sizeBytes / 1e6)} MB`,
    path: imageFolder(image.digest),
  }));
  const clients = join(ownFolder, 'client');
  if (existsSync(clients)) found.push({ what: 'the client environments', path: clients });
  return found;
}

function remove(path) {
  try {
    removeTree(path);
  } catch (error) {
    throw new SetupError(
      `${path} could not be removed: ${error.message}\nRun this as the user who set Perigee up.`,
      { cause: error },
    );
  }
}

async function ask() {
  if (!process.stdin.isTTY) return false;
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return /^y(es)?$/i.test((await terminal.question('Go on? [y/N] ')).trim());
  } finally {
    terminal.close();
  }
}
