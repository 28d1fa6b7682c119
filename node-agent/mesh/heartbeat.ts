/** Renews the node's leases in a fixed rhythm while a session stands, however busy the node is. */
import type { Heartbeat, ImageryReads } from '../../protocol/wire/messages.ts';

export interface HeartbeatRhythm {
  /** A session stands; `intervalMs` is the coordinator's wish. */
  begin(intervalMs: number): void;
  /** The session is lost. */
  end(): void;
}

/** A rhythm that measures and sends; the measure of the disk may come later and goes with the next beat. */
export function createHeartbeat(deps: {
  send(message: Heartbeat): void;
  measureLoad(): number;
  measureMemoryFree(): number;
  measureDiskFree(): Promise<number>;
  /** What was read of imagery; null without a cache. */
  measureReads(): ImageryReads | null;
  onDiskMeasured(freeBytes: number): void;
  warn(message: string): void;
}): HeartbeatRhythm {
  let timer: NodeJS.Timeout | undefined;
  let diskFreeBytes = 0;
  let isMeasuring = false;
  const measureDisk = async (): Promise<void> => {
    if (isMeasuring) return;
    isMeasuring = true;
    try {
      diskFreeBytes = await deps.measureDiskFree();
      deps.onDiskMeasured(diskFreeBytes);
    } catch (caught) {
      deps.warn(`The free disk could not be measured: ${String(caught)}`);
    } finally {
      isMeasuring = false;
    }
  };
  const beat = (): void => {
    const reads = deps.measureReads();
    // First the beat: a network file system that hangs must not cost the leases.
    deps.send({
      kind: 'heartbeat',
      load: deps.measureLoad(),
      memoryFreeBytes: deps.measureMemoryFree(),
      diskFreeBytes,
      ...(reads === null ? {} : { imageryReads: reads }),
    });
    void measureDisk();
  };
  return {
    begin(intervalMs) {
      clearInterval(timer);
      timer = setInterval(beat, intervalMs);
      void measureDisk();
    },
    end() {
      clearInterval(timer);
      timer = undefined;
    },
  };
}
