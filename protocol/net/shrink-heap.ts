/**
 * Gives back to the machine what a burst of work left in the heap. V8 keeps the room that its young
 * space once grew to, and the pages of what it freed: after a map of 20,000 tasks an agent held 35 MB
 * and a coordinator 70 MB more than it needed, for as long as nothing happened. Not done while there
 * is work: the pause is some 60 to 100 ms, and the room would be taken again at once.
 */
import { getHeapStatistics } from 'node:v8';
import { collectForLastResort } from './collect-buffers.ts';

/** Room taken since the last time that is worth the pause. */
const growthBytesMin = 16 * 1024 * 1024;
/** A heap in use beyond this would stand still for too long: somebody may call at that moment. */
const usedBytesMax = 256 * 1024 * 1024;

/** A function to call once nothing has happened for some seconds; true when it did something. */
export function createHeapShrinker(
  heap: { measure(): { total_heap_size: number; used_heap_size: number }; collect(): void } = {
    measure: getHeapStatistics,
    collect: collectForLastResort,
  },
): () => boolean {
  let keptBytes = 0;
  return () => {
    const before = heap.measure();
    if (before.used_heap_size > usedBytesMax) return false;
    if (before.total_heap_size < keptBytes + growthBytesMin) return false;
    heap.collect();
    keptBytes = heap.measure().total_heap_size;
    return true;
  };
}
