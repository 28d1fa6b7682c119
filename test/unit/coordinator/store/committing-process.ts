/** A process that commits one outcome after another and says on stdout what is acknowledged. */

import type { SaveEffect } from '../../../../coordinator/core/effects.ts';
import { openDataDirectory } from '../../../../coordinator/store/data-directory.ts';
import { openSqliteStore } from '../../../../coordinator/store/open-sqlite.ts';
import { encodeBlock } from '../../../../protocol/wire/block.ts';
import type { BatchNumber, GroupId, NamespaceName, NodeId } from '../../../../protocol/wire/ids.ts';
import { sourceGroup } from '../../../specs/group-spec.ts';

const [path = ''] = process.argv.slice(2);
const tasks = 50;
const namespace = 'alice' as NamespaceName;
const group = '0123456789ab' as GroupId;
const node = '12D3KooWnode' as NodeId;
const directory = openDataDirectory(path);
const store = openSqliteStore(directory.databaseFile);
const restored = await store.restore();
if (restored.groups.length === 0) {
  await store.commit({
    saves: [
      {
        kind: 'saveGroup',
        atMs: 1,
        spec: sourceGroup({ group, namespace }),
      },
    ],
    logs: [],
  });
}
let outcomeNumber = restored.outcomeNumbers[0]?.[1] ?? 0;
for (let number = restored.nextBatch; ; number += 1) {
  const batch = number as BatchNumber;
  const payloads = Array.from({ length: tasks }, () => Buffer.from('J[[],{}]'));
  const saves: SaveEffect[] = [
    {
      kind: 'saveBatch',
      batch,
      namespace,
      group,
      clientBatch: `batch-${number}`,
      blockHash: '0'.repeat(64),
      count: tasks,
      block: encodeBlock(payloads),
      assets: null,
      atMs: 1,
      submittedAfter: outcomeNumber,
    },
    { kind: 'saveGrant', batch, lo: 0, count: tasks, attempt: 1, node, atMs: 2 },
  ];
  for (let index = 0; index < tasks / 2; index += 1) {
    outcomeNumber += 1;
    saves.push({
      kind: 'saveOutcome',
      batch,
      index,
      namespace,
      outcomeNumber,
      group,
      attempt: 1,
      node,
      outcome: {
        status: 'success',
        result: Buffer.from(`J${number * 1_000 + index}`),
        failure: null,
        runtimeMs: 1,
        peakMemoryBytes: 0,
        logBytes: 0,
      },
      submittedAtMs: 1,
      startedAtMs: 2,
      atMs: 3,
    });
  }
  const logs = [{ batch, index: 0, attempt: 1, offset: 0, bytes: Buffer.from(`log ${number}`) }];
  await store.commit({ saves, logs });
  process.stdout.write(`${number}\n`);
}
