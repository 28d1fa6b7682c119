/** References to images in registries: `registry.example:5000/team/image:tag` or `…@sha256:…`. */
import { canonicalImageName } from '../../../protocol/wire/image-names.ts';

export interface OciReference {
  /** Host, and port when there is one. */
  registry: string;
  /** With the registry, without tag and digest. */
  repository: string;
  /** `latest` when neither tag nor digest is given. */
  tag: string | null;
  digest: string | null;
}

const pattern =
  /^(?<registry>[a-zA-Z0-9.-]+(?::[0-9]{1,5})?|\[[0-9a-f:]+\](?::[0-9]{1,5})?)\/(?<path>[a-z0-9]+(?:(?:\.|_|__|-+|\/)[a-z0-9]+)*)(?::(?<tag>\w[\w.-]{0,127}))?(?:@(?<digest>sha256:[0-9a-f]{64}))?$/;

/**
 * The registry image that a name means. Undefined for the mesh's own names: a registry's first part
 * has a dot or a port, or is `localhost`, as everywhere in this field; and DLRun's names are ours.
 */
export function findOciReference(name: string): OciReference | undefined {
  if (canonicalImageName(name) !== name || name.length > 500) return undefined;
  const found = pattern.exec(name.replace(/^docker:\/\//, ''))?.groups;
  if (found === undefined) return undefined;
  const { registry = '', path = '', tag, digest } = found;
  if (!/[.:]/.test(registry) && registry !== 'localhost') return undefined;
  return {
    registry,
    repository: `${registry}/${path}`,
    tag: digest === undefined ? (tag ?? 'latest') : (tag ?? null),
    digest: digest ?? null,
  };
}

/** As people write it; a digest wins over a tag. */
export function formatReference(reference: OciReference): string {
  const { repository, tag, digest } = reference;
  return digest === null ? `${repository}:${tag}` : `${repository}@${digest}`;
}

/** Registries on this machine itself may speak plain HTTP, as Docker has it. */
export function isLoopback(registry: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/.test(registry);
}
