/** What the gateway needs of the rest of the process, named by what it uses. */
import type { Stream } from '@libp2p/interface';
import type { ImageDigest } from '../../protocol/wire/ids.ts';
import type { IsolationLevel, NodeImage } from '../../protocol/wire/task.ts';
import type { FleetState } from '../autoscaler/lifecycle/state.ts';
import type { Driver } from '../driver-port.ts';
import type { BuildLogs } from '../images/build-log.ts';
import type { Builds } from '../images/builds.ts';
import type { ImageCatalogue } from '../images/catalogue.ts';
import type { ImageImporter } from '../images/oci/image-importer.ts';
import type { Retention } from '../retention/create-retention.ts';
import type { StacCatalogue } from '../stac/port.ts';
import type { BlobStore, Store, StoredFleetEvent } from '../store/port.ts';

/** pino's shape. */
export interface GatewayLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** A machine that the fleet could make. */
export interface MachineShape {
  cpus: number;
  memoryBytes: number;
  isolation: IsolationLevel;
  /** Whether its tasks may have the machine's network. */
  network: boolean;
}

export interface GatewayDeps {
  driver: Driver;
  store: Store;
  blobs: BlobStore;
  clock: { nowMs(): number };
  log: GatewayLog;
  /** The libp2p host (`protocol/net/create-mesh-host.ts`). */
  mesh: {
    readonly peerId: string;
    addresses(): string[];
    handle(
      protocol: string,
      handler: (stream: Stream, peer: string) => void | Promise<void>,
      options: { streamsMax: number },
    ): Promise<void>;
    unhandle(protocol: string): Promise<void>;
  };
  /** What the autoscaler may make, and what is on its way. */
  fleet: {
    /** The shapes of machine that its pools can make; empty when it makes none. */
    shapes(): readonly MachineShape[];
    /** Instances asked for that have not joined yet. */
    booting(): number;
    /** Why it makes none at the moment, for people; null when nothing holds it back. */
    hold(): string | null;
    /** To read only; for operators' views. */
    state(): FleetState;
    /** By the fleet's own clock. */
    nowMs(): number;
    /** Latest first. */
    events(limit: number): Promise<StoredFleetEvent[]>;
  };
  /** Images that the process provider's machines would have (`local-images.ts`). */
  images: {
    list(): Promise<readonly NodeImage[]>;
    /** Deletes the files of an image; nothing when there are none. */
    remove(digest: ImageDigest): Promise<void>;
  };
  /** Images that were built or brought in (`coordinator/images/catalogue.ts`). */
  catalogue: ImageCatalogue;
  /** Images of registries (`coordinator/images/oci/image-importer.ts`). */
  importer: Pick<ImageImporter, 'importImage'>;
  /** Scenes, as STAC (`coordinator/stac/create-catalogue.ts`). */
  stac: Pick<StacCatalogue, 'call'>;
  buildLogs: Pick<BuildLogs, 'read'>;
  builds: Pick<Builds, 'request'>;
  /** What machines fetch while they boot (`coordinator/bootstrap/`); absent where none are made. */
  boot?: {
    open(
      digest: string,
      token: string | undefined,
    ): Promise<{ digest: string; path: string; sizeBytes: number }>;
  };
  /** `coordinator/store/disk-guard.ts`. */
  disk: {
    /** @throws PerigeeError disk_full */
    assertRoom(bytes: number): Promise<void>;
  };
  /** What is kept for how long (`coordinator/retention/`). */
  retention: Pick<Retention, 'held' | 'mayHaveRemoved' | 'removeGroup' | 'touchBlob'>;
  /** Of this software, for people. */
  version: string;
}
