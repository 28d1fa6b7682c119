/** What the tasks of one node may give out, and how it is set. */
import { blobBytesMax, taskOutputsMax } from '../../protocol/wire/limits.ts';
import type { Entry } from '../setting-entry.ts';

export interface OutputLimits {
  /** One output. */
  outputBytesMax: number;
  /** Outputs of one task. */
  outputsMax: number;
  /** Files on this node that are not handed in yet: beyond it writers wait. */
  spoolBytesMax: number;
  /** Left free on the disk. */
  diskFreeBytesMin: number;
}

const gib = 1024 ** 3;

/** Where nobody has said otherwise. */
export const defaultOutputLimits: OutputLimits = {
  outputBytesMax: 8 * gib,
  outputsMax: 100,
  spoolBytesMax: 32 * gib,
  diskFreeBytesMin: gib / 4,
};

/** The part of the agent's settings table that is about outputs. */
export const outputSettingsTable = {
  outputBytesMax: {
    type: 'number',
    unit: 'bytes',
    default: defaultOutputLimits.outputBytesMax,
    min: 1,
    max: blobBytesMax,
    flag: null,
    env: 'PERIGEE_OUTPUT_BYTES_MAX',
    doc: 'One file that a task gives out (docs/imagery.md); a larger one is refused in the task.',
  },
  outputsMax: {
    type: 'number',
    unit: 'files',
    default: defaultOutputLimits.outputsMax,
    min: 1,
    max: taskOutputsMax,
    flag: null,
    env: 'PERIGEE_OUTPUTS_MAX',
    doc: 'Files that one task may give out.',
  },
  outputSpoolBytesMax: {
    type: 'number',
    unit: 'bytes',
    default: defaultOutputLimits.spoolBytesMax,
    min: 1024,
    max: 2 ** 50,
    flag: null,
    env: 'PERIGEE_OUTPUT_SPOOL_BYTES_MAX',
    doc: 'Outputs on this node’s disk that the coordinator does not have yet; beyond it tasks that write more wait.',
  },
} as const satisfies Record<string, Entry>;

/** The limits by the settings. */
export function outputLimitsOf(settings: {
  outputBytesMax: number;
  outputsMax: number;
  outputSpoolBytesMax: number;
  diskFreeBytesMin: number;
}): OutputLimits {
  const { outputBytesMax, outputsMax, outputSpoolBytesMax, diskFreeBytesMin } = settings;
  return { outputBytesMax, outputsMax, spoolBytesMax: outputSpoolBytesMax, diskFreeBytesMin };
}
