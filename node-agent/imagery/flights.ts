/** Work that several ask for and that is done once; it is given up when the last of them leaves. */
export interface Flights<Value> {
  has(key: string): boolean;
  /** Joins the work for a key, or starts it. Failures are told to all and not kept. */
  join(
    key: string,
    start: (signal: AbortSignal) => Promise<Value>,
    signal: AbortSignal,
  ): Promise<Value>;
  /** Gives everything up and waits for it to end. */
  close(): Promise<void>;
}

interface Flight<Value> {
  promise: Promise<Value>;
  waiters: number;
  controller: AbortController;
}

export function createFlights<Value>(): Flights<Value> {
  const flights = new Map<string, Flight<Value>>();
  const begin = (key: string, start: (signal: AbortSignal) => Promise<Value>): Flight<Value> => {
    const controller = new AbortController();
    const flight: Flight<Value> = { promise: start(controller.signal), waiters: 0, controller };
    flights.set(key, flight);
    const end = (): void => {
      if (flights.get(key) === flight) flights.delete(key);
    };
    flight.promise.then(end, end);
    return flight;
  };
  return {
    has: (key) => flights.has(key),
    async join(key, start, signal) {
      signal.throwIfAborted();
      const flight = flights.get(key) ?? begin(key, start);
      flight.waiters += 1;
      const left = Promise.withResolvers<never>();
      const leave = (): void => left.reject(signal.reason);
      signal.addEventListener('abort', leave, { once: true });
      try {
        return await Promise.race([flight.promise, left.promise]);
      } finally {
        signal.removeEventListener('abort', leave);
        flight.waiters -= 1;
        if (flight.waiters === 0) {
          // A newcomer must not join work that is being given up.
          if (flights.get(key) === flight) flights.delete(key);
          flight.controller.abort(new DOMException('Nobody waits any more.', 'AbortError'));
        }
      }
    },
    async close() {
      const open = [...flights.values()];
      for (const flight of open) {
        flight.controller.abort(new DOMException('The cache stops.', 'AbortError'));
      }
      await Promise.allSettled(open.map((flight) => flight.promise));
    },
  };
}

/** A signal that fires when all of several have: the end of work that they share. */
export function whenAllAborted(signals: readonly AbortSignal[]): AbortSignal {
  const controller = new AbortController();
  const check = (): void => {
    if (signals.every((signal) => signal.aborted)) controller.abort(signals[0]?.reason);
  };
  for (const signal of signals) signal.addEventListener('abort', check, { once: true });
  check();
  return controller.signal;
}
