// npm run setup [-- [--for=test] [--image NAME …]]: everything from a fresh clone to a ready machine.

import { checkNode, SetupError } from './commands.mjs';
import { ensureSetup } from './ensure.mjs';
import { defaultRecipes, findRecipe, recipesForThisMachine } from './images/recipes.mjs';
import { profiles } from './plan.mjs';

const extra = recipesForThisMachine().filter((recipe) => !defaultRecipes().includes(recipe));
const help = `Usage: npm run setup [-- [--for=test] [--image NAME …]]

Installs what Perigee needs and is not there yet: npm packages, Debian packages (as root), the images
${list(defaultRecipes())} and their client environments.
--for=test adds what only the tests need. --image adds an image: ${list(extra)}.
`;

const parameters = process.argv.slice(2);
let profile = 'run';
const recipes = [];
while (parameters.length > 0) {
  const parameter = parameters.shift();
  const [, option, inline] = /^(--for|--image)(?:=(.*))?$/.exec(parameter) ?? [];
  if (parameter === '--help' || parameter === '-h') {
    process.stdout.write(help);
    process.exit(0);
  }
  if (option === undefined) refuse(`${parameter} is not an option`);
  const value = inline ?? parameters.shift();
  if (option === '--image') recipes.push(recipeOf(value));
  else if (profiles.includes(value)) profile = value;
  else refuse(`--for=${value} is not an option`);
}

try {
  checkNode();
  const startedMs = Date.now();
  if ((await ensureSetup(profile, console.log, recipes)) === 0) {
    console.log(`Perigee is set up (checked in ${Date.now() - startedMs} ms).`);
  }
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  process.stderr.write(`\nsetup: ${error.message}\n`);
  process.exitCode = 1;
}

function recipeOf(name) {
  const recipe = findRecipe(name);
  if (recipe === undefined) refuse(`there is no recipe of an image ${name}`);
  if (recipesForThisMachine().includes(recipe)) return recipe;
  const processors = recipe.architectures.join(' and ');
  return refuse(
    `${recipe.name} is for ${processors} only (there are no wheels of its packages for others), and ` +
      `this machine is ${process.arch}`,
  );
}

function refuse(problem) {
  process.stderr.write(`setup: ${problem}\n${help}`);
  process.exit(2);
}

function list(some) {
  return some.map((recipe) => recipe.name).join(', ');
}
