/**
 * An image that this coordinator made or brought in. The images of set-up have no entry: they are
 * found in the images' folder.
 *
 * Life: `building` → `ready` or `buildFailed`; `buildFailed` → `building` when somebody asks again;
 * any but `building` → `removed`. A removed entry stays as a row, so that a digest never comes to
 * mean other packages than it meant before (`generation`).
 */
import type { ImageDigest, NamespaceName } from '../../protocol/wire/ids.ts';
import type { PythonVersion } from '../../protocol/wire/task.ts';

/** What a namespace calls an image; null for a name that every namespace knows. */
export interface ImageName {
  name: string;
  namespace: NamespaceName | null;
}

/** How an image is packed for its way to a node. */
export interface ImageArchive {
  /** SHA-256 of the archive's bytes, lower-case hexadecimal. */
  hash: string;
  sizeBytes: number;
}

/** What an image was asked to be made of; enough to make it again. */
export type ImageSource =
  | {
      kind: 'requirements';
      /** Normalized, one a line (`coordinator/images/requirements.ts`). */
      requirements: readonly string[];
    }
  | {
      kind: 'oci';
      /** As the user wrote it. */
      reference: string;
      /** What the registry said that it stood for, `sha256:…`. */
      manifest: string;
    };

/** Why a build failed, for people. */
export interface ImageFailure {
  message: string;
  fix: string;
}

/** An entry of the catalogue. */
export interface CatalogueImage {
  digest: ImageDigest;
  source: ImageSource;
  state: 'building' | 'ready' | 'buildFailed' | 'removed';
  /** Who may use it, and as what; of two images with one name the later named has it alone. */
  names: readonly ImageName[];
  /** What the same request is found by, whatever its generation. */
  requestKey: string;
  /** How often the same request had been made and removed before. */
  generation: number;
  python: PythonVersion;
  /** As Node's `process.arch`. */
  arch: string;
  /** Of its own files, without the base's; 0 until it is ready. */
  sizeBytes: number;
  /** The image whose root file system it lies on; null for one that has its own. */
  base: ImageDigest | null;
  /** Names and versions of what is in it; empty until it is ready, or when nobody looked. */
  packages: Readonly<Record<string, string>>;
  archive: ImageArchive | null;
  /** In `buildFailed` only. */
  failure: ImageFailure | null;
  createdAtMs: number;
  /** When it became ready or failed; null while it is made. */
  endedAtMs: number | null;
}

/** What the catalogue keeps on disk. */
export interface ImageStore {
  /** Makes or replaces the entry of a digest. */
  saveImage(image: CatalogueImage): Promise<void>;
  /** All entries, removed ones too, in order of their first saving. */
  listImages(): Promise<CatalogueImage[]>;
  /** Adds to the log of a build; a chunk that does not begin at the log's end is refused. */
  appendImageLog(digest: ImageDigest, chunk: { offset: number; bytes: Uint8Array }): Promise<void>;
  /** The log from `offset` on, at most `bytesMax` of it. */
  readImageLog(
    digest: ImageDigest,
    options: { offset: number; bytesMax: number },
  ): Promise<Uint8Array>;
  /** Forgets the log, before a build begins anew. */
  clearImageLog(digest: ImageDigest): Promise<void>;
}
