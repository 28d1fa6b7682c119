/**
 * What every provider must do, whatever makes its machines. A provider's test calls `testProvider`
 * with a way to open one against its API (or a server that speaks it) and to make that API fail.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Provider } from '../../coordinator/autoscaler/provider-port.ts';
import { ProviderFailure } from '../../coordinator/autoscaler/provider-port.ts';
import type { InstanceId } from '../../protocol/wire/ids.ts';

/** `lostAnswer`: the next creation takes effect and its answer is lost. */
export type ProviderTrouble =
  | 'lostAnswer'
  | 'stockout'
  | 'quota'
  | 'throttled'
  | 'denied'
  | 'unavailable';

export interface ProviderBench {
  provider: Provider;
  /** What a machine would run; anything for those that run nothing. */
  userData: string;
  /** The same coordinator’s provider after a restart. */
  reopen(): Promise<Provider>;
  /** The same pool of another coordinator; null where they cannot meet. */
  openStranger: (() => Promise<Provider>) | null;
  /** Makes the following calls fail so until `heal`; those that it cannot show are left out. */
  troubles: Partial<Record<ProviderTrouble, () => Promise<void>>>;
  heal(): Promise<void>;
  /** Announces that the machine is taken back; null where that does not happen. */
  interrupt: ((instance: InstanceId) => Promise<void>) | null;
  /** Machines that really are, by the API’s own books and not by the provider’s words. */
  countMachines(): Promise<number>;
  /** Ends all machines and closes all providers. */
  close(): Promise<void>;
}

export interface ProviderCase {
  name: string;
  open(): Promise<ProviderBench>;
  /** For an effect to be seen; 5,000 when left out. */
  effectMsMax?: number;
  /** The troubles and abilities that `open` gives, so that a lost one fails rather than skips. */
  troubles: readonly ProviderTrouble[];
  hasInterruption: boolean;
}

export function testProvider(of: ProviderCase): void {
  const timeout = of.effectMsMax ?? 5_000;
  const poll = { timeout, interval: 20 };

  describe(`provider ${of.name}`, { timeout: timeout * 4 }, () => {
    let bench: ProviderBench;
    let provider: Provider;
    let first: string;
    const { signal } = new AbortController();
    const one = `${of.name}-0000aaaa` as InstanceId;
    const two = `${of.name}-0000bbbb` as InstanceId;
    const request = (instance: InstanceId) => ({
      instance,
      offer: first,
      userData: bench.userData,
    });
    /** Those that the listing shows as there or coming. */
    const live = async (from: Provider = provider): Promise<string[]> => {
      const listed = await from.list(signal);
      return [...listed]
        .filter(([, { state }]) => state === 'pending' || state === 'running')
        .map(([instance]) => String(instance))
        .sort();
    };
    const failureOf = async (work: Promise<unknown>): Promise<ProviderFailure> => {
      const caught: unknown = await work.then(
        () => undefined,
        (error: unknown) => error,
      );
      if (!(caught instanceof ProviderFailure)) throw new Error(`not a failure: ${caught}`);
      return caught;
    };
    beforeEach(async () => {
      bench = await of.open();
      provider = bench.provider;
      first = provider.offers()[0]?.id ?? '';
    });
    afterEach(() => bench.close());

    it('offers machines that carry something, each under an id of its own', () => {
      const offers = provider.offers();
      expect(offers.length).toBeGreaterThan(0);
      expect(new Set(offers.map(({ id }) => id)).size).toBe(offers.length);
      for (const { shape, pricePerHour } of offers) {
        expect(shape.slots).toBeGreaterThan(0);
        expect(shape.cpus).toBeGreaterThan(0);
        expect(shape.memoryBytes).toBeGreaterThan(0);
        expect(pricePerHour).toBeGreaterThanOrEqual(0);
      }
    });

    it('finds nothing in the way when all is well', async () => {
      expect(await provider.check(signal)).toEqual([]);
    });

    it('makes a machine and finds it by its tag, with its handle', async () => {
      const handle = await provider.create(request(one), signal);
      await expect.poll(() => live(), poll).toEqual([one]);
      expect((await provider.list(signal)).get(one)).toMatchObject({ handle, interrupted: false });
      expect(await bench.countMachines()).toBe(1);
    });

    it('makes one machine for one instance, however often it is asked', async () => {
      const [handle, again] = await Promise.all([
        provider.create(request(one), signal),
        provider.create(request(one), signal),
      ]);
      expect(again).toBe(handle);
      expect(await provider.create(request(one), signal)).toBe(handle);
      await expect.poll(() => live(), poll).toEqual([one]);
      expect(await bench.countMachines()).toBe(1);
    });

    it('ends a machine, and nothing else, however often it is asked', async () => {
      const handle = await provider.create(request(one), signal);
      await provider.create(request(two), signal);
      await expect.poll(() => live(), poll).toEqual([one, two]);
      await provider.terminate(one, handle, signal);
      await provider.terminate(one, handle, signal);
      await expect.poll(() => live(), poll).toEqual([two]);
      await expect.poll(() => bench.countMachines(), poll).toBe(1);
      await provider.terminate(one, handle, signal);
    });

    it('ends a machine whose handle is not known, and takes one that never was for ended', async () => {
      await provider.create(request(one), signal);
      await expect.poll(() => live(), poll).toEqual([one]);
      const later = await bench.reopen();
      await later.terminate(one, null, signal);
      await expect.poll(() => bench.countMachines(), poll).toBe(0);
      await later.terminate(two, null, signal);
    });

    it('finds its machines again after a restart', async () => {
      const handle = await provider.create(request(one), signal);
      const later = await bench.reopen();
      await expect.poll(() => live(later), poll).toEqual([one]);
      expect((await later.list(signal)).get(one)?.handle).toBe(handle);
    });

    it('never shows the machines of another coordinator', async () => {
      if (bench.openStranger === null) return;
      const stranger = await bench.openStranger();
      await provider.create(request(one), signal);
      await expect.poll(() => live(), poll).toEqual([one]);
      expect(await live(stranger)).toEqual([]);
    });

    it('refuses an offer that it does not have, and makes nothing', async () => {
      const failure = await failureOf(
        provider.create({ ...request(one), offer: 'no-such-offer' }, signal),
      );
      expect(failure).toMatchObject({ failure: 'invalid', mayHaveMade: false });
      expect(await bench.countMachines()).toBe(0);
    });

    for (const trouble of of.troubles) {
      if (trouble === 'lostAnswer') {
        it('says that a machine may be there when the answer was lost, and finds it', async () => {
          await bench.troubles.lostAnswer?.();
          const failure = await failureOf(provider.create(request(one), signal));
          expect(failure.mayHaveMade).toBe(true);
          await bench.heal();
          await expect.poll(() => live(), poll).toEqual([one]);
          await provider.create(request(one), signal);
          expect(await bench.countMachines()).toBe(1);
        });
        continue;
      }
      it(`tells ${trouble} by its kind`, async () => {
        await bench.troubles[trouble]?.();
        const failure = await failureOf(provider.create(request(one), signal));
        expect(failure.failure).toBe(trouble);
        await bench.heal();
        expect(await bench.countMachines()).toBe(0);
      });
      if (trouble === 'unavailable' || trouble === 'denied') {
        it(`throws from a listing that is ${trouble}, and never shows none`, async () => {
          await provider.create(request(one), signal);
          await bench.troubles[trouble]?.();
          expect((await failureOf(provider.list(signal))).failure).toBe(trouble);
          await bench.heal();
          await expect.poll(() => live(), poll).toEqual([one]);
        });
      }
      if (trouble === 'denied') {
        it('finds missing permission before the first machine', async () => {
          await bench.troubles.denied?.();
          const faults = await provider.check(signal);
          expect(faults.length).toBeGreaterThan(0);
          for (const { message, fix } of faults) {
            expect(message).not.toBe('');
            expect(fix).not.toBe('');
          }
          await bench.heal();
        });
      }
    }

    if (of.hasInterruption) {
      it('shows that a machine will be taken back', async () => {
        await provider.create(request(one), signal);
        await expect.poll(() => live(), poll).toEqual([one]);
        await bench.interrupt?.(one);
        await expect
          .poll(async () => (await provider.list(signal)).get(one)?.interrupted, poll)
          .toBe(true);
      });
    }
  });
}
