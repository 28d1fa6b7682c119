/** Ends a worker's processes, all of them, by what its level offers. */
import type { ChildProcess } from 'node:child_process';
import type { LaunchPlan } from './launch.ts';
import { killTree, killUser, listChildren, signal } from './process-tree.ts';
import type { Timers } from './timers.ts';
import type { WorkerDeps } from './worker-deps.ts';

/** A launcher that is still setting up is given this long to say what to kill. */
const setUpMsMax = 500;

export class WorkerKiller {
  readonly #child: ChildProcess;
  readonly #plan: LaunchPlan;
  readonly #deps: WorkerDeps;
  readonly #timers: Timers;
  /** First process inside the sandbox, in the agent's own numbering, once known. */
  insidePid: number | null = null;

  constructor(child: ChildProcess, plan: LaunchPlan, deps: WorkerDeps, timers: Timers) {
    this.#child = child;
    this.#plan = plan;
    this.#deps = deps;
    this.#timers = timers;
  }

  kill(): void {
    const { pid, exitCode, signalCode } = this.#child;
    // After its exit the number may be another's.
    if (pid === undefined || exitCode !== null || signalCode !== null) return;
    if (this.#plan.killTarget === 'first') this.#killNamespace(pid);
    else this.#killPlain(pid);
  }

  /** After the main process's end: without a namespace it may have left others behind. */
  async sweep(): Promise<void> {
    const { cgroup, identity } = this.#deps;
    const how = this.#plan.setup.sweep;
    if (this.#plan.killTarget === 'first') return;
    cgroup?.kill();
    if (identity !== null && how === 'uid') await killUser(identity);
  }

  /** The namespace's first process takes all others with it; the launcher outside then ends by itself. */
  #killNamespace(pid: number): void {
    const inside = this.insidePid ?? (this.#plan.hasInfo ? undefined : listChildren(pid)[0]);
    if (inside !== undefined) {
      signal(inside, 'SIGKILL');
      return;
    }
    // The launcher's death takes the rest along, only not as quickly.
    this.#timers.later(setUpMsMax, () => {
      signal(this.insidePid ?? pid, 'SIGKILL');
      this.#deps.cgroup?.kill();
    });
  }

  #killPlain(pid: number): void {
    const { cgroup, identity } = this.#deps;
    if (cgroup !== null) cgroup.kill();
    else if (identity !== null && this.#plan.setup.sweep === 'uid') void killUser(identity);
    else killTree(pid);
    signal(pid, 'SIGKILL');
  }
}
