import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bareEnvironment, checkout, launcher, runProgram } from './run-program.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'perigee-launcher-'));
});

afterEach(() => rmSync(folder, { recursive: true }));

describe.each([
  { title: 'python', flags: [], version: '2.7', client: 'py2.7/bin/python2.7' },
  { title: 'python --py3', flags: ['--py3'], version: '3.11', client: 'py3.11/bin/python3.11' },
])('perigee $title', ({ flags, version, client }) => {
  const python = (...parameters: string[]): string[] => [
    launcher,
    'python',
    ...flags,
    ...parameters,
  ];

  it('prints nothing of its own and ends with the status of the script', async () => {
    const ended = await runProgram(python('-c', 'import sys; sys.exit(7)'));
    expect(ended).toMatchObject({ status: 7, stdout: '', stderr: '' });
  });

  it('runs a script with its arguments, stdin, folder and environment', async () => {
    const script =
      'import os, sys\n' +
      'print("|".join([sys.stdin.read()] + sys.argv[1:] + [os.getcwd(), os.environ["MARK"]]))\n';
    writeFileSync(join(folder, 'a script.py'), script);
    const ended = await runProgram(python('a script.py', 'one two', '--py3', ''), {
      cwd: folder,
      env: { ...bareEnvironment(), MARK: 'marked' },
      input: 'from stdin',
    });
    expect(ended.stderr).toBe('');
    expect(ended.stdout).toBe(`from stdin|one two|--py3||${folder}|marked\n`);
  });

  it('becomes the interpreter, so that signals reach the script', async () => {
    const script =
      'import os, sys, time\n' +
      'try:\n' +
      '    print(os.getpid())\n' +
      '    print("ready")\n' +
      '    sys.stdout.flush()\n' +
      '    time.sleep(60)\n' +
      'except KeyboardInterrupt:\n' +
      '    print("interrupted")\n' +
      '    sys.exit(5)\n';
    const interrupted = await runProgram(python('-c', script), {
      when: { stdout: 'ready\n', act: (kill) => kill('SIGINT') },
    });
    expect(interrupted.stdout).toBe(`${interrupted.pid}\nready\ninterrupted\n`);
    expect(interrupted.status).toBe(5);
    const ended = await runProgram(python('-c', script), {
      when: { stdout: 'ready\n', act: (kill) => kill('SIGTERM') },
    });
    expect(ended.signal).toBe('SIGTERM');
  });

  it('is found through links, from any folder', async () => {
    symlinkSync(launcher, join(folder, 'direct'));
    mkdirSync(join(folder, 'bin'));
    symlinkSync('../direct', join(folder, 'bin/perigee'));
    const ended = await runProgram(['bin/perigee', ...python('-c', 'print(6 * 7)').slice(1)], {
      cwd: folder,
    });
    expect(ended).toMatchObject({ status: 0, stdout: '42\n', stderr: '' });
  });

  it('gives an interpreter that can start itself and leaves the environment alone', async () => {
    const script =
      'import os, subprocess, sys\n' +
      'sys.stdout.write(sys.executable + "\\n" + " ".join(sorted(os.environ)) + "\\n")\n' +
      'sys.stdout.flush()\n' +
      'child = "import sys; sys.stdout.write(\'%d.%d\' % sys.version_info[:2])"\n' +
      'sys.exit(subprocess.call([sys.executable, "-c", child]))\n';
    const env = { HOME: '/nonexistent', PATH: '/usr/bin:/bin' };
    const ended = await runProgram(python('-c', script), { env });
    const program = join(checkout, '.perigee/client', client);
    expect(ended.stderr).toBe('');
    const [executable, environment, child] = ended.stdout.split('\n');
    expect([executable, child]).toEqual([program, version]);
    // sh adds PWD, and Python 3 a locale where there is none; nothing that moves another Python.
    const added = ['LC_CTYPE', 'OLDPWD', 'PWD', 'SHLVL', '_'];
    expect(environment?.split(' ').filter((name) => !added.includes(name))).toEqual([
      'HOME',
      'PATH',
    ]);
  });

  it('has the modules that scripts expect', async () => {
    const script =
      'import cloudpickle, ctypes, hashlib, numpy, select, socket, sqlite3, ssl, threading, zlib\n' +
      'import pwd, os\n' +
      'socket.getaddrinfo("localhost", 80); pwd.getpwuid(os.getuid()) if not os.getuid() else 0\n' +
      'ssl.create_default_context(); hashlib.sha256(b"").hexdigest()\n' +
      'assert ctypes.CDLL(None).getpid() == os.getpid()\n' +
      'thread = threading.Thread(target=lambda: None); thread.start(); thread.join()\n' +
      'assert numpy.dot(numpy.ones(100), numpy.ones(100)) == 100\n';
    expect(await runProgram(python('-c', script))).toMatchObject({ status: 0, stderr: '' });
  });

  it('writes UTF-8 to a pipe, whatever the locale', async () => {
    const script = 'import sys; print(u"\\xe9"); sys.stderr.write(u"\\u20ac")';
    for (const locale of ['C', 'C.UTF-8', 'none such']) {
      const env = { ...bareEnvironment(), LC_ALL: locale };
      const ended = await runProgram(python('-c', script), { env });
      expect({ locale, stdout: ended.stdout, status: ended.status }).toEqual({
        locale,
        stdout: 'é\n',
        status: 0,
      });
    }
  });
});

it('takes geopandas and the rest of the image into the client for Python 2.7', async () => {
  const script = 'import geopandas, rasterio; print(geopandas.__version__)';
  const ended = await runProgram([launcher, 'python', '-c', script]);
  expect(ended).toMatchObject({ status: 0, stdout: '0.6.3\n', stderr: '' });
});

it.each([['python', 'x.py'], ['python', '--py3', 'x.py'], ['status'], ['agent'], ['coordinator']])(
  'says how to set up where nothing is: %s %s',
  async (...parameters) => {
    mkdirSync(join(folder, 'scripts'));
    copyFileSync(launcher, join(folder, 'scripts/perigee'));
    const ended = await runProgram([join(folder, 'scripts/perigee'), ...parameters]);
    expect(ended.status).toBe(1);
    expect(ended.stdout).toBe('');
    expect(ended.stderr).toContain('Perigee is not set up here');
    expect(ended.stderr).toContain(`Run: cd ${folder} && npm run setup`);
  },
);
