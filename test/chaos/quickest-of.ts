/** How a promise of speed is tested where other tests take the processors. */

const triesMax = 5;

/** The least of what up to five measures take; ends with the first that is within the bound. */
export async function quickestOf(msMax: number, measure: () => Promise<number>): Promise<number> {
  let quickest = Number.POSITIVE_INFINITY;
  for (let tries = 0; tries < triesMax && quickest >= msMax; tries += 1) {
    quickest = Math.min(quickest, await measure());
  }
  return quickest;
}
