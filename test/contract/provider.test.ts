import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  findProcessesByArgument,
  isAlive,
  readArgument,
  signalProcess,
} from '../../coordinator/autoscaler/process-table.ts';
import type { Provider } from '../../coordinator/autoscaler/provider-port.ts';
import { createProcessProvider } from '../../coordinator/autoscaler/providers/process.ts';
import { testProvider } from './provider-suite.ts';

testProvider({
  name: 'process',
  troubles: [],
  hasInterruption: false,
  async open() {
    const root = mkdtempSync(join(tmpdir(), 'perigee-providers-'));
    const opened: Provider[] = [];
    const create = (folder: string): Provider => {
      const provider = createProcessProvider(
        {
          makeJoinToken: async (instance) => `token of ${instance}`,
          joinAddress: () => '/ip4/127.0.0.1/tcp/1/p2p/X',
          log: { warn: () => undefined },
        },
        {
          agentMain: join(import.meta.dirname, '../unit/coordinator/autoscaler/stand-in-agent.ts'),
          folder,
          shape: { slots: 1, cpus: 1, memoryBytes: 2 ** 31, network: false },
          mounts: [],
          imageryAllow: [],
          orphanMs: 60_000,
          watchMs: 10,
          env: process.env,
        },
      );
      opened.push(provider);
      return provider;
    };
    const machines = () =>
      findProcessesByArgument('--instance')
        .filter(({ process }) => readArgument(process.pid, '--data')?.startsWith(root))
        .map(({ process }) => process);
    return {
      provider: create(join(root, 'mine')),
      userData: '',
      reopen: async () => create(join(root, 'mine')),
      openStranger: async () => create(join(root, 'other')),
      troubles: {},
      heal: async () => undefined,
      interrupt: null,
      countMachines: async () => machines().length,
      async close() {
        for (const provider of opened) await provider.close();
        for (const machine of machines()) {
          signalProcess(machine, 'SIGKILL');
          while (isAlive(machine)) await new Promise((resolve) => setTimeout(resolve, 5));
        }
        rmSync(root, { recursive: true, force: true });
      },
    };
  },
});
