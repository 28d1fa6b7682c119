// The client environments: a Python that runs on this system as it is (the caller's files, cwd,
// environment, stdin, signals) although the system may have no such Python. It is the image's
// interpreter, patched to find the image's own dynamic loader and libraries by path, in a prefix
// laid out like a virtualenv. Nothing of it is in the environment, so that the programs that a
// script starts, the system's own python3 among them, are not touched by it.

import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { run } from './commands.mjs';
import { distPackages, patchInterpreter, removeTree } from './images/build-image.mjs';
import { recipeDigest } from './images/recipes.mjs';
import { checkout, clientFolder, imageFolder } from './places.mjs';

/** Raise this when the environments are to be laid out anew. */
const layoutVersion = 1;
const stampName = 'perigee-client.json';
const sdkSources = ['python', 'python-dlrun'].map((name) => join(checkout, 'sdk', name, 'src'));

export function clientIsReady(recipe) {
  const path = join(clientFolder(recipe.pythonVersion), stampName);
  return existsSync(path) && readFileSync(path, 'utf8') === stamp(recipe);
}

export async function makeClient(recipe) {
  const final = clientFolder(recipe.pythonVersion);
  const parent = dirname(final);
  const work = join(parent, `.building-py${recipe.pythonVersion}`);
  mkdirSync(parent, { recursive: true });
  removeTree(work);
  mkdirSync(work);
  try {
    await copyInterpreter(recipe, work);
    linkStandardLibrary(recipe, work);
    writeFileSync(join(work, stampName), stamp(recipe));
    removeTree(final);
    renameSync(work, final);
  } finally {
    removeTree(work);
  }
  await checkClient(recipe, final);
}

export function removeUnfinishedClients() {
  const parent = dirname(clientFolder(''));
  if (!existsSync(parent)) return;
  for (const name of readdirSync(parent)) {
    if (name.startsWith('.building-')) removeTree(join(parent, name));
  }
}

async function copyInterpreter(recipe, folder) {
  const programs = join(folder, 'bin');
  const place = { rootfs: rootfsOf(recipe), folder: programs };
  const name = basename(await patchInterpreter(recipe, place));
  for (const link of ['python', `python${recipe.pythonVersion[0]}`]) {
    symlinkSync(name, join(programs, link));
  }
}

/** Links to the image's modules one by one, so that packages can be added here and not there. */
function linkStandardLibrary(recipe, folder) {
  const name = `python${recipe.pythonVersion}`;
  const source = join(rootfsOf(recipe), 'usr/lib', name);
  const library = join(folder, 'lib', name);
  // Debian's packages and its customizations are not for us; the last would forbid pip here.
  const left = /^(dist-packages|sitecustomize\.pyc?|EXTERNALLY-MANAGED)$/;
  mkdirSync(library, { recursive: true });
  for (const entry of readdirSync(source)) {
    if (!left.test(entry)) symlinkSync(join(source, entry), join(library, entry));
  }
  const packages = distPackages(folder, recipe).replace('/usr/lib/', '/lib/');
  mkdirSync(packages, { recursive: true });
  const imagePackages = join(imageFolder(recipeDigest(recipe)), 'client-packages');
  // Packages that pip adds later come first, then these in this order.
  writeFileSync(
    join(packages, 'perigee.pth'),
    `${[...sdkSources, imagePackages, distPackages(rootfsOf(recipe), recipe)].join('\n')}\n`,
  );
  const customizations =
    recipe.pythonVersion === '2.7' ? ['no-user-site.py', 'utf8-output.py'] : ['no-user-site.py'];
  writeFileSync(
    join(library, 'sitecustomize.py'),
    customizations
      .map((file) => readFileSync(new URL(`python/${file}`, import.meta.url), 'utf8'))
      .join('\n\n'),
  );
}

async function checkClient(recipe, folder) {
  const program = join(folder, 'bin', `python${recipe.pythonVersion}`);
  const script =
    'import sys, ssl, ctypes, select, threading, hashlib, socket, cloudpickle, numpy\n' +
    'assert sys.executable == sys.argv[1], sys.executable\n' +
    'assert sys.prefix == sys.argv[2], sys.prefix\n';
  await run(program, ['-c', script, program, folder], {
    problem: `The client environment for Python ${recipe.pythonVersion} does not work`,
  });
}

function rootfsOf(recipe) {
  return join(imageFolder(recipeDigest(recipe)), 'rootfs');
}

function stamp(recipe) {
  return `${JSON.stringify({ layoutVersion, rootfs: rootfsOf(recipe), sdkSources })}\n`;
}
