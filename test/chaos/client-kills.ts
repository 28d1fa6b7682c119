/** Kills of clients in the middle of a map; a new process goes on with what the dead one was told. */
import { nextBelow, type RandomState } from '../../protocol/base/random.ts';
import { type Mesh, pause } from './mesh.ts';
import { createScripts, pythons, type Scripts } from './scripts.ts';

/** Maps chunk after chunk and writes down each task that it was given; it would never end. */
const mapping = `
import itertools, sys
from perigee import AsyncTasks
def work(i):
    import time
    print('task %d' % i)
    time.sleep(0.01)
    return i * i
f = AsyncTasks().create_function(work, image=sys.argv[1])
for start in itertools.count(0, 7):
    for i, task in enumerate(f.map(range(start, start + 7)), start):
        sys.stdout.write('%d %s %s\\n' % (i, task.guid, task.tuid))
        sys.stdout.flush()
`;

/** Takes the written-down tasks up again, in a process that never saw them. */
const reattaching = `
import sys
from perigee import FutureTask, as_completed
expected = {}
for line in sys.stdin:
    i, guid, tuid = line.split()
    expected[FutureTask(guid, tuid)] = int(i)
seen = 0
for task in as_completed(list(expected), timeout=60):
    i = expected[task]
    assert task.result == i * i, (i, task.result)
    assert task.log == 'task %d\\n' % i, task.log
    seen += 1
assert seen == len(expected), (seen, len(expected))
print(seen)
`;

/** Rounds of: a client maps, is killed at a random moment, and another takes over. Answers what broke. */
export async function runClientKills(
  mesh: Mesh,
  options: { rounds: number; random: RandomState },
): Promise<{ faults: string[]; tasks: number }> {
  const faults: string[] = [];
  let tasks = 0;
  using scripts = createScripts(mesh.environment);
  for (let round = 0; round < options.rounds; round += 1) {
    const python = pythons[round % pythons.length] ?? pythons[0];
    const lines = await mapUntilKilled(scripts, { python, random: options.random });
    if (lines.length === 0)
      faults.push(`round ${round}: the client was killed before its first task`);
    const taken = await scripts.run(reattaching, {
      flag: python.flag,
      input: `${lines.join('\n')}\n`,
    });
    if (taken.status !== 0 || taken.stdout !== `${lines.length}\n`) {
      faults.push(`round ${round}: ${lines.length} tasks, then ${taken.stdout}${taken.stderr}`);
    }
    tasks += lines.length;
  }
  return { faults, tasks };
}

async function mapUntilKilled(
  scripts: Scripts,
  options: { python: (typeof pythons)[number]; random: RandomState },
): Promise<string[]> {
  const killed = await scripts.run(mapping, {
    flag: options.python.flag,
    parameters: [options.python.image],
    // From its first task on, at any moment of what follows.
    when: {
      stdout: '\n',
      act: (kill) => void pause(nextBelow(options.random, 700)).then(() => kill('SIGKILL')),
    },
  });
  if (killed.signal !== 'SIGKILL') throw new Error(`The client ended by itself.\n${killed.stderr}`);
  // The last line may be half a line.
  return killed.stdout.split('\n').slice(0, -1);
}
