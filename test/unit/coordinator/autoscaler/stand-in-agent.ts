/** A process as the provider starts one: it says how it was started, and ends when it is told to. */
import { writeFileSync } from 'node:fs';

process.on('SIGTERM', () => process.exit(0));
writeFileSync(
  'started.json',
  JSON.stringify({ arguments: process.argv.slice(2), token: process.env['PERIGEE_JOIN_TOKEN'] }),
);
setInterval(() => undefined, 60_000);
