/** Makes user data for machines, and the files that they fetch with it. */
import { join } from 'node:path';
import { PerigeeError } from '../../protocol/base/errors.ts';
import type { InstanceId } from '../../protocol/wire/ids.ts';
import type { ProviderKind } from '../autoscaler/provider-port.ts';
import { instanceOfToken, makeInstanceToken } from '../instance-token.ts';
import type { Store } from '../store/port.ts';
import { hashToken } from '../tokens.ts';
import { makeAgentBundle } from './agent-bundle.ts';
import { removePartials } from './boot-files.ts';
import { bootScript } from './boot-script.ts';
import type { BootFile, Bootstrap } from './port.ts';

export interface BootstrapDeps {
  store: Pick<Store, 'saveToken' | 'findTokenByHash'>;
  clock: { nowMs(): number };
  /** Where machines reach the coordinator over HTTP; known once it listens. */
  url(): string;
  joinAddress(): string;
  /** Undefined for a pool that does not exist. */
  kindOf(pool: string): ProviderKind | undefined;
}

export interface BootstrapSettings {
  /** The checkout. */
  root: string;
  /** PERIGEE_HOME. */
  home: string;
  /** For a machine of a pool to boot, fetch and join. */
  tokenLifeMs(pool: string): number;
  deadManMs: number;
  certificate: string | null;
  /** More flags for the agents of an offer of a pool. */
  agentFlags(pool: string, offer: string): readonly string[];
}

/** The files, for the HTTP edge. */
export interface BootFiles {
  /**
   * A file that a machine may fetch with its join token.
   * @throws PerigeeError token_missing, token_wrong, token_expired, not_found
   */
  open(digest: string, token: string | undefined): Promise<BootFile>;
}

export function createBootstrap(
  deps: BootstrapDeps,
  settings: BootstrapSettings,
): Bootstrap & BootFiles {
  const kept = join(settings.home, 'boot');
  const files = new Map<string, BootFile>();
  let bundle: Promise<BootFile> | undefined;

  const note = (file: BootFile): BootFile => {
    files.set(file.digest, file);
    return file;
  };
  /** Made once; what failed is tried again by the next who asks. */
  const getBundle = (): Promise<BootFile> => {
    bundle ??= removePartials(kept)
      .then(() => makeAgentBundle({ root: settings.root, kept }))
      .then(note)
      .catch((caught: unknown) => {
        bundle = undefined;
        throw caught;
      });
    return bundle;
  };
  return {
    async userData(instance: InstanceId, pool: string, offer: string) {
      const kind = deps.kindOf(pool);
      if (kind === undefined) throw new PerigeeError('internal', `There is no pool ${pool}.`);
      if (kind === 'process') return '';
      const agent = await getBundle();
      const joinToken = await makeInstanceToken(deps.store, {
        instance,
        nowMs: deps.clock.nowMs(),
        lifeMs: settings.tokenLifeMs(pool),
      });
      return bootScript({
        instance,
        url: deps.url(),
        certificate: settings.certificate,
        joinAddress: deps.joinAddress(),
        joinToken,
        bundle: agent,
        life: kind === 'slurm' ? 'job' : 'machine',
        notices: kind === 'ec2' || kind === 'gce' ? kind : 'none',
        deadManSeconds: Math.ceil(settings.deadManMs / 1_000),
        agentFlags: settings.agentFlags(pool, offer),
      });
    },
    async open(digest, token) {
      if (token === undefined) throw new PerigeeError('token_missing');
      const found = await deps.store.findTokenByHash(hashToken(token));
      // Only machines on their way: the token of one that has joined is used up.
      if (found?.purpose !== 'join' || instanceOfToken(found) === null || found.usesLeft === 0) {
        throw new PerigeeError('token_wrong');
      }
      if (found.revokedAtMs !== null) throw new PerigeeError('token_revoked');
      if (found.expiresAtMs !== null && found.expiresAtMs <= deps.clock.nowMs()) {
        throw new PerigeeError('token_expired');
      }
      if (!/^[0-9a-f]{64}$/.test(digest)) throw new PerigeeError('not_found');
      let file = files.get(digest);
      if (file === undefined) {
        // After a restart: machines that an earlier run asked for are still on their way.
        await getBundle();
        file = files.get(digest);
      }
      if (file === undefined) {
        throw new PerigeeError('not_found', `There is no boot file ${digest}.`);
      }
      return file;
    },
  };
}
