/** Wakes those who follow a task's log: at new output, and when the task is done. */
import type { TaskRef } from '../../protocol/wire/ids.ts';
import { taskKey } from '../../protocol/wire/ids.ts';
import type { Driver } from '../driver-port.ts';
import type { SignalFlag } from './signal-flag.ts';
import { createSignalFlag } from './signal-flag.ts';

/** A follower's hold on a task. */
export interface WatchedTask {
  wake: SignalFlag;
  /** The newest attempt that has put out anything since the watch began; 0 for none. */
  newestAttempt(): number;
  end(): void;
}

/** All followed tasks of a gateway. */
export interface TaskWatch {
  watch(task: TaskRef): WatchedTask;
  /** Stops listening to the driver. */
  close(): void;
}

interface Follower {
  wake: SignalFlag;
  newestAttempt: number;
}

/** Listens to the driver from now on. */
export function createTaskWatch(driver: Pick<Driver, 'onLogs' | 'onOutcomes'>): TaskWatch {
  const followers = new Map<number, Set<Follower>>();
  const stopLogs = driver.onLogs((chunks) => {
    if (followers.size === 0) return;
    for (const chunk of chunks) {
      for (const follower of followers.get(taskKey(chunk)) ?? []) {
        follower.newestAttempt = Math.max(follower.newestAttempt, chunk.attempt);
        follower.wake.set();
      }
    }
  });
  const stopOutcomes = driver.onOutcomes((outcomes) => {
    if (followers.size === 0) return;
    for (const outcome of outcomes) {
      for (const follower of followers.get(taskKey(outcome)) ?? []) follower.wake.set();
    }
  });
  return {
    watch(task) {
      const key = taskKey(task);
      const follower: Follower = { wake: createSignalFlag(), newestAttempt: 0 };
      const others = followers.get(key) ?? new Set<Follower>();
      followers.set(key, others.add(follower));
      return {
        wake: follower.wake,
        newestAttempt: () => follower.newestAttempt,
        end() {
          others.delete(follower);
          if (others.size === 0 && followers.get(key) === others) followers.delete(key);
        },
      };
    },
    close() {
      stopLogs();
      stopOutcomes();
    },
  };
}
