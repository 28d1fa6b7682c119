/** A package index of a test's own on loopback, with real wheels and source distributions in it. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { findPythons } from '../python/find-pythons.ts';

export interface PackageIndex extends AsyncDisposable {
  /** Without credentials. */
  url: string;
  /** `127.0.0.1:PORT`. */
  host: string;
  /** Paths that were asked for, in order. */
  requests: string[];
  /** From now on files of packages are kept back until the function is called. */
  hold(): () => void;
  /** Resolves when a file is asked for. */
  readonly asked: Promise<void>;
}

/** A distribution to make. */
export interface Distribution {
  name: string;
  version?: string;
  requires?: readonly string[];
  /** Of a wheel; `py2.py3-none-any` by default, null for a source distribution. */
  tag?: string | null;
  /** Of a source distribution: lines before its `setup(…)`. */
  setup?: string;
  /** Bytes of noise that are in it besides. */
  noiseBytes?: number;
}

export const indexUser = 'somebody';
export const indexPassword = 'open-sesame';

/** Serves `folder`'s files as a simple index (PEP 503) behind a password. */
export async function startPackageIndex(folder: string): Promise<PackageIndex> {
  const requests: string[] = [];
  const asked = Promise.withResolvers<void>();
  let held = Promise.resolve();
  const right = `Basic ${Buffer.from(`${indexUser}:${indexPassword}`).toString('base64')}`;
  const server = createServer((incoming, answer) => {
    const serve = async (): Promise<void> => {
      const path = decodeURIComponent(incoming.url ?? '');
      requests.push(path);
      if (incoming.headers.authorization !== right) {
        answer.writeHead(401, { 'www-authenticate': 'Basic realm="test"' }).end();
        return;
      }
      const [, name] = /^\/simple\/([^/]+)\/$/.exec(path) ?? [];
      const [, file] = /^\/files\/([^/]+)$/.exec(path) ?? [];
      const names = readdirSync(folder);
      if (file !== undefined && names.includes(file)) {
        asked.resolve();
        await held;
        answer.writeHead(200).end(readFileSync(join(folder, file)));
        return;
      }
      // pip asks by the normal form of a name.
      const fits = names.filter((one) => one.startsWith(`${name?.replaceAll('-', '_')}-`));
      if (fits.length === 0) {
        answer.writeHead(404).end();
        return;
      }
      const links = fits.map((one) => `<a href="/files/${one}">${one}</a>`);
      answer.writeHead(200, { 'content-type': 'text/html' }).end(links.join('\n'));
    };
    serve().catch(() => answer.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const host = `127.0.0.1:${port}`;
  return {
    host,
    url: `http://${host}/simple`,
    requests,
    asked: asked.promise,
    hold() {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      return resolve;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Makes distributions in a folder; each has one module of its name that knows its version. */
export function makeDistributions(folder: string, distributions: readonly Distribution[]): void {
  mkdirSync(folder, { recursive: true });
  const python = findPythons().find((one) => one.version === '3.11')?.program ?? 'python3';
  execFileSync(python, ['-c', script, folder, JSON.stringify(distributions)], { stdio: 'pipe' });
}

const script = `
import base64, hashlib, io, json, os, sys, tarfile, zipfile
folder = sys.argv[1]
for one in json.loads(sys.argv[2]):
    name, version = one['name'], one.get('version', '1.0')
    metadata = 'Metadata-Version: 2.1\\nName: %s\\nVersion: %s\\n' % (name, version)
    metadata += ''.join('Requires-Dist: %s\\n' % line for line in one.get('requires', []))
    files = {name + '.py': ('version = %r\\n' % version).encode()}
    if one.get('noiseBytes'):
        files[name + '_noise.bin'] = os.urandom(one['noiseBytes'])
    if one.get('tag', '') is None:
        files['PKG-INFO'] = metadata.encode()
        files['setup.py'] = (one.get('setup', '') + '\\nfrom setuptools import setup\\n'
                             'setup(name=%r, version=%r, py_modules=[%r])\\n' % (name, version, name)).encode()
        with tarfile.open(os.path.join(folder, '%s-%s.tar.gz' % (name, version)), 'w:gz') as archive:
            for path, content in files.items():
                info = tarfile.TarInfo('%s-%s/%s' % (name, version, path))
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        continue
    tag = one.get('tag') or 'py2.py3-none-any'
    info = '%s-%s.dist-info/' % (name, version)
    files[info + 'METADATA'] = metadata.encode()
    files[info + 'WHEEL'] = ('Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\n' + ''.join(
        'Tag: %s\\n' % each for each in ['py2-none-any', 'py3-none-any'] if 'any' in tag) or 'Tag: %s\\n' % tag).encode()
    record = ''.join('%s,sha256=%s,%d\\n' % (path, base64.urlsafe_b64encode(
        hashlib.sha256(content).digest()).decode().rstrip('='), len(content)) for path, content in files.items())
    files[info + 'RECORD'] = (record + info + 'RECORD,,\\n').encode()
    with zipfile.ZipFile(os.path.join(folder, '%s-%s-%s.whl' % (name, version, tag)), 'w') as archive:
        for path, content in files.items():
            archive.writestr(path, content)
`;
