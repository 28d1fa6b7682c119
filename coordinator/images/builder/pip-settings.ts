/**
 * The machine's own pip settings, read anew for every build: the index, further indexes, trusted
 * hosts, certificates and proxy, from pip's configuration files and from the environment.
 */
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { PerigeeError } from '../../../protocol/base/errors.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** What a build is given of them. */
export interface PipSettings {
  /** As environment of pip in the sandbox; paths are the sandbox's. */
  environment: Record<string, string>;
  /** `host:port` that the build may reach. */
  hosts: ReadonlySet<string>;
  /** Folders of the machine with packages (`find-links`), in order of their places in the sandbox. */
  folders: readonly string[];
  /** PEM file of the certificate authorities; null when the machine has none. */
  authorities: string | null;
  /** The proxy that the machine itself goes through; null for none. */
  proxy: URL | null;
}

/** Settings that the build keeps; others would put packages elsewhere or ask questions. */
const kept = [
  'index-url',
  'extra-index-url',
  'trusted-host',
  'find-links',
  'no-index',
  'cert',
  'proxy',
  'timeout',
  'default-timeout',
  'retries',
  'prefer-binary',
] as const;
type Kept = (typeof kept)[number];

/** The index that a pip asks when nobody names another, and the host of its files. */
interface OwnIndex {
  url: string;
  host: string;
  fileHost: string;
}
const authorityFiles = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/cert.pem',
];

/** Where the sandbox sees what pip is told of. */
export const insidePaths = { authorities: '/perigee/ca.pem', links: '/perigee/links' } as const;

/**
 * Reads them.
 * @param options.hostsMore `host:port` texts that an owner lets builds reach besides.
 * @param options.pip Folder with the `pip` package that builds: it knows its own default index.
 */
export function readPipSettings(
  env: Environment,
  options: { hostsMore: readonly string[]; pip: string },
): PipSettings {
  const own = readOwnIndex(options.pip);
  const settings = new Map<Kept, string>();
  for (const file of configFiles(env)) {
    if (existsSync(file)) readConfig(readFileSync(file, 'utf8'), settings);
  }
  for (const name of kept) {
    const value = env[`PIP_${name.replace(/-/g, '_').toUpperCase()}`];
    if (value !== undefined && value !== '') settings.set(name, value);
  }
  const words = (name: Kept): string[] => (settings.get(name) ?? '').split(/\s+/).filter(Boolean);
  const links = words('find-links');
  const folders = links.filter((link) => link.startsWith('/') && existsSync(link));
  const remote = links.filter((link) => /^https?:/.test(link));
  const indexes = [settings.get('index-url') ?? own.url, ...words('extra-index-url')];
  const isOffline = /^(1|true|yes|on)$/i.test(settings.get('no-index') ?? '');
  const urls = [...(isOffline ? [] : indexes), ...remote];
  const certificate = settings.get('cert') ?? env['REQUESTS_CA_BUNDLE'] ?? env['SSL_CERT_FILE'];
  const authorities = [certificate, ...authorityFiles].find(
    (file) => file !== undefined && file !== '' && existsSync(file),
  );
  const environment: Record<string, string> = {
    PIP_CONFIG_FILE: '/dev/null',
    PIP_INDEX_URL: indexes[0] ?? own.url,
  };
  for (const name of kept) {
    if (['index-url', 'find-links', 'cert', 'proxy'].includes(name)) continue;
    const value = settings.get(name);
    if (value !== undefined) environment[`PIP_${name.replace(/-/g, '_').toUpperCase()}`] = value;
  }
  const inside = [...folders.map((_, at) => `${insidePaths.links}/${at}`), ...remote];
  if (inside.length > 0) environment['PIP_FIND_LINKS'] = inside.join(' ');
  if (authorities !== undefined) environment['PIP_CERT'] = insidePaths.authorities;
  const proxy =
    settings.get('proxy') ?? env['HTTPS_PROXY'] ?? env['https_proxy'] ?? env['HTTP_PROXY'];
  return {
    environment,
    hosts: new Set([...urls.flatMap((url) => hostsOf(url, own)), ...options.hostsMore]),
    folders,
    authorities: authorities ?? null,
    proxy: proxy === undefined || proxy === '' ? null : readProxy(proxy),
  };
}

/** In pip's order: what is read later counts. */
function configFiles(env: Environment): string[] {
  const home = env['HOME'] ?? homedir();
  const shared = (env['XDG_CONFIG_DIRS'] ?? '/etc/xdg').split(':').filter(Boolean).reverse();
  const own = env['PIP_CONFIG_FILE'];
  if (own === '/dev/null') return [];
  return [
    ...shared.map((folder) => join(folder, 'pip', 'pip.conf')),
    '/etc/pip.conf',
    join(home, '.pip', 'pip.conf'),
    join(env['XDG_CONFIG_HOME'] || join(home, '.config'), 'pip', 'pip.conf'),
    ...(own === undefined || own === '' ? [] : [own]),
  ];
}

/** The sections that `pip install` reads, in the format of Python's configparser. */
function readConfig(text: string, settings: Map<Kept, string>): void {
  let section = '';
  let name: Kept | undefined;
  for (const line of text.split(/\r?\n/)) {
    if (/^\s*([#;].*)?$/.test(line)) continue;
    const head = /^\[([^\]]+)\]/.exec(line);
    const pair = /^([A-Za-z][A-Za-z0-9_-]*)\s*[=:]\s*(.*)$/.exec(line);
    if (head !== null) {
      section = head[1] ?? '';
      name = undefined;
    } else if (/^\s/.test(line)) {
      if (name !== undefined)
        settings.set(name, `${settings.get(name) ?? ''} ${line.trim()}`.trim());
    } else if (pair !== null && (section === 'global' || section === 'install')) {
      const found = (pair[1] ?? '').toLowerCase().replace(/_/g, '-');
      name = kept.find((known) => known === found);
      if (name !== undefined) settings.set(name, (pair[2] ?? '').trim());
    } else name = undefined;
  }
}

function readOwnIndex(pip: string): OwnIndex {
  const source = readFileSync(join(pip, 'pip/_internal/models/index.py'), 'utf8');
  const found =
    /\bPyPI = PackageIndex\(\s*['"]([^'"]+)['"],\s*file_storage_domain=['"]([^'"]+)['"]/.exec(
      source,
    );
  const [, url, fileHost] = found ?? [];
  if (url === undefined || fileHost === undefined) {
    throw new PerigeeError('build_failed', 'The pip of the base image does not say its index.', {
      fix: 'Set index-url in the pip.conf of the coordinator’s machine.',
    });
  }
  return { url: new URL('simple', url).href, host: new URL(url).host, fileHost };
}

function hostsOf(text: string, own: OwnIndex): string[] {
  if (!URL.canParse(text)) return [];
  const url = new URL(text);
  const host = `${url.hostname}:${url.port || (url.protocol === 'http:' ? '80' : '443')}`;
  return url.host === own.host ? [host, `${own.fileHost}:443`] : [host];
}

function readProxy(text: string): URL | null {
  const whole = text.includes('://') ? text : `http://${text}`;
  return URL.canParse(whole) ? new URL(whole) : null;
}
