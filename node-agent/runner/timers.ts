/** Timers that end with their owner. */
export class Timers {
  readonly #running = new Set<NodeJS.Timeout>();
  #closed = false;

  /** Acts once after `ms`, unless it is cancelled or all are. */
  later(ms: number, act: () => void): NodeJS.Timeout | null {
    if (this.#closed) return null;
    const timer = setTimeout(() => {
      this.#running.delete(timer);
      act();
    }, ms);
    this.#running.add(timer);
    return timer;
  }

  cancel(timer: NodeJS.Timeout | null): void {
    if (timer === null) return;
    clearTimeout(timer);
    this.#running.delete(timer);
  }

  /** Cancels all; none starts afterwards. */
  close(): void {
    this.#closed = true;
    for (const timer of this.#running) clearTimeout(timer);
    this.#running.clear();
  }
}
