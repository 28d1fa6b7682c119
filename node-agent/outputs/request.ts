/** What a task says before the bytes of an output: length-prefixed JSON, checked here. */
import { PerigeeError, toError } from '../../protocol/base/errors.ts';
import { outputMetadataCharsMax } from '../../protocol/wire/limits.ts';
import { isMediaType, isOutputName, outputNameRule } from '../../protocol/wire/output-names.ts';
import type { TaskOutput } from '../../protocol/wire/task.ts';
import type { OutputLimits } from './limits.ts';

/** Metadata may be as long as three bytes a character, and are written as JSON within JSON. */
export const requestBytesMax = 8 * outputMetadataCharsMax;

export type OutputRequest = Omit<TaskOutput, 'hash'>;

/**
 * One output that is about to be sent.
 * @throws PerigeeError invalid_request, too_large
 */
export function parseOutputRequest(bytes: Buffer, limits: OutputLimits): OutputRequest {
  const fields = parseFields(bytes);
  const { name, sizeBytes, mediaType } = fields;
  if (typeof name !== 'string' || !isOutputName(name)) {
    throw new PerigeeError('invalid_request', `${show(name)} cannot be the name of an output.`, {
      fix: outputNameRule,
    });
  }
  if (typeof mediaType !== 'string' || !isMediaType(mediaType)) {
    throw new PerigeeError(
      'invalid_request',
      `Output ${name}: ${show(mediaType)} is no media type.`,
      { fix: 'Give one such as image/tiff or text/csv.' },
    );
  }
  if (typeof sizeBytes !== 'number' || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0) {
    throw new PerigeeError('invalid_request', `Output ${name} has no size.`);
  }
  if (sizeBytes > limits.outputBytesMax) {
    throw new PerigeeError(
      'too_large',
      `Output ${name} has ${sizeBytes} bytes; this node takes ${limits.outputBytesMax} at most.`,
      { fix: 'Write it in parts, or start the agents with a larger PERIGEE_OUTPUT_BYTES_MAX.' },
    );
  }
  const metadata = JSON.stringify(fields.metadata ?? {});
  if (metadata.length > outputMetadataCharsMax) {
    throw new PerigeeError(
      'too_large',
      `The metadata of output ${name} are ${metadata.length} characters; ${outputMetadataCharsMax} are taken.`,
      { fix: 'Tell less of it; a file of its own may hold the rest.' },
    );
  }
  return { name, sizeBytes, mediaType, metadata };
}

function parseFields(bytes: Buffer): {
  name?: unknown;
  sizeBytes?: unknown;
  mediaType?: unknown;
  metadata?: object | null;
} {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (caught) {
    throw invalid(`it is not JSON: ${toError(caught).message}`);
  }
  if (typeof value !== 'object' || value === null) throw invalid('it is no object');
  const { metadata }: { metadata?: unknown } = value;
  if (metadata === undefined || metadata === null) return { ...value, metadata: null };
  if (typeof metadata !== 'object' || Array.isArray(metadata)) {
    throw invalid('its metadata are no object');
  }
  return { ...value, metadata };
}

function show(value: unknown): string {
  return JSON.stringify(typeof value === 'string' ? value.slice(0, 120) : value) ?? 'nothing';
}

function invalid(what: string): PerigeeError {
  return new PerigeeError(
    'invalid_request',
    `The announcement of an output is not valid: ${what}.`,
  );
}
