// npm run setup [-- --for=test]: everything from a fresh clone to a ready machine.

import { checkNode, SetupError } from './commands.mjs';
import { ensureSetup } from './ensure.mjs';
import { profiles } from './plan.mjs';

const help = `Usage: npm run setup [-- --for=test]

Installs what Perigee needs and is not there yet: npm packages, Debian packages (as root), the two
Python images and the client environments. --for=test adds what only the tests need.
`;

const parameters = process.argv.slice(2);
let profile = 'run';
for (const parameter of parameters) {
  if (parameter === '--help' || parameter === '-h') {
    process.stdout.write(help);
    process.exit(0);
  }
  profile = /^--for=(.*)$/.exec(parameter)?.[1];
  if (!profiles.includes(profile)) {
    process.stderr.write(`setup: ${parameter} is not an option\n${help}`);
    process.exit(2);
  }
}

try {
  checkNode();
  const startedMs = Date.now();
  if ((await ensureSetup(profile, console.log)) === 0) {
    console.log(`Perigee is set up (checked in ${Date.now() - startedMs} ms).`);
  }
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  process.stderr.write(`\nsetup: ${error.message}\n`);
  process.exitCode = 1;
}
