/**
 * A process with a runner and one worker whose task never ends, to be killed by a test; or, with a
 * third word, one that runs a few tasks and prints what came of them. Arguments: level, folder.
 */
import { mkdirSync } from 'node:fs';
import { openSandboxes } from './sandboxes.ts';

const [level, mode] = process.argv.slice(2);
if (level !== 'strong' && level !== 'standard' && level !== 'reduced' && level !== 'minimal') {
  throw new Error('a level');
}

if (mode === 'hang') {
  const sandboxes = await openSandboxes(level);
  const sandbox = sandboxes.start({
    source: `
import os, time
def f():
    if os.fork() == 0:
        os.setsid()
        time.sleep(1000)
    print('running')
    time.sleep(1000)`,
  });
  void sandbox.call();
  while (!sandbox.log.includes('running')) await new Promise((resolve) => setTimeout(resolve, 2));
  console.log(JSON.stringify({ folder: sandboxes.folder }));
} else {
  await using sandboxes = await openSandboxes(level);
  mkdirSync(`${sandboxes.folder}/own`);
  const sandbox = sandboxes.start({
    source: `
import os
def f(order):
    if order == 'memory':
        kept = []
        while True: kept.append(bytearray(1 << 20))
    if order == 'shadow':
        try: return open('/etc/shadow').read()
        except (IOError, OSError) as caught: return 'stopped %d' % caught.errno
    if order == 'fork':
        if os.fork() == 0: os.execv('/bin/sleep', ['sleep', '1000'])
        return 'forked'
    if order == 'print': print('printed')
    return order`,
    spec: { memoryBytes: 128 * 1024 * 1024 },
  });
  const values: unknown[] = [];
  for (const order of ['hello', 'print', 'shadow', 'fork', 'fork', 'memory']) {
    const end = await sandbox.call(order);
    values.push(end.kind === 'ended' ? [end.value, end.log] : [end.event.end.kind, '']);
  }
  console.log(JSON.stringify({ isolation: sandboxes.runner.isolation, values }));
}
