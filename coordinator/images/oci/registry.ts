/** Asks a registry what a reference stands for. Nothing is unpacked here. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { PerigeeError } from '../../../protocol/base/errors.ts';
import type { ImageDigest } from '../../../protocol/wire/ids.ts';
import type { OciReference } from './reference.ts';
import { formatReference, isLoopback } from './reference.ts';
import type { ProgramEnd } from './run-program.ts';
import { runProgram } from './run-program.ts';

export interface RegistrySettings {
  /** A containers-auth.json; empty: skopeo's and docker's own places of the coordinator's user. */
  authFile: string;
  /** Registries beyond loopback, HOST or HOST:PORT, that may speak plain HTTP or show any certificate. */
  insecure: readonly string[];
  /** The only registries that users may name; empty: any. */
  allowed: readonly string[];
}

/** What one reference stood for, at one moment. */
export interface ResolvedImage {
  reference: OciReference;
  /** Of the image for this processor, never of a list of images. */
  manifest: string;
  /** What the image is called in the mesh: its manifest, and how it is made ready to run. */
  digest: ImageDigest;
  /** As Node's `process.arch`. */
  arch: string;
  /** `NAME=VALUE`, as the image sets them. */
  environment: readonly string[];
  /** Its WORKDIR; empty when it sets none. */
  workFolder: string;
}

/** Raise this when the same manifest is made ready in another way. */
const importVersion = 1;
const inspectMsMax = 60_000;
const architectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

/**
 * Resolves a tag to the image of this processor.
 * @throws PerigeeError image_unknown, image_invalid, registry_denied, registry_unreachable, setup_missing, forbidden
 */
export async function resolveImage(
  reference: OciReference,
  settings: RegistrySettings,
  options: { arch: string; signal: AbortSignal },
): Promise<ResolvedImage> {
  if (settings.allowed.length > 0 && !settings.allowed.includes(reference.registry)) {
    throw new PerigeeError(
      'forbidden',
      `This mesh takes images from ${settings.allowed.join(', ')} only, not from ${reference.registry}.`,
      { fix: 'Ask its operator for --registry, or push the image there.' },
    );
  }
  const inspect = async (words: string[], what: OciReference): Promise<string> => {
    const end = await runProgram(
      'skopeo',
      [...policyWords(), 'inspect', ...words, ...accessWords(what, settings, ''), urlOf(what)],
      { signal: options.signal, msMax: inspectMsMax },
    );
    if (end.exitCode === 0) return end.stdout;
    throw registryError(end, what);
  };
  const raw = await inspect(['--raw'], reference);
  const manifest = chooseManifest(raw, { reference, arch: options.arch });
  const exact = { ...reference, digest: manifest };
  const config = fieldsOf(parseJson(await inspect(['--config'], exact)));
  const found = String(config['architecture'] ?? '');
  if (config['os'] !== 'linux' || found !== architectures[options.arch]) {
    throw wrongArchitecture(reference, { has: [`${config['os']}/${found}`], arch: options.arch });
  }
  const { Env, WorkingDir } = fieldsOf(config['config']);
  const workFolder = typeof WorkingDir === 'string' ? WorkingDir : '';
  const environment = Array.isArray(Env) ? Env.filter((line) => typeof line === 'string') : [];
  const digest = digestOf(manifest);
  return { reference, manifest, digest, arch: options.arch, environment, workFolder };
}

/** skopeo's words for the credentials and the transport, `side` being `src-` for copies. */
export function accessWords(
  reference: OciReference,
  settings: RegistrySettings,
  side: 'src-' | '',
): string[] {
  const { registry } = reference;
  const isPlain = isLoopback(registry) || settings.insecure.includes(registry);
  return [
    ...(settings.authFile === '' ? [] : [`--${side}authfile`, settings.authFile]),
    ...(isPlain ? [`--${side}tls-verify=false`] : []),
  ];
}

/** Without a policy file skopeo refuses everything; with one, it rules. */
export function policyWords(): string[] {
  const files = [join(homedir(), '.config/containers/policy.json'), '/etc/containers/policy.json'];
  return files.some((file) => existsSync(file)) ? [] : ['--insecure-policy'];
}

export function urlOf(reference: OciReference): string {
  // skopeo takes a tag or a digest, never both.
  return `docker://${formatReference(reference)}`;
}

/** What skopeo says, as an error of ours. These are the registry protocol's and Go's own words. */
export function registryError(end: ProgramEnd, reference: OciReference): PerigeeError {
  const name = formatReference(reference);
  const said = lastLine(end.complaint);
  if (/unauthorized|authentication required|denied|invalid username\/password/i.test(said)) {
    const message = `${reference.registry} does not let this coordinator read ${name}: ${said}`;
    return new PerigeeError('registry_denied', message);
  }
  if (/manifest unknown|name unknown|repository name not known|manifest.*not found/i.test(said)) {
    return new PerigeeError('image_unknown', `${reference.registry} has no image ${name}.`, {
      fix: 'Check the name and the tag; a registry may also hide what its credentials may not see.',
    });
  }
  if (/no space left on device|disk quota exceeded/i.test(said)) {
    return new PerigeeError('disk_full', `The disk was full before ${name} was here.`, {
      fix: 'Free space below the coordinator’s PERIGEE_HOME and ask again; nothing of it is kept.',
    });
  }
  if (
    /no such host|connection refused|i\/o timeout|network is unreachable|server gave HTTP|x509|tls:|no route to host|ping.*registry/i.test(
      said,
    )
  ) {
    return new PerigeeError('registry_unreachable', `${name} cannot be reached: ${said}`);
  }
  return new PerigeeError('image_invalid', `${name} cannot be read: ${said}`, {
    fix: 'Push it again; what skopeo says is in the image’s log.',
  });
}

/** logrus writes `time=… level=fatal msg="…"`. */
function lastLine(complaint: string): string {
  const line = complaint.split('\n').at(-1) ?? '';
  const message = /msg="(.*)"$/.exec(line)?.[1] ?? line;
  return message.replaceAll('\\"', '"').slice(0, 1_000);
}

function digestOf(manifest: string): ImageDigest {
  const content = `perigee oci ${importVersion}\n${manifest}\n`;
  return `sha256:${createHash('sha256').update(content).digest('hex')}` as ImageDigest;
}

/** A manifest's own digest, or that of the one for this processor in a list. */
function chooseManifest(raw: string, wanted: { reference: OciReference; arch: string }): string {
  const manifest = fieldsOf(parseJson(raw));
  if (!Array.isArray(manifest['manifests'])) {
    return wanted.reference.digest ?? `sha256:${createHash('sha256').update(raw).digest('hex')}`;
  }
  const has: string[] = [];
  for (const each of manifest['manifests']) {
    const { platform, digest } = fieldsOf(each);
    const { os, architecture } = fieldsOf(platform);
    if (os === 'linux' && architecture === architectures[wanted.arch]) return String(digest);
    // Attestations are listed as of an unknown platform.
    if (os !== 'unknown') has.push(`${os}/${architecture}`);
  }
  throw wrongArchitecture(wanted.reference, { has, arch: wanted.arch });
}

function wrongArchitecture(
  reference: OciReference,
  image: { has: string[]; arch: string },
): PerigeeError {
  const name = formatReference(reference);
  const wanted = `linux/${architectures[image.arch] ?? image.arch}`;
  return new PerigeeError(
    'image_invalid',
    `${name} is for ${image.has.join(', ')}; this mesh’s coordinator runs ${wanted}.`,
    { fix: `Push it for ${wanted} as well (docker buildx build --platform ${wanted}).` },
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new PerigeeError('image_invalid', 'The registry answered with no JSON.', { cause });
  }
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
    ? (value as Readonly<Record<string, unknown>>)
    : {};
}
