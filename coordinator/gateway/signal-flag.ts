/** A wake-up that is never lost: set while nobody waits, it is seen by the next wait. */
export interface SignalFlag {
  set(): void;
  /**
   * Resolves once it was set since the last wait, or after `timeoutMs`, or when the signal is
   * aborted. True when it was set.
   */
  wait(options: { timeoutMs: number | null; signal: AbortSignal }): Promise<boolean>;
}

/** A flag for one waiter. */
export function createSignalFlag(): SignalFlag {
  let isSet = false;
  let wake: (() => void) | null = null;
  return {
    set() {
      isSet = true;
      wake?.();
    },
    async wait({ timeoutMs, signal }) {
      if (!isSet && !signal.aborted) {
        const { promise, resolve } = Promise.withResolvers<void>();
        wake = resolve;
        const timer = timeoutMs === null ? undefined : setTimeout(resolve, timeoutMs);
        const onAbort = (): void => resolve();
        signal.addEventListener('abort', onAbort, { once: true });
        await promise;
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        wake = null;
      }
      const was = isSet;
      isSet = false;
      return was;
    },
  };
}
