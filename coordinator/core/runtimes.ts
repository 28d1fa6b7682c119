/**
 * How long the tasks of a group take, as a histogram of fixed size: its quantiles say what a mean
 * hides, one hour among seconds.
 */

/** All and only runtimes measured, weighed so that what is old fades. */
export interface RuntimeHistogram {
  /** One weight for each bucket; bucket n holds runtimes up to `bucketMs(n)`. */
  readonly weights: number[];
  total: number;
}

/** Buckets are a quarter apart: a quantile is right within that. */
const ratio = 1.25;
const firstMs = 1;
/** Up to a day. */
const bucketsMax = 83;
/** Above it everything is halved, so that a group that changes its ways is believed soon. */
const weightMax = 2_000;

/** An empty histogram. */
export function createHistogram(): RuntimeHistogram {
  return { weights: [], total: 0 };
}

/** Counts one runtime. */
export function countRuntime(histogram: RuntimeHistogram, runtimeMs: number): void {
  const { weights } = histogram;
  const exact = Math.ceil(Math.log(Math.max(runtimeMs, firstMs) / firstMs) / Math.log(ratio));
  const bucket = Math.min(bucketsMax - 1, exact);
  while (weights.length <= bucket) weights.push(0);
  weights[bucket] = (weights[bucket] ?? 0) + 1;
  histogram.total += 1;
  if (histogram.total <= weightMax) return;
  for (const [index, weight] of weights.entries()) weights[index] = weight / 2;
  histogram.total /= 2;
}

/** The runtime that a share of all stays within, in ms; null while nothing was measured. */
export function findQuantileMs(histogram: RuntimeHistogram, share: number): number | null {
  if (histogram.total === 0) return null;
  let left = histogram.total * share;
  for (const [bucket, weight] of histogram.weights.entries()) {
    left -= weight;
    if (left <= 1e-9) return firstMs * ratio ** bucket;
  }
  return firstMs * ratio ** (histogram.weights.length - 1);
}
