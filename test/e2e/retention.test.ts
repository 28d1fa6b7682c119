/** What is old is gone, and whoever asks for it is told so: over HTTP, with both SDKs and the commands. */
import { expect, it } from 'vitest';
import { connect } from '../../sdk/ts/connect.ts';
import { startMesh } from '../chaos/mesh.ts';
import { createScripts } from '../chaos/scripts.ts';
import { runInProcess } from '../unit/sdk/cli/fake-terminal.ts';

const submit = `
from __future__ import print_function
from perigee import AsyncTasks
def double(x):
    print('doubling', x)
    return (2 * x, b'x' * 200000)
group = AsyncTasks().create_function(double, name='doubles', image='perigee/geospatial:py2.7')
task = group(21)
assert task.result[0] == 42
assert 'doubling' in task.log
print(task.guid, task.tuid)
`;

const askAgain = `
from __future__ import print_function
import sys
from perigee import FutureTask, ResultExpiredError
task = FutureTask(sys.argv[1], sys.argv[2])
for what in ('result', 'log'):
    try:
        getattr(task, what)
        print(what, 'is there')
    except ResultExpiredError as error:
        print(what, error.code)
print(task.status)
`;

it('results and logs go when their time is over, and say so', async () => {
  // Twenty seconds: a slow machine must have read the task before it goes.
  const days = String(20 / 86_400);
  const mesh = await startMesh(
    {
      ...{ PERIGEE_KEEP_RESULTS_DAYS: days, PERIGEE_KEEP_LOGS_DAYS: days },
      ...{ PERIGEE_SWEEP_MS: '200', PERIGEE_BLOB_GRACE_MS: '20000', NO_COLOR: '1' },
    },
    { nodes: 1 },
  );
  using scripts = createScripts(mesh.environment);
  try {
    const told = await scripts.run(submit);
    expect(told).toMatchObject({ status: 0, stderr: '' });
    const [group = '', task = ''] = told.stdout.trim().split(' ');
    const perigee = (...words: string[]) => runInProcess(words, mesh.environment);
    const held = async () =>
      (JSON.parse((await perigee('status', '--json')).stdout) as { held: Record<string, number> })
        .held;
    await expect.poll(held, { timeout: 40_000 }).toMatchObject({ logs: 12 });
    const ask = (path: string) =>
      fetch(`${mesh.url}/v1/tasks/${task}/${path}`, {
        headers: { authorization: `Bearer ${mesh.token}` },
      });
    for (const path of ['result', 'arguments', 'log']) {
      await expect.poll(async () => (await ask(path)).status, { timeout: 45_000 }).toBe(410);
    }
    expect(await held()).toMatchObject({ results: 0, arguments: 0, logs: 0 });

    expect(await scripts.run(askAgain, { parameters: [group, task] })).toMatchObject({
      status: 0,
      stdout: 'result result_expired\nlog result_expired\nSUCCESS\n',
    });
    await using sdk = await connect({ url: mesh.url, token: mesh.token, environment: {} });
    await expect(sdk.task(group, task).result({ timeoutMs: 20_000 })).rejects.toMatchObject({
      code: 'result_expired',
    });
    const logs = await perigee('logs', task);
    expect(logs).toMatchObject({ exitCode: 5 });
    expect(logs.stderr).toContain('is not kept any more. [result_expired]');

    const refused = await perigee('group', 'rm', group, '--yes');
    expect(refused).toMatchObject({ exitCode: 6 });
    expect(refused.stderr).toContain(`scripts/perigee group terminate ${group}`);
    await perigee('group', 'terminate', group, '--yes');
    expect(await perigee('group', 'rm', group, '--yes')).toMatchObject({
      exitCode: 0,
      stdout: `doubles (${group}) is removed.\n`,
    });
    expect(await perigee('group', group)).toMatchObject({ exitCode: 5 });
    expect((await perigee('task', task)).stderr).toContain('[result_expired]');
  } finally {
    await mesh.close();
  }
}, 150_000);
