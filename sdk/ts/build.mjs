/**
 * Builds what is published: the SDK and the files of protocol/ that it needs, as JavaScript with types.
 *
 *   node sdk/ts/build.mjs                  fills sdk/ts/dist
 *   node sdk/ts/build.mjs --pack FOLDER    and puts the package there, as perigee-sdk-VERSION.tgz
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const here = import.meta.dirname;
const checkout = resolve(here, '../..');
const { values } = parseArgs({ options: { pack: { type: 'string' } } });

rmSync(join(here, 'dist'), { recursive: true, force: true });
execFileSync(
  process.execPath,
  [join(checkout, 'node_modules/typescript/bin/tsc'), '-p', join(here, 'tsconfig.build.json')],
  { stdio: 'inherit' },
);
for (const name of ['LICENSE', 'NOTICE'])
  copyFileSync(join(checkout, name), join(here, 'dist', name));

if (values.pack !== undefined) {
  // The scripts would build a second time.
  const parameters = ['pack', '--ignore-scripts', '--silent', '--pack-destination'];
  execFileSync('npm', [...parameters, resolve(values.pack)], { cwd: here, stdio: 'inherit' });
}
