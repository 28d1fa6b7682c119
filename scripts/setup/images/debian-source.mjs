// Debian packages of any release, downloaded and unpacked without root and without touching the
// system's own package lists: apt-get with a state of its own, from the mirror that this system uses.

import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run, SetupError } from '../commands.mjs';

const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
const debianArchitectures = { x64: 'amd64', arm64: 'arm64' };

/** Downloads packages with all they depend on; returns the paths of the .deb files. */
export async function downloadPackages({ suite, isFrozen, names, folder, onNotice }) {
  for (const part of ['state/lists/partial', 'cache/archives/partial', 'etc']) {
    mkdirSync(join(folder, part), { recursive: true });
  }
  writeFileSync(join(folder, 'state/status'), '');
  const settings = [
    `Dir::State=${folder}/state`,
    `Dir::State::status=${folder}/state/status`,
    `Dir::Cache=${folder}/cache`,
    `Dir::Etc::SourceList=${folder}/etc/sources.list`,
    'Dir::Etc::SourceParts=/dev/null',
    'Dir::Etc::PreferencesParts=/dev/null',
    'APT::Sandbox::User=root',
    `APT::Architecture=${debianArchitectures[process.arch]}`,
    `APT::Architectures=${debianArchitectures[process.arch]}`,
    'APT::Install-Recommends=0',
    'APT::Update::Error-Mode=any',
    'Acquire::Languages=none',
    'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=0',
    'Acquire::IndexTargets::deb::CNF::DefaultEnabled=0',
    'Acquire::Retries=3',
    ...(isFrozen ? ['Acquire::Check-Valid-Until=0'] : []),
  ].flatMap((setting) => ['-o', setting]);
  const env = { ...process.env, LC_ALL: 'C.UTF-8', DEBIAN_FRONTEND: 'noninteractive' };

  const mirrors = findMirrors(suite);
  const useSources = (lines) =>
    writeFileSync(join(folder, 'etc/sources.list'), `${lines.join('\n')}\n`);
  useSources([mirrors.main, mirrors.security]);
  try {
    await run('apt-get', [...settings, '-q', 'update'], { env });
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    useSources([mirrors.main]);
    await run('apt-get', [...settings, '-q', 'update'], {
      env,
      problem:
        `The package lists of Debian ${suite} could not be fetched. ` +
        'PERIGEE_DEBIAN_MIRROR can name a mirror that has it',
    });
    onNotice(`Debian ${suite}: no security updates on your mirror, going on without them`);
  }
  await run('apt-get', [...settings, '-q', '-y', '--download-only', 'install', ...names], {
    env,
    problem: `Packages of Debian ${suite} could not be fetched`,
  });
  const archives = join(folder, 'cache/archives');
  return readdirSync(archives)
    .filter((name) => name.endsWith('.deb'))
    .sort()
    .map((name) => join(archives, name));
}

/** `name` and `version` of a downloaded package, from its file name. */
export function describePackage(path) {
  const [name, version] = decodeURIComponent(path.slice(path.lastIndexOf('/') + 1)).split('_');
  return { name, version };
}

function findMirrors(suite) {
  const configured = configuredSources();
  const main =
    process.env.PERIGEE_DEBIAN_MIRROR ??
    // Other archives than Debian's use its release names too; only Debian's are called debian.
    (
      configured.find((source) => isRelease(source.suite) && /\bdebian\/?$/.test(source.uri)) ??
      configured.find((source) => isRelease(source.suite))
    )?.uri;
  if (main === undefined) {
    throw new SetupError(
      'This system has no Debian mirror in /etc/apt, and the images are made from Debian ' +
        'packages. Set PERIGEE_DEBIAN_MIRROR to the address of a Debian mirror (its folder with ' +
        'dists/ and pool/), install the package debian-archive-keyring, and run this again.',
    );
  }
  const security =
    process.env.PERIGEE_DEBIAN_SECURITY_MIRROR ??
    configured.find((source) => source.suite.endsWith('-security'))?.uri ??
    `${main.replace(/\/$/, '')}-security`;
  const options = existsSync(keyring) ? ` [signed-by=${keyring}]` : '';
  return {
    main: `deb${options} ${main} ${suite} main`,
    security: `deb${options} ${security} ${suite}-security main`,
  };
}

/** The archive's own entries of sources.list and sources.list.d, in both of apt's formats. */
function configuredSources() {
  const folder = '/etc/apt/sources.list.d';
  const names = existsSync(folder) ? readdirSync(folder).sort() : [];
  const paths = ['/etc/apt/sources.list', ...names.map((name) => join(folder, name))];
  const sources = [];
  for (const path of paths.filter((each) => existsSync(each))) {
    const text = readFileSync(path, 'utf8').replace(/^\s*#.*\n?/gm, '');
    sources.push(...(path.endsWith('.sources') ? parseStanzas(text) : parseLines(text)));
  }
  return sources.filter((source) => isDebianSuite(source.suite));
}

function parseStanzas(text) {
  return text.split(/\n\s*\n/).flatMap((stanza) => {
    const field = (name) =>
      new RegExp(`^${name}:((?:.|\\n[ \\t])*)`, 'im').exec(stanza)?.[1].trim().split(/\s+/) ?? [];
    if (!field('Types').includes('deb') || field('Enabled')[0] === 'no') return [];
    if (!field('Components').includes('main')) return [];
    return field('URIs').flatMap((uri) => field('Suites').map((suite) => ({ uri, suite })));
  });
}

function parseLines(text) {
  return [...text.matchAll(/^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s(?:.*\s)?main\b/gm)].map(
    ([, uri, suite]) => ({ uri, suite }),
  );
}

function isRelease(suite) {
  return !suite.includes('-');
}

function isDebianSuite(suite) {
  return /^(bullseye|bookworm|trixie|forky|sid|oldoldstable|oldstable|stable|testing|unstable)(-|$)/.test(
    suite,
  );
}
