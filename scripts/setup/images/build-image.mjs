// Makes one image: Debian packages unpacked into a root file system, finished by hand in place of
// their install scripts, with the Python packages that the recipe's lock file names.
//
// Nothing here needs root or a namespace: programs of the image run through the image's own dynamic
// loader, so pip sees the caller's own settings, proxies and certificates.

import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { run, SetupError } from '../commands.mjs';
import { imageFolder, imagesFolder } from '../places.mjs';
import { describePackage, downloadPackages } from './debian-source.mjs';
import { recipeDigest, requirementsPath } from './recipes.mjs';

const buildingPrefix = '.building-';
const toolsName = 'tools';
const triplets = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };

/** Dependencies that only install scripts and administrators use. */
const packagesLeftOut =
  /^(perl.*|libperl.*|debconf|openssl|dpkg|mawk|mime-support|mailcap|readline-common)$/;
const filesLeftOut = [
  './usr/share/man/*',
  './usr/share/locale/*',
  './usr/share/info/*',
  './usr/share/lintian/*',
  './usr/share/bug/*',
  './usr/share/applications/*',
  './usr/share/pixmaps/*',
];

/** What a sandbox mounts on: a read-only root cannot be given new folders later. */
const mountPoints = [
  'data',
  'dev',
  'dev/shm',
  'home',
  'in',
  'perigee',
  'proc',
  'run',
  'tmp',
  'var/tmp',
];

/** The image's own description, or undefined when it has not been made. */
export function findImage(recipe) {
  const path = join(imageFolder(recipeDigest(recipe)), 'image.json');
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined;
}

/** What an interrupted set-up left; to be called only by the holder of the images' lock. */
export function removeUnfinishedImages() {
  if (!existsSync(imagesFolder())) return;
  for (const name of readdirSync(imagesFolder())) {
    if (name.startsWith(buildingPrefix)) removeTree(join(imagesFolder(), name));
  }
}

/** Makes the image in a folder of its own and puts it in place by one rename. */
export async function buildImage(recipe, { onNotice }) {
  const digest = recipeDigest(recipe);
  const final = imageFolder(digest);
  const work = join(imagesFolder(), `${buildingPrefix}${digest.slice(7, 19)}-${process.pid}`);
  const image = join(work, 'image');
  const rootfs = join(image, 'rootfs');
  mkdirSync(imagesFolder(), { recursive: true, mode: 0o755 });
  makeFolder(work);
  makeFolder(image);
  makeFolder(rootfs);
  try {
    const debianPackages = await makeRoot(recipe, { work, rootfs, onNotice });
    const python = imagePython(rootfs, recipe);
    const dist = distPackages(rootfs, recipe);
    const client = join(image, 'client-packages');
    const tools = join(work, toolsName);
    await installRequirements(python, { tools, file: recipe.clientRequirements, target: client });
    await installRequirements(python, { tools, file: recipe.requirements, target: dist });
    if (recipe.sourceRequirements !== undefined) {
      await installFromSource(recipe, { work, rootfs, client, target: dist });
    }
    drawWithoutScreen(dist);
    await trimAndCompile(python, { image, rootfs, dist, recipe });
    await checkImports(python, recipe);
    await setModes(image);
    const description = {
      name: recipe.name,
      names: recipe.names,
      digest,
      python: {
        implementation: 'CPython',
        version: await fullVersion(python),
        path: `/usr/bin/python${recipe.pythonVersion}`,
      },
      arch: process.arch,
      packages: pythonPackages(dist),
      debianPackages,
      sizeBytes: await sizeOf(rootfs),
      builtAt: new Date().toISOString(),
    };
    writeFileSync(join(image, 'image.json'), `${JSON.stringify(description, undefined, 2)}\n`);
    renameSync(image, final);
    return description;
  } finally {
    removeTree(work);
  }
}

/**
 * The root file system with the interpreter and no Python packages; pip goes to `<work>/tools`.
 * Returns the versions of its Debian packages.
 */
export async function makeRoot(recipe, { work, rootfs, onNotice }) {
  const archives = await downloadPackages({
    suite: recipe.suite,
    isFrozen: recipe.isFrozen,
    names: recipe.debianPackages,
    folder: join(work, 'apt'),
    onNotice,
  });
  const debianPackages = await unpackPackages(archives, { rootfs, tools: join(work, toolsName) });
  await finishSystem(rootfs, recipe);
  return debianPackages;
}

/** How to run the image's interpreter on this system as it is, whatever libraries this has. */
export function imagePython(rootfs, recipe) {
  const libraries = librariesOf(rootfs);
  return [
    join(libraries, loaderName()),
    '--library-path',
    libraries,
    join(rootfs, 'usr/bin', `python${recipe.pythonVersion}`),
  ];
}

export function librariesOf(rootfs) {
  return join(rootfs, 'usr/lib', triplets[process.arch]);
}

export function loaderName() {
  return process.arch === 'arm64' ? 'ld-linux-aarch64.so.1' : 'ld-linux-x86-64.so.2';
}

/** Debian's Python looks for packages here, without a version for 3. */
export function distPackages(rootfs, recipe) {
  const folder = recipe.pythonVersion === '2.7' ? 'python2.7' : 'python3';
  return join(rootfs, 'usr/lib', folder, 'dist-packages');
}

/** rm -r; tries again where a program that was just ended still wrote a last file. */
export function removeTree(path) {
  rmSync(path, { recursive: true, force: true, maxRetries: 10 });
}

async function unpackPackages(archives, { rootfs, tools }) {
  // Debian 11's packages still carry /bin and /lib; the sandbox expects them merged into /usr.
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    mkdirSync(join(rootfs, 'usr', name), { recursive: true });
    symlinkSync(`usr/${name}`, join(rootfs, name));
  }
  makeFolder(tools);
  const versions = {};
  const left = archives.filter((path) => !packagesLeftOut.test(describePackage(path).name));
  const unpackNext = async () => {
    for (let path = left.shift(); path !== undefined; path = left.shift()) {
      const { name, version } = describePackage(path);
      const isTool = name.endsWith('-pip-whl');
      if (!isTool) versions[name] = version;
      const excludes = filesLeftOut.map((pattern) => `--exclude=${pattern}`);
      await run(
        'sh',
        [
          '-c',
          'deb=$1; shift; dpkg-deb --fsys-tarfile "$deb" | tar -x "$@"',
          'sh',
          path,
          '-C',
          isTool ? tools : rootfs,
          '--keep-directory-symlink',
          '--no-same-owner',
          ...excludes,
        ],
        { problem: `${name} could not be unpacked` },
      );
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, unpackNext));
  // Of the documentation only what a redistributor owes: each package's copyright and licences.
  const copyright = ['!', '-type', 'd', '!', '-name', 'copyright'];
  await run('find', [join(rootfs, 'usr/share/doc'), '-mindepth', '2', ...copyright, '-delete']);
  return Object.fromEntries(Object.entries(versions).sort());
}

/** What the packages' install scripts would have done. */
async function finishSystem(rootfs, recipe) {
  const file = (path) => join(rootfs, path);
  const write = (path, text) => writeFileSync(file(path), text);
  const link = (target, path) => {
    if (!isThere(file(path))) symlinkSync(target, file(path));
  };
  for (const path of mountPoints) mkdirSync(file(path), { recursive: true });
  mkdirSync(file('etc/ssl/certs'), { recursive: true });
  mkdirSync(file('usr/lib/ssl'), { recursive: true });
  mkdirSync(file('root'), { recursive: true });
  link('dash', 'usr/bin/sh');
  link('which.debianutils', 'usr/bin/which');
  link(`python${recipe.pythonVersion}`, 'usr/bin/python');
  link(`python${recipe.pythonVersion}`, `usr/bin/python${recipe.pythonVersion[0]}`);
  link('/etc/ssl/certs', 'usr/lib/ssl/certs');
  link('/etc/ssl/certs/ca-certificates.crt', 'usr/lib/ssl/cert.pem');
  link('/proc/self/mounts', 'etc/mtab');
  if (recipe.pythonVersion === '2.7') {
    rmSync(file('usr/lib/python2.7/sitecustomize.py'), { force: true });
    copyFileSync(
      new URL('../python/utf8-output.py', import.meta.url).pathname,
      file('usr/lib/python2.7/sitecustomize.py'),
    );
  }

  const user = 'perigee:x:1000:1000:a task:/tmp:/bin/sh';
  write(
    'etc/passwd',
    `root:x:0:0:root:/root:/bin/sh\n${user}\n` +
      'nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n',
  );
  write('etc/group', 'root:x:0:\nperigee:x:1000:\nnogroup:x:65534:\n');
  write(
    'etc/nsswitch.conf',
    'passwd: files\ngroup: files\nhosts: files dns\n' + 'services: files\nprotocols: files\n',
  );
  write('etc/hosts', '127.0.0.1 localhost\n::1 localhost ip6-localhost\n');
  write('etc/hostname', 'perigee\n');
  // Empty, so that a sandbox with a network has a file to mount its resolver over.
  write('etc/resolv.conf', '');

  const authorities = file('usr/share/ca-certificates/mozilla');
  const certificates = readdirSync(authorities)
    .filter((name) => name.endsWith('.crt'))
    .sort();
  write(
    'etc/ssl/certs/ca-certificates.crt',
    certificates
      .map((name) => `${readFileSync(join(authorities, name), 'utf8').trimEnd()}\n`)
      .join(''),
  );
  await run(file('sbin/ldconfig'), ['-r', rootfs], { problem: 'The library cache was not made' });
}

/** Runs Debian's pip for the image, from its wheels, by the image's interpreter. */
export async function runPip(python, { tools, parameters, problem }) {
  const start =
    'import glob, sys\n' +
    'sys.path[:0] = sorted(glob.glob(sys.argv.pop(1) + "/*.whl"))\n' +
    'from pip._internal.cli.main import main\n' +
    'sys.exit(main())\n';
  const wheels = join(tools, 'usr/share/python-wheels');
  await run(python[0], [...python.slice(1), '-c', start, wheels, ...parameters], {
    env: pipEnvironment(),
    problem,
  });
}

async function installRequirements(python, { tools, file, target }) {
  await runPip(python, {
    tools,
    parameters: [
      'install',
      '--quiet',
      '--disable-pip-version-check',
      '--no-input',
      '--no-cache-dir',
      '--no-compile',
      '--no-deps',
      '--require-hashes',
      '--only-binary',
      ':all:',
      '--target',
      target,
      '--requirement',
      requirementsPath(file),
    ],
    problem: `The Python packages of ${file} could not be installed`,
  });
  removeTree(join(target, 'bin'));
}

/**
 * Packages of which the index has no wheel: built from their source distributions by the image's own
 * interpreter and the setuptools of its client packages, then installed as wheels.
 */
async function installFromSource(recipe, { work, rootfs, client, target }) {
  const wheels = join(work, 'wheels');
  // A build starts programs by the interpreter's path, so the interpreter must run as it is here.
  const python = await patchInterpreter(recipe, { rootfs, folder: join(work, 'bin') });
  const env = { ...pipEnvironment(), PYTHONHOME: join(rootfs, 'usr'), PYTHONPATH: client };
  const common = ['--quiet', '--disable-pip-version-check', '--no-input', '--no-cache-dir'];
  const options = [...common, '--no-deps', '--require-hashes', '--no-build-isolation'];
  const file = requirementsPath(recipe.sourceRequirements);
  await run(
    python,
    [...['-m', 'pip', 'wheel', ...options, '--no-binary', ':all:'], '-w', wheels, '-r', file],
    { env, problem: `The packages of ${recipe.sourceRequirements} could not be built` },
  );
  const built = readdirSync(wheels).map((name) => join(wheels, name));
  await run(
    python,
    ['-m', 'pip', 'install', ...common, '--no-deps', '--no-compile', '-t', target, ...built],
    { env, problem: `The packages of ${recipe.sourceRequirements} could not be installed` },
  );
  removeTree(join(target, 'bin'));
}

/** A copy of the image's interpreter that runs on this system by its path; returns the path. */
export async function patchInterpreter(recipe, { rootfs, folder }) {
  const name = `python${recipe.pythonVersion}`;
  const program = join(folder, name);
  mkdirSync(folder);
  copyFileSync(join(rootfs, 'usr/bin', name), program);
  chmodSync(program, 0o755);
  const libraries = librariesOf(rootfs);
  await run(
    'patchelf',
    [
      '--set-interpreter',
      join(libraries, loaderName()),
      // RPATH, not RUNPATH: it must also serve the libraries that wheels load.
      '--force-rpath',
      '--set-rpath',
      libraries,
      program,
    ],
    { problem: `The interpreter of ${recipe.name} could not be patched` },
  );
  return program;
}

/** The caller's pip settings, save those that would put packages elsewhere. */
function pipEnvironment() {
  const env = { ...process.env, PIP_USER: '0', PIP_REQUIRE_VIRTUALENV: '0', LC_ALL: 'C.UTF-8' };
  const misleading = [
    'PYTHONPATH',
    'PYTHONHOME',
    'PYTHONSTARTUP',
    'PIP_TARGET',
    'PIP_PREFIX',
    'PIP_ROOT',
    'PIP_CONSTRAINT',
    'PIP_REQUIREMENT',
    'PIP_NO_BINARY',
    'PIP_PYTHON',
    'PIP_PLATFORM',
  ];
  for (const name of misleading) delete env[name];
  return env;
}

/** matplotlib 2's wheel asks for Tk, which no image has; later ones find out for themselves. */
function drawWithoutScreen(dist) {
  const path = join(dist, 'matplotlib/mpl-data/matplotlibrc');
  if (!isThere(path)) return;
  writeFileSync(path, readFileSync(path, 'utf8').replace(/^backend *: *TkAgg/m, 'backend : Agg'));
}

/** Drops the packages' own tests and compiles the rest: sandboxes cannot write .pyc files. */
async function trimAndCompile(python, { image, rootfs, dist, recipe }) {
  await run('find', [
    dist,
    '-depth',
    '-type',
    'd',
    '-name',
    'tests',
    '-exec',
    'rm',
    '-rf',
    '{}',
    '+',
  ]);
  const standard = join(rootfs, 'usr/lib', `python${recipe.pythonVersion}`);
  const compile = async (folder, insidePath, exclude) => {
    const script =
      recipe.pythonVersion === '2.7'
        ? // False means that some file is Python 3 only, as a few packages carry; those stay as source.
          'import compileall, re, sys; compileall.compile_dir(sys.argv[1], 20, sys.argv[2], ' +
          'rx=re.compile(sys.argv[3]), quiet=1)'
        : 'import compileall, re, sys; compileall.compile_dir(sys.argv[1], 20, sys.argv[2], ' +
          'rx=re.compile(sys.argv[3]), quiet=2)';
    await run(
      python[0],
      [...python.slice(1), '-S', '-E', '-c', script, folder, insidePath, exclude],
      {
        problem: 'The Python files could not be compiled',
      },
    );
  };
  await Promise.all([
    compile(standard, `/usr/lib/python${recipe.pythonVersion}`, '/dist-packages/|/lib2to3/tests/'),
    compile(dist, dist.slice(rootfs.length), '^$'),
    compile(join(image, 'client-packages'), 'client-packages', '^$'),
  ]);
}

async function checkImports(python, recipe) {
  const script = recipe.imports.map((name) => `import ${name}\n`).join('');
  await run(python[0], [...python.slice(1), '-E', '-s', '-B', '-c', script], {
    problem: `The image ${recipe.name} was made, but its packages do not work on this machine`,
  });
}

async function setModes(image) {
  await run('chmod', ['-R', 'u+rwX,go+rX,go-w,a-s', image]);
  chmodSync(join(image, 'rootfs/tmp'), 0o1777);
  chmodSync(join(image, 'rootfs/var/tmp'), 0o1777);
}

async function fullVersion(python) {
  const script = 'import sys; print("%d.%d.%d" % sys.version_info[:3])';
  return (await run(python[0], [...python.slice(1), '-E', '-c', script])).trim();
}

function pythonPackages(dist) {
  const packages = {};
  for (const name of readdirSync(dist).sort()) {
    const found = /^(.+)-([^-]+)\.dist-info$/.exec(name);
    if (found) packages[found[1].toLowerCase().replace(/_/g, '-')] = found[2];
  }
  if (Object.keys(packages).length === 0) throw new SetupError(`No Python packages in ${dist}`);
  return packages;
}

async function sizeOf(folder) {
  return Number.parseInt(await run('du', ['-s', '--block-size=1', folder]), 10);
}

function makeFolder(path) {
  mkdirSync(path);
  chmodSync(path, 0o755);
}

function isThere(path) {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
