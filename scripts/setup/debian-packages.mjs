// Programs from the system's packages: only those that are missing, by apt-get, as root.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram, run, SetupError } from './commands.mjs';

/** Each package with the sign of its presence, so that other distributions count too. */
const needed = {
  run: [
    { name: 'bubblewrap', isThere: () => findProgram('bwrap') !== undefined },
    { name: 'patchelf', isThere: () => findProgram('patchelf') !== undefined },
    // The one library of the project's own Node that a bare Debian lacks.
    { name: 'libatomic1', isThere: () => hasLibrary('libatomic.so.1') },
    { name: 'ca-certificates', isThere: hasCertificates },
    { name: 'mount', isThere: () => has('mount') },
    { name: 'util-linux', isThere: () => has('flock', 'prlimit', 'setpriv', 'unshare') },
  ],
  test: [
    { name: 'gdal-bin', isThere: () => has('gdal_translate', 'gdaladdo') },
    { name: 'python3-gdal', isThere: () => has('gdal_calc.py') },
    // gVisor, for the tests of the isolation level `strong`.
    { name: 'runsc', isThere: () => has('runsc') },
    { name: 'iproute2', isThere: () => has('ip') },
    // Images from registries; docker-registry is the registry of the tests.
    { name: 'skopeo', isThere: () => has('skopeo') },
    { name: 'umoci', isThere: () => has('umoci') },
    { name: 'docker-registry', isThere: () => has('docker-registry') },
    // Bare machines, for the test in which machines boot.
    { name: 'mmdebstrap', isThere: () => has('mmdebstrap') },
    // A cluster of one node; the tests start it with folders and ports of its own.
    { name: 'munge', isThere: () => has('munge', 'munged') },
    { name: 'slurmctld', isThere: () => has('slurmctld') },
    { name: 'slurmd', isThere: () => has('slurmd') },
    { name: 'slurm-client', isThere: () => has('sbatch', 'squeue', 'scancel') },
  ],
};

export function missingDebianPackages(profile) {
  const wanted = profile === 'test' ? [...needed.run, ...needed.test] : needed.run;
  return wanted.filter((each) => !each.isThere()).map((each) => each.name);
}

export async function installDebianPackages(names) {
  if (findProgram('apt-get') === undefined) {
    throw new SetupError(
      `These programs are missing: ${names.join(', ')}. Without apt-get, set-up cannot install ` +
        'them: install them with your own package manager and run this again.',
    );
  }
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' };
  const install = ['-y', '-q', '--no-install-recommends', 'install', ...names];
  try {
    await run('apt-get', install, { env });
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    // Package lists that are absent or old are the usual cause; with good ones, no update needed.
    const problem = 'The Debian packages could not be installed';
    await run('apt-get', ['-q', 'update'], { env, problem });
    await run('apt-get', install, { env, problem });
  }
}

function has(...programs) {
  return programs.every((program) => findProgram(program) !== undefined);
}

function hasLibrary(name) {
  const triplet = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
  return [`/usr/lib/${triplet}`, '/usr/lib64', '/usr/lib'].some((folder) =>
    existsSync(join(folder, name)),
  );
}

function hasCertificates() {
  return [
    '/etc/ssl/certs/ca-certificates.crt',
    '/etc/pki/tls/certs/ca-bundle.crt',
    '/etc/ssl/ca-bundle.pem',
  ].some((path) => existsSync(path));
}
