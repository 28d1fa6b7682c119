/** Finds a provider by its kind. Each loads its vendor's SDK, so none is loaded before it is used. */
import { assertNever } from '../../../protocol/base/assert.ts';
import type { Provider, ProviderKind } from '../provider-port.ts';
import type { CloudDeps } from './cloud-provider.ts';

/** Every kind but `process`, which needs no settings of its own. */
export type CloudKind = Exclude<ProviderKind, 'process'>;

/**
 * Checks a pool's own fields and gives what opens its provider.
 * @param fields what stands in the pools file below the kind's name.
 * @throws PerigeeError invalid_request that names the field
 */
export async function loadProvider(
  kind: CloudKind,
  fields: unknown,
): Promise<(deps: CloudDeps) => Promise<Provider>> {
  switch (kind) {
    case 'ec2': {
      const { parseEc2Settings } = await import('./ec2/settings.ts');
      const settings = parseEc2Settings(fields);
      return async (deps) =>
        (await import('./ec2/create-provider.ts')).createEc2Provider(settings, deps);
    }
    case 'gce': {
      const { parseGceSettings } = await import('./gce/settings.ts');
      const settings = parseGceSettings(fields);
      return async (deps) =>
        (await import('./gce/create-provider.ts')).createGceProvider(settings, deps);
    }
    case 'slurm': {
      const { parseSlurmSettings } = await import('./slurm/settings.ts');
      const settings = parseSlurmSettings(fields);
      return async (deps) =>
        (await import('./slurm/create-provider.ts')).createSlurmProvider(settings, deps);
    }
    case 'command': {
      const { parseCommandSettings } = await import('./command/settings.ts');
      const settings = parseCommandSettings(fields);
      return async (deps) =>
        (await import('./command/create-provider.ts')).createCommandProvider(settings, deps);
    }
    default:
      return assertNever(kind);
  }
}
