/** Machines of Google Compute Engine, by the vendor's own SDK over REST. */
import { createHash } from 'node:crypto';
import type { protos } from '@google-cloud/compute';
import {
  InstancesClient,
  MachineTypesClient,
  RegionInstancesClient,
  RegionOperationsClient,
  ZoneOperationsClient,
} from '@google-cloud/compute';
import { GoogleAuth } from 'google-auth-library';
import type { InstanceId } from '../../../../protocol/wire/ids.ts';
import type {
  CreateRequest,
  InstanceOffer,
  ListedInstance,
  Provider,
  ProviderFault,
} from '../../provider-port.ts';
import { ProviderFailure } from '../../provider-port.ts';
import type { CloudDeps } from '../cloud-provider.ts';
import {
  callMsMax,
  coordinatorLabel,
  faultOf,
  getOffer,
  requestToken,
  seenByListing,
} from '../cloud-provider.ts';
import { isDeadlinePassed, OperationError, statusOf, toFailure } from './failures.ts';
import type { GceSettings } from './settings.ts';

type Machine = protos.google.cloud.compute.v1.IInstance;
type Operation = protos.google.cloud.compute.v1.IOperation;
/** Where an operation runs: one of the two. */
interface Place {
  zone?: string;
  region?: string;
}

const labels = {
  coordinator: 'perigee-coordinator',
  instance: 'perigee-instance',
  pool: 'perigee-pool',
  offer: 'perigee-offer',
};
/** An operation is asked for so often; each question waits at Google's for as long as a call may. */
const waitsMax = 5;
/** Calls of a creation beside those: the insertion, and a listing where Google chose the zone. */
const otherCallsMax = 2;

/**
 * The provider of one pool; nothing is asked of Google before it is used.
 * @param msMax for one call of Google's API.
 */
export function createGceProvider(
  settings: GceSettings,
  deps: CloudDeps,
  msMax: number = callMsMax,
): Provider {
  /** Bounded, and never repeated in here: the fleet repeats, with a pause and a reason. */
  const once = { timeout: msMax, retry: null };
  const { project } = settings;
  const auth = createAuth();
  const options = clientOptions(settings, auth);
  const instances = new InstancesClient(options);
  const regionInstances = new RegionInstancesClient(options);
  const machineTypes = new MachineTypesClient(options);
  const zoneOperations = new ZoneOperationsClient(options);
  const regionOperations = new RegionOperationsClient(options);
  const ours = `labels.${labels.coordinator}=${coordinatorLabel(deps)}`;

  /** Missing credentials would end the process from inside the SDK, where nobody can catch it. */
  const findCredentials = async (): Promise<void> => {
    try {
      await auth.getClient();
    } catch (caught) {
      const said = caught instanceof Error ? caught.message : String(caught);
      throw new ProviderFailure('denied', said, { mayHaveMade: false, cause: caught });
    }
  };
  const listMachines = async (filter: string): Promise<Machine[]> => {
    const found: Machine[] = [];
    const pages = instances.aggregatedListAsync({ project, filter }, once);
    for await (const [place, scope] of pages) {
      // A zone that does not answer is not a zone without machines.
      if (scope.warning?.code === 'UNREACHABLE') throw new Error(`${place} is unreachable`);
      found.push(...(scope.instances ?? []));
    }
    return found;
  };
  const findByTag = (instance: InstanceId): Promise<Machine[]> =>
    listMachines(`${ours} AND labels.${labels.instance}=${instance}`);
  const waitFor = async (operation: Operation, { zone, region }: Place): Promise<Operation> => {
    const asked = { project, operation: operation.name ?? '' };
    try {
      const [seen] =
        zone === undefined
          ? await regionOperations.wait({ ...asked, region: region ?? '' }, once)
          : await zoneOperations.wait({ ...asked, zone }, once);
      return seen;
    } catch (caught) {
      if (isDeadlinePassed(caught)) return operation;
      throw caught;
    }
  };
  const settle = async (begun: Operation, place: Place, signal: AbortSignal): Promise<void> => {
    let operation = begun;
    for (let waits = 0; operation.status !== 'DONE' && waits < waitsMax; waits += 1) {
      if (signal.aborted) break;
      operation = await waitFor(operation, place);
    }
    const error = operation.error?.errors?.[0];
    if (error !== undefined) throw new OperationError(error.code ?? '', error.message ?? '');
    if (operation.status !== 'DONE') throw new Error(`${operation.name} does not end`);
  };
  const make = async (request: CreateRequest, signal: AbortSignal): Promise<string> => {
    const offer = getOffer(deps, request.offer);
    const name = nameOf(deps, request.instance);
    const resource = machineOf(settings, deps, { ...request, name, offer });
    const requestId = uuidOf(requestToken(deps, request.instance));
    try {
      if (offer.zone !== null) {
        const place = { zone: offer.zone };
        const asked = { project, ...place, requestId, instanceResource: resource };
        const [begun] = await instances.insert(asked, once);
        await settle(begun.latestResponse as Operation, place, signal);
        return `${offer.zone}/${name}`;
      }
      const place = { region: settings.region };
      const { name: _, ...instanceProperties } = resource;
      const asked = {
        project,
        ...place,
        requestId,
        bulkInsertInstanceResourceResource: {
          count: 1,
          perInstanceProperties: { [name]: { name } },
          instanceProperties: { ...instanceProperties, machineType: offer.type },
        },
      };
      const [begun] = await regionInstances.bulkInsert(asked, once);
      await settle(begun.latestResponse as Operation, place, signal);
    } catch (caught) {
      // The name is taken: by the same request, which was made before.
      if (statusOf(caught) !== 409) throw caught;
    }
    const made = (await findByTag(request.instance)).find((machine) => stateOf(machine) !== 'gone');
    if (made !== undefined) return handleOf(made);
    throw new ProviderFailure('unavailable', `${name} was made and is not listed yet.`, {
      mayHaveMade: true,
    });
  };
  const end = async (handle: string): Promise<void> => {
    const [zone = '', instance = ''] = handle.split('/');
    try {
      await instances.delete({ project, zone, instance }, once);
    } catch (caught) {
      if (statusOf(caught) !== 404) throw caught;
    }
  };
  const checkOffer = async (offer: InstanceOffer): Promise<ProviderFault[]> => {
    // Without a zone any of the region's will do: the usual first one stands for them.
    const zone = offer.zone ?? `${settings.region}-b`;
    try {
      await machineTypes.get({ project, zone, machineType: offer.type }, once);
      return [];
    } catch (caught) {
      const fix = `Change "type" or "zone" of offer "${offer.id}"; \`gcloud compute machine-types list\` has them.`;
      const isUnknown = statusOf(caught) === 404;
      const what = `"${offer.type}" is not to be had in zone "${zone}"`;
      const fault = faultOf(toFailure(caught), { what, fix: isUnknown ? fix : credentialsFix });
      return [isUnknown ? { ...fault, code: 'type' } : fault];
    }
  };
  return {
    kind: 'gce',
    pool: deps.pool,
    answerMsMax: (waitsMax + otherCallsMax) * msMax,
    offers: () => deps.offers,
    async check() {
      try {
        await findCredentials();
        await listMachines(ours);
      } catch (caught) {
        const what = 'Machines cannot be listed';
        return [faultOf(toFailure(caught), { what, fix: credentialsFix })];
      }
      const faults: ProviderFault[] = [];
      for (const offer of deps.offers) faults.push(...(await checkOffer(offer)));
      return faults;
    },
    async create(request, signal) {
      try {
        await findCredentials();
        return await make(request, signal);
      } catch (caught) {
        throw toFailure(caught);
      }
    },
    async list() {
      try {
        await findCredentials();
        const listing = new Map<InstanceId, ListedInstance>();
        for (const machine of await listMachines(ours)) {
          const instance = machine.labels?.[labels.instance] as InstanceId | undefined;
          if (instance === undefined) continue;
          listing.set(instance, toListed(deps, machine));
        }
        return listing;
      } catch (caught) {
        throw toFailure(caught);
      }
    },
    async terminate(instance, handle) {
      try {
        await findCredentials();
        if (handle !== null && handle !== '') await end(handle);
        for (const machine of await findByTag(instance)) {
          if (handleOf(machine) !== handle) await end(handleOf(machine));
        }
      } catch (caught) {
        throw toFailure(caught);
      }
    },
    ...seenByListing,
    async close() {
      const clients = [instances, regionInstances, machineTypes, zoneOperations, regionOperations];
      await Promise.all(clients.map((client) => client.close()));
    },
  };
}

const credentialsFix =
  'Give the coordinator credentials (GOOGLE_APPLICATION_CREDENTIALS, or the machine’s service account) with the roles in docs/autoscaling.md, and check "project".';

type ClientOptions = NonNullable<ConstructorParameters<typeof InstancesClient>[0]>;

function createAuth(): GoogleAuth {
  const auth = new GoogleAuth({ scopes: ['https://www.googleapis.com/auth/compute'] });
  // A service account's key signs each call itself, which Google takes: no token has to be fetched.
  return Object.assign(auth, { useJWTAccessWithScope: true });
}

function clientOptions(settings: GceSettings, auth: GoogleAuth): ClientOptions {
  const options = { fallback: true, auth } as ClientOptions;
  if (settings.endpoint === null) return options;
  const url = new URL(settings.endpoint);
  return Object.assign(options, {
    apiEndpoint: url.hostname,
    port: Number(url.port || (url.protocol === 'http:' ? 80 : 443)),
    protocol: url.protocol.replace(':', ''),
  });
}

function machineOf(
  settings: GceSettings,
  deps: CloudDeps,
  of: { name: string; instance: InstanceId; offer: InstanceOffer; userData: string },
): Machine {
  const { offer } = of;
  return {
    name: of.name,
    machineType: `zones/${offer.zone}/machineTypes/${offer.type}`,
    labels: {
      [labels.coordinator]: coordinatorLabel(deps),
      [labels.instance]: of.instance,
      [labels.pool]: deps.pool,
      [labels.offer]: offerLabel(offer.id),
    },
    disks: [
      {
        boot: true,
        autoDelete: true,
        initializeParams: { sourceImage: settings.image, diskSizeGb: settings.diskGib },
      },
    ],
    networkInterfaces: [
      {
        ...(settings.network === null ? {} : { network: settings.network }),
        ...(settings.subnetwork === null ? {} : { subnetwork: settings.subnetwork }),
        accessConfigs: [{ type: 'ONE_TO_ONE_NAT', name: 'External NAT' }],
      },
    ],
    ...(settings.networkTags.length === 0 ? {} : { tags: { items: [...settings.networkTags] } }),
    ...(settings.serviceAccount === null
      ? {}
      : {
          serviceAccounts: [
            {
              email: settings.serviceAccount,
              scopes: ['https://www.googleapis.com/auth/cloud-platform'],
            },
          ],
        }),
    scheduling: offer.spot
      ? {
          provisioningModel: 'SPOT',
          instanceTerminationAction: 'DELETE',
          onHostMaintenance: 'TERMINATE',
          automaticRestart: false,
        }
      : { provisioningModel: 'STANDARD', automaticRestart: false },
    // What all of Google's images run at boot, with cloud-init or without.
    metadata: { items: [{ key: 'startup-script', value: of.userData }] },
  };
}

function toListed(deps: CloudDeps, machine: Machine): ListedInstance {
  const label = machine.labels?.[labels.offer];
  const made = Date.parse(machine.creationTimestamp ?? '');
  const state = stateOf(machine);
  return {
    handle: handleOf(machine),
    state,
    launchedAtMs: Number.isNaN(made) ? null : made,
    offer: deps.offers.find(({ id }) => offerLabel(id) === label)?.id ?? null,
    // Google stops a spot machine of ours before it deletes it; nobody else does but its own power-off.
    interrupted: machine.scheduling?.provisioningModel === 'SPOT' && state === 'stopping',
  };
}

function stateOf(machine: Machine): ListedInstance['state'] {
  switch (machine.status) {
    case 'PENDING':
    case 'PROVISIONING':
    case 'STAGING':
      return 'pending';
    case 'PENDING_STOP':
    case 'STOPPING':
    case 'SUSPENDING':
    case 'DEPROVISIONING':
      return 'stopping';
    default:
      // TERMINATED and SUSPENDED among them: one that has stopped does not go away by itself, and
      // its disk is paid for until it is deleted, as one that runs is.
      return 'running';
  }
}

/** A default id has slashes and a type may have capitals; Google's labels take neither. */
function offerLabel(id: string): string {
  return createHash('sha256').update(id).digest('hex').slice(0, 24);
}

function handleOf(machine: Machine): string {
  return `${(machine.zone ?? '').split('/').at(-1)}/${machine.name}`;
}

/** Unique in the project, so that a second request for one instance meets the first one's machine. */
function nameOf(deps: CloudDeps, instance: InstanceId): string {
  const name = `perigee-${coordinatorLabel(deps).slice(0, 8)}-${instance}`;
  if (/^[a-z][-a-z0-9]{0,61}[a-z0-9]$/.test(name)) return name;
  const message = `"${instance}" cannot name a machine of Google's: its pool's name must be of a-z, 0-9 and hyphens, and short.`;
  throw new ProviderFailure('invalid', message, { mayHaveMade: false });
}

function uuidOf(hex: string): string {
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
