/** Machines of EC2, by the vendor's own SDK. */
import type { _InstanceType, Instance, RunInstancesCommandInput } from '@aws-sdk/client-ec2';
import {
  DescribeInstancesCommand,
  DescribeInstanceTypeOfferingsCommand,
  DescribeSpotInstanceRequestsCommand,
  EC2Client,
  paginateDescribeInstances,
  RunInstancesCommand,
  TerminateInstancesCommand,
} from '@aws-sdk/client-ec2';
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
  answerMsMax,
  boundedSignal,
  callMsMax,
  faultOf,
  getOffer,
  requestToken,
  seenByListing,
} from '../cloud-provider.ts';
import { codeOf, isDryRunSuccess, toFailure } from './failures.ts';
import type { Ec2Settings } from './settings.ts';

const tags = {
  coordinator: 'perigee:coordinator',
  instance: 'perigee:instance',
  pool: 'perigee:pool',
  offer: 'perigee:offer',
};
/** Machines per answer of a listing. */
const pageSize = 200;
/** Spot requests that one question names. */
const spotBatch = 100;
/** EC2 takes no more user data than this, before base64. */
const userDataBytesMax = 16 * 1024;

/** The provider of one pool; nothing is asked of EC2 before it is used. */
export function createEc2Provider(settings: Ec2Settings, deps: CloudDeps): Provider {
  const client = new EC2Client({
    region: settings.region,
    ...(settings.endpoint === null ? {} : { endpoint: settings.endpoint }),
    // The fleet repeats with a pause and a reason; a repeat in here would hide a lost answer.
    maxAttempts: 1,
    requestHandler: { connectionTimeout: 5_000, requestTimeout: callMsMax },
  });
  const send = (signal: AbortSignal) => ({ abortSignal: boundedSignal(signal) });

  const describeAll = async (
    extra: { Name: string; Values: string[] }[],
    signal: AbortSignal,
  ): Promise<Instance[]> => {
    const found: Instance[] = [];
    const filters = [{ Name: `tag:${tags.coordinator}`, Values: [deps.coordinator] }, ...extra];
    const pages = paginateDescribeInstances(
      { client, pageSize },
      { Filters: filters },
      send(signal),
    );
    for await (const page of pages) {
      for (const { Instances } of page.Reservations ?? []) found.push(...(Instances ?? []));
    }
    return found;
  };
  const findByTag = (instance: InstanceId, signal: AbortSignal): Promise<Instance[]> =>
    describeAll([{ Name: `tag:${tags.instance}`, Values: [instance] }], signal);
  const findInterrupted = async (
    machines: readonly Instance[],
    signal: AbortSignal,
  ): Promise<Set<string>> => {
    const ids = machines
      .filter((machine) => machine.InstanceLifecycle === 'spot' && !isOver(machine))
      .flatMap(({ InstanceId }) => InstanceId ?? []);
    const interrupted = new Set<string>();
    for (let at = 0; at < ids.length; at += spotBatch) {
      const { SpotInstanceRequests } = await client.send(
        new DescribeSpotInstanceRequestsCommand({
          Filters: [{ Name: 'instance-id', Values: ids.slice(at, at + spotBatch) }],
        }),
        send(signal),
      );
      for (const { InstanceId, Status } of SpotInstanceRequests ?? []) {
        if (InstanceId === undefined) continue;
        if (/^(marked-for-|instance-(terminated|stopped)-)/.test(Status?.Code ?? '')) {
          interrupted.add(InstanceId);
        }
      }
    }
    return interrupted;
  };
  const run = async (request: CreateRequest, signal: AbortSignal): Promise<string> => {
    const offer = getOffer(deps, request.offer);
    try {
      const { Instances } = await client.send(
        new RunInstancesCommand(runInput(settings, deps, { ...request, offer })),
        send(signal),
      );
      const id = Instances?.[0]?.InstanceId;
      if (id === undefined) throw new Error('EC2 answered without an instance id.');
      return id;
    } catch (caught) {
      if (codeOf(caught) !== 'IdempotentParameterMismatch') throw caught;
      // It was asked for before, with user data that held another join token: that one stands.
      const made = (await findByTag(request.instance, signal)).find((each) => !isOver(each));
      if (made?.InstanceId === undefined) throw caught;
      return made.InstanceId;
    }
  };
  const end = async (ids: readonly string[], signal: AbortSignal): Promise<void> => {
    for (const id of ids) {
      try {
        await client.send(new TerminateInstancesCommand({ InstanceIds: [id] }), send(signal));
      } catch (caught) {
        if (!codeOf(caught).startsWith('InvalidInstanceID')) throw caught;
      }
    }
  };
  const checkPermissions = async (signal: AbortSignal): Promise<ProviderFault[]> => {
    const faults: ProviderFault[] = [];
    const dry = async (what: string, work: () => Promise<unknown>): Promise<void> => {
      try {
        await work();
      } catch (caught) {
        if (isDryRunSuccess(caught) || codeOf(caught).startsWith('InvalidInstanceID')) return;
        faults.push(faultOf(toFailure(caught), { what, fix: fixOf(toFailure(caught).failure) }));
      }
    };
    for (const offer of deps.offers) {
      const request = { instance: 'dry-run' as InstanceId, offer, userData: '' };
      const input = { ...runInput(settings, deps, request), DryRun: true };
      await dry(`A machine of offer "${offer.id}" cannot be made`, () =>
        client.send(new RunInstancesCommand(input), send(signal)),
      );
    }
    await dry('Machines cannot be ended', () =>
      client.send(
        new TerminateInstancesCommand({ InstanceIds: ['i-00000000000000000'], DryRun: true }),
        send(signal),
      ),
    );
    await dry('Machines cannot be listed', () =>
      client.send(new DescribeInstancesCommand({ MaxResults: 5 }), send(signal)),
    );
    return faults;
  };
  const checkTypes = async (signal: AbortSignal): Promise<ProviderFault[]> => {
    const types = [...new Set(deps.offers.map(({ type }) => type))];
    const places = new Map<string, Set<string>>();
    let next: string | undefined;
    do {
      const page = await client.send(
        new DescribeInstanceTypeOfferingsCommand({
          LocationType: 'availability-zone',
          Filters: [{ Name: 'instance-type', Values: types }],
          ...(next === undefined ? {} : { NextToken: next }),
        }),
        send(signal),
      );
      for (const { InstanceType, Location } of page.InstanceTypeOfferings ?? []) {
        const zones = places.get(InstanceType ?? '') ?? new Set();
        places.set(InstanceType ?? '', zones.add(Location ?? ''));
      }
      next = page.NextToken;
    } while (next !== undefined && next !== '');
    return deps.offers.flatMap((offer) =>
      typeFault(settings.region, offer, places.get(offer.type)),
    );
  };
  return {
    kind: 'ec2',
    pool: deps.pool,
    answerMsMax,
    offers: () => deps.offers,
    async check(signal) {
      const faults = await checkPermissions(signal);
      if (faults.length > 0) return faults;
      try {
        return await checkTypes(signal);
      } catch (caught) {
        const failure = toFailure(caught);
        const what = 'The instance types cannot be looked up';
        return [faultOf(failure, { what, fix: fixOf(failure.failure) })];
      }
    },
    async create(request, signal) {
      try {
        return await run(request, signal);
      } catch (caught) {
        throw toFailure(caught);
      }
    },
    async list(signal) {
      try {
        const machines = await describeAll([], signal);
        const interrupted = await findInterrupted(machines, signal);
        return toListing(machines, interrupted);
      } catch (caught) {
        throw toFailure(caught);
      }
    },
    async terminate(instance, handle, signal) {
      try {
        if (handle !== null && handle !== '') await end([handle], signal);
        // Whatever else bears the tag goes too: no machine is left because another one answered.
        const tagged = (await findByTag(instance, signal))
          .filter((machine) => !isOver(machine) && machine.InstanceId !== handle)
          .flatMap(({ InstanceId }) => InstanceId ?? []);
        await end(tagged, signal);
      } catch (caught) {
        throw toFailure(caught);
      }
    },
    ...seenByListing,
    close: async () => client.destroy(),
  };
}

function runInput(
  settings: Ec2Settings,
  deps: CloudDeps,
  request: { instance: InstanceId; offer: InstanceOffer; userData: string },
): RunInstancesCommandInput {
  const { instance, offer } = request;
  const userData = Buffer.from(request.userData);
  if (userData.length > userDataBytesMax) {
    const message = `The user data has ${userData.length} bytes, EC2 takes ${userDataBytesMax}.`;
    throw new ProviderFailure('invalid', message, { mayHaveMade: false });
  }
  const zone = offer.zone;
  const subnet = zone === null ? Object.values(settings.subnets)[0] : settings.subnets[zone];
  const { launchTemplate, launchTemplateVersion } = settings;
  const named = [
    { Key: 'Name', Value: `perigee ${instance}` },
    { Key: tags.coordinator, Value: deps.coordinator },
    { Key: tags.pool, Value: deps.pool },
    { Key: tags.instance, Value: instance },
    { Key: tags.offer, Value: offer.id },
  ];
  return {
    MinCount: 1,
    MaxCount: 1,
    ClientToken: requestToken(deps, instance),
    InstanceType: offer.type as _InstanceType,
    UserData: userData.toString('base64'),
    // A machine that powers itself off is one that nobody pays for any more.
    InstanceInitiatedShutdownBehavior: 'terminate',
    TagSpecifications: [
      { ResourceType: 'instance', Tags: named },
      { ResourceType: 'volume', Tags: named },
    ],
    ...(settings.image === null ? {} : { ImageId: settings.image }),
    ...(launchTemplate === null
      ? {}
      : {
          LaunchTemplate: {
            ...(launchTemplate.startsWith('lt-')
              ? { LaunchTemplateId: launchTemplate }
              : { LaunchTemplateName: launchTemplate }),
            Version: launchTemplateVersion,
          },
        }),
    ...(zone === null ? {} : { Placement: { AvailabilityZone: zone } }),
    ...(subnet === undefined ? {} : { SubnetId: subnet }),
    ...(settings.securityGroups.length === 0
      ? {}
      : { SecurityGroupIds: [...settings.securityGroups] }),
    ...(settings.instanceProfile === null
      ? {}
      : { IamInstanceProfile: { Name: settings.instanceProfile } }),
    ...(settings.keyName === null ? {} : { KeyName: settings.keyName }),
    ...(offer.spot
      ? {
          InstanceMarketOptions: {
            MarketType: 'spot',
            SpotOptions: {
              SpotInstanceType: 'one-time',
              InstanceInterruptionBehavior: 'terminate',
            },
          },
        }
      : {}),
    // Notices are read by the agent with a session token only.
    MetadataOptions: { HttpTokens: 'required', HttpEndpoint: 'enabled' },
  };
}

/** By instance; of several machines with one tag, one that still is. */
function toListing(
  machines: readonly Instance[],
  interrupted: ReadonlySet<string>,
): Map<InstanceId, ListedInstance> {
  const listing = new Map<InstanceId, ListedInstance>();
  for (const machine of machines) {
    const tag = (key: string): string | undefined =>
      machine.Tags?.find(({ Key }) => Key === key)?.Value;
    const instance = tag(tags.instance) as InstanceId | undefined;
    const handle = machine.InstanceId;
    if (instance === undefined || handle === undefined) continue;
    const before = listing.get(instance);
    const state = stateOf(machine);
    if (before !== undefined && state === 'gone') continue;
    listing.set(instance, {
      handle,
      state,
      launchedAtMs: machine.LaunchTime?.getTime() ?? null,
      offer: tag(tags.offer) ?? null,
      interrupted: interrupted.has(handle),
    });
  }
  return listing;
}

function stateOf(machine: Instance): ListedInstance['state'] {
  switch (machine.State?.Name) {
    case 'pending':
      return 'pending';
    case 'running':
      return 'running';
    case 'terminated':
      return 'gone';
    default:
      return 'stopping';
  }
}

function isOver(machine: Instance): boolean {
  return machine.State?.Name === 'terminated' || machine.State?.Name === 'shutting-down';
}

function typeFault(
  region: string,
  offer: InstanceOffer,
  zones: ReadonlySet<string> | undefined,
): ProviderFault[] {
  if (zones === undefined) {
    return [
      {
        code: 'type',
        message: `${region} has no instance type "${offer.type}".`,
        fix: `Change "type" of offer "${offer.id}"; \`aws ec2 describe-instance-type-offerings\` lists them.`,
      },
    ];
  }
  if (offer.zone === null || zones.has(offer.zone)) return [];
  const known = [...zones].sort().join(', ');
  return [
    {
      code: 'zone',
      message: `"${offer.type}" is not to be had in zone "${offer.zone}".`,
      fix: `Change "zone" of offer "${offer.id}": it is offered in ${known}.`,
    },
  ];
}

function fixOf(failure: string): string {
  return failure === 'denied'
    ? 'Give the coordinator credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID or an instance role) with the policy in docs/autoscaling.md.'
    : 'Check "ec2" in the pools file: region, image, launchTemplate, subnets and securityGroups.';
}
