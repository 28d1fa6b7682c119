// What the two images are made of. An image's digest is taken over its recipe, so that each change
// here makes a new image beside the old one.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** Raise this when `build-image.mjs` makes something else of the same recipe. */
const recipeVersion = 1;

const system = [
  'base-files',
  'ca-certificates',
  'coreutils',
  'dash',
  'debianutils',
  'findutils',
  'grep',
  'gzip',
  'libc-bin',
  'libstdc++6',
  'netbase',
  'sed',
  'tar',
];

export const recipes = [
  {
    name: 'perigee/geospatial:py2.7',
    names: [
      'perigee/geospatial:py2.7',
      // The name in DLRun's guide, so that its scripts run as they are.
      'us.gcr.io/dl-ci-cd/images/tasks/public/geospatial/geospatial-public:latest',
    ],
    suite: 'bullseye',
    // Debian 11 gets no new releases, so its signed lists go out of date by design.
    isFrozen: true,
    pythonVersion: '2.7',
    // The wheel in bullseye-security (deb11u2) no longer parses under Python 2.7.
    debianPackages: [...system, 'python2.7', 'python-pip-whl/bullseye'],
    requirements: 'geospatial-py2.7.txt',
    clientRequirements: 'client-py2.7.txt',
    imports: [
      'numpy',
      'pandas',
      'shapely.geometry',
      'fiona',
      'pyproj',
      'rasterio',
      'geopandas',
      'matplotlib',
    ],
    // There are no cp27mu wheels for other processors.
    architectures: ['x64'],
  },
  {
    name: 'perigee/python:py3.11',
    names: ['perigee/python:py3.11'],
    suite: 'bookworm',
    isFrozen: false,
    pythonVersion: '3.11',
    debianPackages: [...system, 'python3.11', 'python3-pip-whl'],
    requirements: 'python-py3.11.txt',
    clientRequirements: 'client-py3.11.txt',
    imports: ['numpy'],
    architectures: ['x64', 'arm64'],
  },
];

export function recipesForThisMachine() {
  return recipes.filter((recipe) => recipe.architectures.includes(process.arch));
}

export function recipeDigest(recipe) {
  const content = JSON.stringify({
    recipeVersion,
    architecture: process.arch,
    ...recipe,
    requirements: requirementsText(recipe.requirements),
    clientRequirements: requirementsText(recipe.clientRequirements),
  });
  return `sha256:${createHash('sha256').update(content).digest('hex')}`;
}

export function requirementsPath(name) {
  return new URL(name, import.meta.url).pathname;
}

function requirementsText(name) {
  return readFileSync(requirementsPath(name), 'utf8');
}
