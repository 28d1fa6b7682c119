/** Where assets come from: each scheme behind the same two calls, and its failures in one form. */
import { randomUUID } from 'node:crypto';
import type { ByteRange } from '../port.ts';

export interface OriginFacts {
  version: string;
  sizeBytes: number;
}

export interface OriginRead extends OriginFacts {
  range: ByteRange;
  signal: AbortSignal;
}

const lookPrefix = 'look:';

/**
 * The version of an asset of which the origin tells nothing but the size: the next look may find
 * other bytes of the same size, and so may another node, and nothing would show it.
 */
export function nameLook(): string {
  return `${lookPrefix}${randomUUID()}`;
}

/** Whether a version is that of one look of this node, and of nobody else's. */
export function isOneLook(version: string): boolean {
  return version.startsWith(lookPrefix);
}

/** One origin with one set of credentials. Neither call retries: that is the policy's. */
export interface Origin {
  /** @throws OriginFailure */
  stat(uri: string, signal: AbortSignal): Promise<OriginFacts>;
  /** Exactly the range's bytes of exactly that version. @throws OriginFailure */
  read(uri: string, read: OriginRead): Promise<Uint8Array>;
  /** Makes the next call bring new credentials. */
  renew(): void;
  close(): void;
}

/**
 * `notFound`, `denied`, `changed` and `invalid` are final; `busy` asks for a pause; `faulty` may
 * pass; `unsigned` may pass with a renewed token.
 */
export type OriginFailureKind =
  | 'notFound'
  | 'denied'
  | 'changed'
  | 'invalid'
  | 'busy'
  | 'faulty'
  | 'unsigned';

const answerCharsMax = 300;

export class OriginFailure extends Error {
  override name = 'OriginFailure';
  readonly failure: OriginFailureKind;
  readonly status: number | null;
  readonly retryAfterMs: number | null;

  constructor(
    failure: OriginFailureKind,
    what: string,
    options: {
      status?: number | undefined;
      body?: Uint8Array | string | undefined;
      retryAfterMs?: number | null;
      cause?: unknown;
    } = {},
  ) {
    const body = Buffer.from(options.body ?? '').toString('utf8');
    const text = body
      .slice(0, answerCharsMax)
      .replaceAll(/[^\x20-\x7e]+/g, ' ')
      .trim();
    const status = options.status === undefined ? '' : ` (status ${options.status})`;
    super(`${what}${status}${text === '' ? '' : `: ${text}`}`, { cause: options.cause });
    this.failure = failure;
    this.status = options.status ?? null;
    this.retryAfterMs = options.retryAfterMs ?? null;
  }
}

/** What a status other than the wanted one means. */
export function failureOfStatus(status: number): OriginFailureKind {
  if (status === 404 || status === 410) return 'notFound';
  if (status === 401) return 'unsigned';
  if (status === 403 || status === 407 || status === 451) return 'denied';
  if (status === 412) return 'changed';
  if (status === 429 || status === 503) return 'busy';
  if (status === 408 || status >= 500) return 'faulty';
  return 'invalid';
}
