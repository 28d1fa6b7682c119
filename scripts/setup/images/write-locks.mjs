// node scripts/setup/images/write-locks.mjs NAME …: writes the lock files of images anew, with the newest
// releases that their .in files allow. pip resolves by the image's own interpreter, which alone judges
// versions and markers right; each file is then pinned by its digest.
// A changed lock makes a new image.

import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, SetupError } from '../commands.mjs';
import { imagePython, makeRoot, patchInterpreter, runPip } from './build-image.mjs';
import { findRecipe, recipesForThisMachine, requirementsPath } from './recipes.mjs';

const names = process.argv.slice(2);
if (names.length === 0 || names.some((name) => findRecipe(name) === undefined)) {
  const known = recipesForThisMachine()
    .map((recipe) => recipe.name)
    .join('\n  ');
  process.stderr.write(`Usage: write-locks.mjs NAME …, with names of\n  ${known}\n`);
  process.exit(2);
}
try {
  for (const name of names) await writeLocks(findRecipe(name));
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  process.stderr.write(`write-locks: ${error.message}\n`);
  process.exitCode = 1;
}

async function writeLocks(recipe) {
  const work = mkdtempSync(join(tmpdir(), 'perigee-lock-'));
  try {
    const rootfs = join(work, 'rootfs');
    mkdirSync(rootfs);
    await makeRoot(recipe, { work, rootfs, onNotice: console.log });
    const pip = await newestPip(recipe, { work, rootfs });
    const major = recipe.pythonVersion === '2.7' ? '2.7' : '3';
    const image = await resolve(pip, { wanted: `geospatial-py${major}.in`, work, recipe });
    const client = await resolve(pip, { wanted: `client-py${major}.in`, work, recipe });
    const title = `The Python packages of ${recipe.name}`;
    const built = image.filter((each) => each.isSource);
    const wheels = image.filter((each) => !each.isSource);
    write(recipe.requirements, `${title}, as wheels, with all they need.`, wheels);
    if (recipe.sourceRequirements !== undefined) {
      const why = 'of which the index has no wheel:\n# built at set-up from their sources.';
      write(recipe.sourceRequirements, `${title} ${why}`, built);
    } else if (built.length > 0) {
      throw new SetupError(`No wheel of ${built.map((each) => each.pin).join(', ')}`);
    }
    const beside = "has beside the image's packages.";
    const environment = `What the client environment for Python ${recipe.pythonVersion} ${beside}`;
    write(recipe.clientRequirements, environment, client);
    console.log(`${recipe.name}: ${image.length} packages, ${built.length} of them from source`);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Debian's pip fetches the newest pip for this interpreter, whose resolver backtracks well. */
async function newestPip(recipe, { work, rootfs }) {
  const folder = join(work, 'pip');
  const pin = recipe.pythonVersion === '2.7' ? 'pip==20.3.4' : 'pip';
  await runPip(imagePython(rootfs, recipe), {
    tools: join(work, 'tools'),
    parameters: [
      'install',
      '--quiet',
      '--no-cache-dir',
      '--target',
      folder,
      pin,
      'setuptools',
      'wheel',
    ],
    problem: 'pip could not be fetched',
  });
  const program = await patchInterpreter(recipe, { rootfs, folder: join(work, 'bin') });
  const env = { ...process.env, PYTHONHOME: join(rootfs, 'usr'), PYTHONPATH: folder };
  return (parameters) =>
    run(program, ['-m', 'pip', '--disable-pip-version-check', ...parameters], {
      env,
      problem: `The packages of ${recipe.name} could not be resolved`,
    });
}

/** Every file that pip chooses, with its digest, by name. */
async function resolve(pip, { wanted, work, recipe }) {
  const folder = join(work, wanted);
  const isSourceAllowed = recipe.sourceRequirements !== undefined;
  const only = isSourceAllowed ? [] : ['--only-binary', ':all:'];
  await pip(['download', '-q', ...only, '-d', folder, '-r', requirementsPath(wanted)]);
  const wantedNames = readFileSync(requirementsPath(wanted), 'utf8');
  return (
    readdirSync(folder)
      .map((file) => ({ ...nameAndVersion(file), file }))
      .map(({ name, version, file }) => ({
        name,
        pin: `${name}==${version}`,
        digest: digestOf(join(folder, file)),
        isSource: !file.endsWith('.whl'),
      }))
      // What only a build needs is no part of the image.
      .filter(({ name }) => wantedNames.includes(name) || name !== 'setuptools')
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  );
}

/** From a file's name, the first as the index normalizes it. */
function nameAndVersion(file) {
  const [, name, version] = /^(.+?)-(\d[^-]*?)(?:-.*\.whl|\.tar\.gz|\.zip)$/.exec(file);
  return { name: name.toLowerCase().replace(/[-_.]+/g, '-'), version };
}

function digestOf(path) {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

function write(file, title, packages) {
  const lines = packages.map(({ pin, digest }) => `${pin} \\\n    --hash=sha256:${digest}\n`);
  const how =
    '# Written by `node scripts/setup/images/write-locks.mjs`; a change makes a new image.\n';
  writeFileSync(requirementsPath(file), `# ${title}\n${how}${lines.join('')}`);
}
