// What is missing on this machine, as a list of steps. Looking is cheap (no program is started), so
// that every start of the demo and the tests can look.

import { join } from 'node:path';
import { clientIsReady, makeClient, removeUnfinishedClients } from './client.mjs';
import { installDebianPackages, missingDebianPackages } from './debian-packages.mjs';
import { buildImage, findImage, removeUnfinishedImages } from './images/build-image.mjs';
import { defaultRecipes, diskMbOf } from './images/recipes.mjs';
import { installNpmPackages, nodeVersionWanted, npmPackagesAreReady } from './npm-packages.mjs';
import { checkout, clientFolder, imagesFolder } from './places.mjs';

export const profiles = ['run', 'test'];

/**
 * The steps that are still to do, for the default images and those of `recipes` beside them. `after` names the steps that must have ended before; steps that
 * wait for nothing run side by side.
 */
export function makePlan(profile, recipes = []) {
  const wanted = [...new Set([...defaultRecipes(), ...recipes])];
  const steps = [];
  if (!npmPackagesAreReady()) {
    steps.push({
      id: 'npm',
      what: `npm packages, with Node ${nodeVersionWanted() ?? ''}`.trimEnd(),
      where: join(checkout, 'node_modules'),
      diskMb: 470,
      after: [],
      perform: installNpmPackages,
    });
  }
  const debian = missingDebianPackages(profile);
  if (debian.length > 0) {
    steps.push({
      id: 'debian',
      what: `Debian packages: ${debian.join(', ')}`,
      where: 'this system, by apt-get',
      diskMb: debian.includes('gdal-bin') ? 400 : 5,
      debianPackages: debian,
      after: [],
      perform: () => installDebianPackages(debian),
    });
  }
  for (const recipe of wanted) {
    if (findImage(recipe) !== undefined) continue;
    steps.push({
      id: recipe.name,
      what: `image ${recipe.name}`,
      where: imagesFolder(),
      diskMb: diskMbOf(recipe),
      after: ['debian'],
      perform: (tools) => buildImage(recipe, tools),
    });
  }
  for (const recipe of wanted) {
    if (clientIsReady(recipe)) continue;
    steps.push({
      id: `client ${recipe.pythonVersion}`,
      what: `client environment for Python ${recipe.pythonVersion}`,
      where: clientFolder(recipe.pythonVersion),
      diskMb: 10,
      after: ['debian', recipe.name],
      perform: () => makeClient(recipe),
    });
  }
  return steps;
}

/** What an interrupted set-up left; only for the holder of the locks. */
export function removeUnfinished() {
  removeUnfinishedImages();
  removeUnfinishedClients();
}
