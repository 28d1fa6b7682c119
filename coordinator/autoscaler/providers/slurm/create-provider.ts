/**
 * Agents as batch jobs of an existing Slurm cluster, by the cluster's own programs. A job's name
 * carries the instance and its comment the coordinator: that is how it is found again. Needs no
 * accounting: whatever squeue no longer shows has ended.
 */
import type { InstanceId } from '../../../../protocol/wire/ids.ts';
import type {
  CreateRequest,
  InstanceOffer,
  ListedInstance,
  Provider,
  ProviderFailureKind,
} from '../../provider-port.ts';
import { ProviderFailure } from '../../provider-port.ts';
import type { CloudDeps } from '../cloud-provider.ts';
import {
  answerMsMax,
  callMsMax,
  coordinatorLabel,
  faultOf,
  getOffer,
  seenByListing,
} from '../cloud-provider.ts';
import type { Ran } from '../run-program.ts';
import { runProgram } from '../run-program.ts';
import type { SlurmSettings } from './settings.ts';

const namePrefix = 'perigee-';
/** Before its time limit a job is told to drain. */
const warnSeconds = 120;
/** Of one job as squeue prints it; no field but the last can hold the bar. */
const format = '%i|%T|%j|%k';

export function createSlurmProvider(settings: SlurmSettings, deps: CloudDeps): Provider {
  const label = `perigee:${coordinatorLabel(deps)}`;
  /** Submissions under way: sbatch itself would make a second job. */
  const creating = new Map<InstanceId, Promise<string>>();

  const run = async (
    words: readonly string[],
    options: { input?: string; signal: AbortSignal },
  ): Promise<string> => {
    let ran: Ran;
    try {
      // Times in UTC and words in English, whatever the coordinator's own are.
      const env = { ...deps.env, LC_ALL: 'C', TZ: 'UTC' };
      ran = await runProgram(words, { ...options, env, msMax: callMsMax });
    } catch (caught) {
      const said = caught instanceof Error ? caught.message : String(caught);
      throw new ProviderFailure('invalid', `${words[0]} cannot be started: ${said}`, {
        mayHaveMade: false,
        cause: caught,
      });
    }
    if (ran.status === 0) return ran.stdout;
    const failure = ran.status === null ? 'unavailable' : kindOf(ran.stderr);
    throw new ProviderFailure(failure, `${words[0]}: ${ran.stderr || 'no answer in time'}`, {
      // sbatch gives up waiting for an answer, and the job may be queued all the same.
      mayHaveMade: failure === 'unavailable',
    });
  };
  const list = async (signal: AbortSignal): Promise<Map<InstanceId, ListedInstance>> => {
    const printed = await run(['squeue', '--noheader', '--me', `--format=${format}`], { signal });
    const listing = new Map<InstanceId, ListedInstance>();
    for (const line of printed.split('\n')) {
      const [id = '', state = '', name = '', comment = ''] = line.trim().split('|');
      const [ours, offer] = splitComment(comment);
      if (ours !== label || !name.startsWith(namePrefix)) continue;
      const instance = name.slice(namePrefix.length) as InstanceId;
      const found = stateOf(state);
      if (listing.has(instance) && found === 'gone') continue;
      listing.set(instance, {
        handle: id,
        state: found,
        launchedAtMs: null,
        offer,
        interrupted: state === 'PREEMPTED',
      });
    }
    return listing;
  };
  const submit = async (request: CreateRequest, signal: AbortSignal): Promise<string> => {
    const offer = getOffer(deps, request.offer);
    // An answer that was lost left a job behind: it is found, not made again.
    const before = (await list(signal)).get(request.instance);
    if (before !== undefined && before.state !== 'gone') return before.handle;
    const words = sbatchWords(settings, { instance: request.instance, offer, label });
    const printed = await run(words, { input: request.userData, signal });
    const id = /^(\d+)/.exec(printed.trim())?.[1];
    if (id !== undefined) return id;
    throw new ProviderFailure('unavailable', `sbatch said "${printed.trim()}".`, {
      mayHaveMade: true,
    });
  };
  return {
    kind: 'slurm',
    pool: deps.pool,
    answerMsMax,
    offers: () => deps.offers,
    async check(signal) {
      const faults = [];
      for (const offer of deps.offers) {
        const instance = 'test' as InstanceId;
        const words = sbatchWords(settings, { instance, offer, label });
        const tested = [words[0] ?? '', '--test-only', ...words.slice(1)];
        try {
          await run(tested, { input: '#!/bin/sh\n', signal });
        } catch (caught) {
          const what = `A job of offer "${offer.id}" cannot be submitted`;
          const fix =
            'Check "slurm" in the pools file (partition, account, qos), and that sbatch works for this user.';
          faults.push(faultOf(caught, { what, fix }));
        }
      }
      return faults;
    },
    create(request, signal) {
      const before = creating.get(request.instance);
      if (before !== undefined) return before;
      const made = submit(request, signal).finally(() => creating.delete(request.instance));
      creating.set(request.instance, made);
      return made;
    },
    list,
    async terminate(instance, handle, signal) {
      const listed = (await list(signal)).get(instance);
      const ids = new Set([listed?.handle ?? '', listed === undefined ? '' : (handle ?? '')]);
      for (const id of ids) {
        // Ids are given again some day: only a job that still bears the tag is cancelled.
        if (id === '' || id !== listed?.handle) continue;
        await cancel(id, signal);
      }
    },
    ...seenByListing,
    close: async () => undefined,
  };

  async function cancel(id: string, signal: AbortSignal): Promise<void> {
    try {
      await run(['scancel', id], { signal });
    } catch (caught) {
      const isGone =
        caught instanceof ProviderFailure &&
        /Invalid job id|already completing/.test(caught.message);
      if (!isGone) throw caught;
    }
  }
}

function sbatchWords(
  settings: SlurmSettings,
  job: { instance: InstanceId; offer: InstanceOffer; label: string },
): string[] {
  const { offer } = job;
  const partition = offer.zone ?? settings.partition;
  const mebibytes = Math.ceil(offer.shape.memoryBytes / 2 ** 20);
  return [
    ...['sbatch', '--parsable', '--no-requeue', '--nodes=1', '--ntasks=1'],
    `--job-name=${namePrefix}${job.instance}`,
    `--comment=${job.label}:${offer.id}`,
    `--cpus-per-task=${Math.max(1, Math.ceil(offer.shape.cpus))}`,
    `--mem=${mebibytes}M`,
    `--chdir=${settings.folder}`,
    `--output=${namePrefix}${job.instance}.log`,
    ...(partition === null ? [] : [`--partition=${partition}`]),
    ...(settings.account === null ? [] : [`--account=${settings.account}`]),
    ...(settings.qos === null ? [] : [`--qos=${settings.qos}`]),
    ...(settings.timeLimitMinutes === null
      ? []
      : [`--time=${settings.timeLimitMinutes}`, `--signal=B:TERM@${warnSeconds}`]),
    // Nothing of the coordinator's own environment, its credentials least of all.
    '--export=NONE',
    ...settings.extra,
  ];
}

function splitComment(comment: string): [string, string | null] {
  const [first = '', second = '', ...rest] = comment.split(':');
  return [`${first}:${second}`, rest.length === 0 ? null : rest.join(':')];
}

function stateOf(state: string): ListedInstance['state'] {
  switch (state) {
    case 'PENDING':
    case 'CONFIGURING':
    case 'REQUEUED':
    case 'REQUEUE_HOLD':
    case 'RESV_DEL_HOLD':
    case 'SPECIAL_EXIT':
      return 'pending';
    case 'RUNNING':
    case 'SUSPENDED':
    case 'RESIZING':
      return 'running';
    case 'COMPLETING':
    case 'SIGNALING':
    case 'STAGE_OUT':
    case 'STOPPED':
      return 'stopping';
    default:
      return 'gone';
  }
}

/** What sbatch, squeue and scancel say on stderr, in their C locale. */
function kindOf(said: string): ProviderFailureKind {
  if (
    /Unable to contact|Socket timed out|Zero Bytes|Connection refused|Communication/i.test(said)
  ) {
    return 'unavailable';
  }
  if (/QOS|limit|MaxSubmit|maximum number of jobs|GrpTRES/i.test(said)) return 'quota';
  if (/denied|not permitted|Invalid account|Invalid user|authentication|Munge/i.test(said)) {
    return 'denied';
  }
  if (/temporarily unable|try again later|rate/i.test(said)) return 'throttled';
  if (/nodes? .*(down|drained|busy)|not currently available/i.test(said)) return 'stockout';
  if (/invalid|not available|unrecognized|error: /i.test(said)) return 'invalid';
  return 'unavailable';
}
