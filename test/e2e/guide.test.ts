/** DLRun's own guide, script by script, on a mesh that `scripts/perigee up` made and nothing else names. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Mesh, startMesh } from '../chaos/mesh.ts';
import { createScripts, type Scripts } from '../chaos/scripts.ts';
import { checkout } from '../setup/run-program.ts';

const fromDlrun = 'from descarteslabs.ext.tasks import';
const geopandasModule = /^<module 'geopandas' from '\/\S*\/geopandas\/__init__\.pyc?'>$/;
const firstLineMsMax = 1_000;

let mesh: Mesh;
let scripts: Scripts;

beforeAll(async () => {
  mesh = await startMesh({ PERIGEE_NODE_IDLE_MS: '120000' });
  scripts = createScripts(shellOf(mesh));
});

afterAll(async () => {
  scripts?.[Symbol.dispose]();
  await mesh?.close();
});

/** A script of the guide, word for word. */
function guide(name: string): string {
  return readFileSync(join(checkout, 'test/python/guide', `${name}.py`), 'utf8');
}

/** A person's shell: the config file that `up` wrote is all that names the mesh. */
function shellOf({ environment }: Mesh): NodeJS.ProcessEnv {
  const { PERIGEE_URL: _url, PERIGEE_TOKEN: _token, ...rest } = environment;
  return rest;
}

describe.each([
  { title: 'as it is', edit: (script: string) => script },
  {
    title: 'with Perigee’s own import',
    edit: (script: string) => script.replace(fromDlrun, 'from perigee import'),
  },
])('the guide, $title', ({ edit }) => {
  it('makes the namespace, silently', async () => {
    const ended = await scripts.run(edit(guide('namespace')));
    expect(ended).toMatchObject({ status: 0, stdout: '', stderr: '' });
  });

  it('calls a function and prints its result and its log', async () => {
    const ended = await scripts.run(edit(guide('hello')));
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    const [result, log, ...rest] = ended.stdout.split('\n');
    expect(result).toBe('hello 5');
    expect(log).toMatch(geopandasModule);
    // The log ends its own line, and `print` adds one.
    expect(rest).toEqual(['', '']);
  });

  it('maps it over twenty arguments and prints each result once', async () => {
    const ended = await scripts.run(edit(guide('map')));
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    const expected = Array.from({ length: 20 }, (_, argument) => `hello ${argument}`);
    expect(ended.stdout.trimEnd().split('\n').sort()).toEqual(expected.sort());
  });

  it('prints the exception and the log of the calls that fail', async () => {
    const failing = edit(guide('map')).replace(
      '    return "hello {}".format(i) \n',
      '    print("about to fail for {}".format(i))\n    return [][i]\n',
    );
    const ended = await scripts.run(failing);
    expect(ended).toMatchObject({ status: 0, stderr: '' });
    const lines = ended.stdout.split('\n').filter((line) => line !== '');
    expect(lines.filter((line) => line === 'IndexError')).toHaveLength(20);
    expect(lines.filter((line) => geopandasModule.test(line))).toHaveLength(20);
    const said = lines.filter((line) => line.startsWith('about to fail for ')).sort();
    const expected = Array.from({ length: 20 }, (_, argument) => `about to fail for ${argument}`);
    expect(said).toEqual(expected.sort());
  });

  it('returns several values', async () => {
    const ended = await scripts.run(edit(guide('multi')));
    expect(ended).toMatchObject({ status: 0, stdout: '5\nhello 5\n', stderr: '' });
  });
});

it('ends a script that lets the failure through with status 1 and both tracebacks', async () => {
  const failing = guide('hello').replace('import geopandas', 'raise KeyError("no such scene")');
  const ended = await scripts.run(failing);
  expect(ended).toMatchObject({ status: 1, stdout: '' });
  expect(ended.stderr).toMatch(/^Traceback \(most recent call last\):\n/);
  expect(ended.stderr).toContain('print task.result');
  expect(ended.stderr).toContain('Remote traceback:');
  expect(ended.stderr).toContain("KeyError: 'no such scene'");
});

it(`shows the first line of a new function within ${firstLineMsMax} ms of its call`, async () => {
  const script = `
import sys, time, urllib2
from perigee import AsyncTasks
at = AsyncTasks()

def warm():
    return 1

def work():
    import time
    print("first line")
    time.sleep(30)

at.create_function(warm, image="perigee/geospatial:py2.7")().result
for attempt in range(5):
    began = time.time()
    task = at.create_function(work, image="perigee/geospatial:py2.7")()
    request = urllib2.Request(sys.argv[1] + '/v1/tasks/%s/log?follow=true' % task.tuid,
                              headers={'Authorization': 'Bearer ' + sys.argv[2]})
    stream = urllib2.urlopen(request, timeout=20)
    # readline would wait until its buffer is full
    line = stream.read(len('first line\\n'))
    took = (time.time() - began) * 1000
    print("%d %r" % (took, line))
    task.cancel()
    stream.close()
    if took < float(sys.argv[3]):
        break
`;
  const ended = await scripts.run(script, {
    parameters: [mesh.url, mesh.token, String(firstLineMsMax)],
  });
  expect(ended).toMatchObject({ status: 0, stderr: '' });
  const seen = [...ended.stdout.matchAll(/^(\d+) 'first line\\n'$/gm)].map(([, ms]) => Number(ms));
  expect(seen.length).toBeGreaterThan(0);
  // Of up to five functions the quickest: a machine that also runs other tests may stall.
  expect(Math.min(...seen)).toBeLessThan(firstLineMsMax);
});
