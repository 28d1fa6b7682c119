/**
 * Notices that the cloud takes this machine back: EC2's two minutes for spot instances (IMDSv2), and
 * GCE's 30 seconds for preemption, or its maintenance events that end the machine.
 */
import { toError } from '../protocol/base/errors.ts';

export type NoticeKind = 'ec2' | 'gce';

export interface NoticeDeps {
  /** Called once, with what was announced. */
  onNotice(reason: string): void;
  log: { warn(fields: object, message: string): void };
}

export interface NoticeSettings {
  kind: NoticeKind;
  /** Null for the cloud's own address. */
  url: string | null;
  pollMs: number;
}

const addresses = { ec2: 'http://169.254.169.254', gce: 'http://169.254.169.254' } as const;
const answerMsMax = 2_000;
/** Of an EC2 session; renewed well before. */
const sessionSeconds = 21_600;
/** Looks that failed in a row before it is told; metadata may be late at boot. */
const failuresTold = 10;

/** Starts to look; the returned function stops. */
export function watchNotices(deps: NoticeDeps, settings: NoticeSettings): () => void {
  const look = settings.kind === 'ec2' ? lookAtEc2(settings) : lookAtGce(settings);
  let stopped = false;
  let failures = 0;
  let timer: NodeJS.Timeout | undefined;
  const turn = async (): Promise<void> => {
    try {
      const reason = await look();
      failures = 0;
      if (stopped) return;
      if (reason !== undefined) {
        deps.onNotice(reason);
        return;
      }
    } catch (caught) {
      failures += 1;
      if (failures === failuresTold) {
        deps.log.warn({ error: toError(caught).message }, 'The machine’s metadata cannot be read.');
      }
    }
    if (!stopped) timer = setTimeout(start, settings.pollMs);
  };
  const start = (): void => void turn();
  start();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

type Look = () => Promise<string | undefined>;

function lookAtEc2(settings: NoticeSettings): Look {
  const base = settings.url ?? addresses.ec2;
  let session: string | undefined;
  return async () => {
    session ??= await readText(`${base}/latest/api/token`, {
      method: 'PUT',
      headers: { 'x-aws-ec2-metadata-token-ttl-seconds': String(sessionSeconds) },
    });
    const response = await ask(`${base}/latest/meta-data/spot/instance-action`, {
      headers: { 'x-aws-ec2-metadata-token': session ?? '' },
    });
    if (response.status === 401) session = undefined;
    if (response.status !== 200) return undefined;
    return `EC2 takes the spot instance back: ${(await response.text()).slice(0, 200)}`;
  };
}

function lookAtGce(settings: NoticeSettings): Look {
  const base = `${settings.url ?? addresses.gce}/computeMetadata/v1/instance`;
  const init = { headers: { 'metadata-flavor': 'Google' } };
  return async () => {
    if ((await readText(`${base}/preempted`, init)) === 'TRUE') return 'GCE preempts the machine';
    const event = await readText(`${base}/maintenance-event`, init);
    // A live migration is no end.
    return event === 'TERMINATE_ON_HOST_MAINTENANCE'
      ? 'GCE ends the machine for maintenance of its host'
      : undefined;
  };
}

/** The body, or undefined unless the answer is good. */
async function readText(url: string, init: RequestInit): Promise<string | undefined> {
  const response = await ask(url, init);
  const text = await response.text();
  return response.ok ? text.trim() : undefined;
}

function ask(url: string, init: RequestInit): Promise<Response> {
  return fetch(url, { ...init, signal: AbortSignal.timeout(answerMsMax) });
}
