// What the images are made of. An image's digest is taken over its recipe, so that each change
// here makes a new image beside the old one.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** Raise this when `build-image.mjs` makes something else of the same recipe. */
const recipeVersion = 2;

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

/** What every geospatial image can import; the names are the same in Python 2 and 3. */
const geospatialImports = [
  'affine',
  'fiona',
  'geopandas',
  'matplotlib.pyplot',
  'numpy',
  'pandas',
  'pyproj',
  'rasterio.features',
  'rasterio.warp',
  'rasterstats',
  'requests',
  'scipy.ndimage',
  'shapely.geometry',
  'skimage.segmentation',
  'sklearn.ensemble',
];
const catalogueImports = ['odc.stac', 'pystac_client', 'rio_tiler.io', 'rioxarray', 'xarray'];

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
    // What the index has no wheel of.
    sourceRequirements: 'geospatial-py2.7-source.txt',
    clientRequirements: 'client-py2.7.txt',
    imports: geospatialImports,
    // There are no cp27mu wheels for other processors.
    architectures: ['x64'],
  },
  geospatialPython3('3.11', {
    // The small image of earlier versions had this name; this one has all that it had.
    names: ['perigee/geospatial:py3.11', 'perigee/python:py3.11'],
    suite: 'bookworm',
    isFrozen: false,
    debianPackages: [...system, 'python3.11', 'python3-pip-whl'],
  }),
  {
    // Fiona, which rasterstats needs, has no wheels for arm64.
    name: 'perigee/python:py3.11',
    names: ['perigee/python:py3.11'],
    suite: 'bookworm',
    isFrozen: false,
    pythonVersion: '3.11',
    debianPackages: [...system, 'python3.11', 'python3-pip-whl'],
    requirements: 'python-py3.11.txt',
    clientRequirements: 'client-py3.11.txt',
    imports: ['numpy'],
    architectures: ['arm64'],
  },
  geospatialPython3('3.9', {
    names: ['perigee/geospatial:py3.9'],
    suite: 'bullseye',
    isFrozen: true,
    // Debian 11's pip needs distutils, which it keeps apart.
    debianPackages: [...system, 'python3.9', 'python3-distutils', 'python-pip-whl/bullseye'],
  }),
  geospatialPython3('3.13', {
    names: ['perigee/geospatial:py3.13'],
    suite: 'trixie',
    isFrozen: false,
    debianPackages: [...system, 'python3.13', 'python3-pip-whl'],
  }),
];

/** Made by every set-up; the others only when they are asked for by name. */
const defaultNames = [
  'perigee/geospatial:py2.7',
  'perigee/geospatial:py3.11',
  'perigee/python:py3.11',
];
/** About what each takes on disk, in MB. */
const diskMb = { 2.7: 480, 3.9: 770, 3.11: 850, 3.13: 850 };

function geospatialPython3(pythonVersion, rest) {
  return {
    name: `perigee/geospatial:py${pythonVersion}`,
    pythonVersion,
    requirements: `geospatial-py${pythonVersion}.txt`,
    clientRequirements: `client-py${pythonVersion}.txt`,
    imports: [...geospatialImports, ...catalogueImports],
    architectures: ['x64'],
    ...rest,
  };
}

export function diskMbOf(recipe) {
  return recipe.imports.length === 1 ? 160 : diskMb[recipe.pythonVersion];
}

/** The recipe of a name, perhaps one for other machines. */
export function findRecipe(name) {
  return [...recipesForThisMachine(), ...recipes].find((recipe) => recipe.names.includes(name));
}

/** The recipes that this machine can use of those that every set-up makes. */
export function defaultRecipes() {
  return recipesForThisMachine().filter((recipe) => defaultNames.includes(recipe.name));
}

export function recipesForThisMachine() {
  return recipes.filter((recipe) => recipe.architectures.includes(process.arch));
}

export function recipeDigest(recipe) {
  const content = JSON.stringify({
    recipeVersion,
    architecture: process.arch,
    ...recipe,
    requirements: requirementsText(recipe.requirements),
    ...(recipe.sourceRequirements !== undefined && {
      sourceRequirements: requirementsText(recipe.sourceRequirements),
    }),
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
