// `node scripts/third-party/main.mjs`: writes THIRD-PARTY.md from what the images on this machine really
// hold: Python packages by their own metadata, the shared libraries inside their wheels, Debian
// packages by their copyright files. All images must be there for it. With --check it writes nothing, and
// fails when a part of an image that is there is not in the file.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { findImage } from '../setup/images/build-image.mjs';
import { recipesForThisMachine } from '../setup/images/recipes.mjs';
import { imageFolder } from '../setup/places.mjs';
import { libraryLicences, unsaid } from './licences.mjs';

const file = resolve(import.meta.dirname, '../../THIRD-PARTY.md');

/** Each `{ name, version, licence, images }`; the version is empty where it moves with security updates. */
const python = [];
const isCheck = process.argv.includes('--check');
const problems = [];
const libraries = [];
const debian = [];
for (const recipe of recipesForThisMachine()) {
  const image = findImage(recipe);
  if (image === undefined && isCheck) continue;
  if (image === undefined) {
    process.stderr.write(`Set up ${recipe.name} first: npm run setup -- --image ${recipe.name}\n`);
    process.exit(1);
  }
  const tag = recipe.name.slice(recipe.name.indexOf(':') + 1);
  const rootfs = join(imageFolder(image.digest), 'rootfs');
  const folder = recipe.pythonVersion === '2.7' ? 'python2.7' : 'python3';
  readPython(join(rootfs, 'usr/lib', folder, 'dist-packages'), tag);
  for (const name of Object.keys(image.debianPackages)) {
    const licence = debianLicence(join(rootfs, 'usr/share/doc', name, 'copyright'));
    add(debian, { name, version: '', licence, images: [tag] });
  }
}
const text = `# What the images redistribute

Written by \`node scripts/third-party/main.mjs\` from the images themselves. The licences’ own texts are in each image: in
\`dist-packages/*.dist-info\`, \`/usr/share/doc/*/copyright\` and \`/usr/share/common-licenses\`.

## Python packages
${table(python)}
## Shared libraries inside wheels
${table(libraries)}
## Debian packages
Their versions follow Debian’s security updates; \`image.json\` of an image lists those that it has.

${table(debian)}`;
if (problems.length > 0) {
  process.stderr.write(`${problems.join('\n')}\n`);
  process.exit(1);
}
if (isCheck) {
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
  const absent = [...python, ...libraries, ...debian].flatMap(({ name, version, images }) => {
    const start = `| ${`${name} ${version}`.trim()} |`;
    const found = lines.filter((line) => line.startsWith(start)).join();
    return images.filter((tag) => !found.includes(tag)).map((tag) => `${start} ${tag}`);
  });
  if (absent.length > 0) {
    process.stderr.write(`Not in THIRD-PARTY.md: ${absent.join(', ')}\n`);
    process.exitCode = 1;
  }
} else writeFileSync(file, text);

function readPython(dist, tag) {
  for (const entry of readdirSync(dist).sort()) {
    if (entry.endsWith('.dist-info')) {
      const metadata = readFileSync(join(dist, entry, 'METADATA'), 'utf8');
      const name = field(metadata, 'Name') ?? entry;
      const version = field(metadata, 'Version');
      add(python, { name, version, licence: pythonLicence(metadata, name), images: [tag] });
    }
    for (const folder of [join(dist, entry), join(dist, entry, '.libs')]) {
      const isLibraries = folder.endsWith('.libs') && existsSync(folder);
      for (const library of isLibraries ? readdirSync(folder).sort() : []) {
        const name = /^lib[a-zA-Z0-9_+]+?(?=[-.])|^[^.]+/.exec(library)?.[0] ?? library;
        const licence = libraryLicences[name.toLowerCase()] ?? '?';
        if (licence === '?') problems.push(`Whose is ${name} (${library})?`);
        add(libraries, {
          name: `${name}, in ${wheelOf(entry)}`,
          version: '',
          licence,
          images: [tag],
        });
      }
    }
  }
}

function wheelOf(entry) {
  return entry.replace(/\.libs$/, '').toLowerCase();
}

function pythonLicence(metadata, name) {
  const expression = field(metadata, 'License-Expression');
  if (expression !== undefined) return expression;
  const classifiers = [...metadata.matchAll(/^Classifier: License :: (?:OSI Approved :: )?(.+)$/gm)]
    .map(([, text]) => text)
    .filter((text) => text !== 'OSI Approved');
  if (classifiers.length > 0) return classifiers.join(', ');
  const licence = field(metadata, 'License');
  if (licence !== undefined && licence !== 'UNKNOWN') return licence.slice(0, 80);
  const known = unsaid[name.toLowerCase()];
  if (known === undefined) {
    problems.push(`${name} does not say its licence`);
    return '?';
  }
  return known;
}

function debianLicence(path) {
  const copyright = readFileSync(path, 'utf8');
  const names = [...copyright.matchAll(/^License: *(\S.*)$/gm)].map(([, name]) => name?.trim());
  const unique = [...new Set(names)].sort();
  if (unique.length > 0) {
    const shown = unique.slice(0, 6).join(', ');
    return unique.length > 6 ? `${shown} and ${unique.length - 6} more` : shown;
  }
  // Copyright files of the old form point to the common texts, or are the text.
  const common = [...copyright.matchAll(/common-licenses\/([A-Za-z0-9.+-]*[A-Za-z0-9])/g)];
  const pointed = [...new Set(common.map(([, name]) => name))].sort();
  return pointed.length > 0 ? pointed.join(', ') : 'its own, in its copyright file';
}

function field(metadata, name) {
  const head = metadata.split('\n\n', 1)[0];
  return new RegExp(`^${name}: *(\\S.*)$`, 'm').exec(head)?.[1]?.trim();
}

function add(parts, part) {
  const same = parts.find(
    (each) =>
      each.name === part.name && each.version === part.version && each.licence === part.licence,
  );
  if (same === undefined) parts.push(part);
  else if (!same.images.includes(part.images[0])) same.images.push(...part.images);
}

function table(parts) {
  const sorted = [...parts].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  const lines = sorted.map(
    ({ name, version, licence, images }) =>
      `| ${`${name} ${version}`.trim()} | ${licence.replaceAll('|', '/')} | ${images.join(', ')} |`,
  );
  return `| what | licence | images |\n| --- | --- | --- |\n${lines.join('\n')}\n`;
}

function keyOf(part) {
  return `${part.name.toLowerCase()} ${part.version} ${part.licence}`;
}
