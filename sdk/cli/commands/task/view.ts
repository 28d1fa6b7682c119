import type {
  AttemptView,
  ExplainView,
  OutputView,
  TaskView,
} from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { resolveTaskId, shortNodeId } from '../../ids.ts';
import { type Column, renderFields, renderTable } from '../../output/table.ts';
import { oneLine, paint, plainLines } from '../../output/text.ts';
import { formatBytes, formatSeconds, formatTime } from '../../output/units.ts';
import { listTaskOutputs, outputColumns } from '../../outputs/list-outputs.ts';
import { taskWord } from './ls.ts';

/** `task ID`: why it waits or how it ended, its ledger of attempts, its traceback. */
export async function viewTask(
  context: CommandContext,
  text: string,
  options: ShowOptions,
): Promise<void> {
  const id = await resolveTaskId(context, text);
  const client = await context.client();
  const [task, explanation] = await Promise.all([
    client.json<TaskView>('GET', `/v1/tasks/${id}`, { signal: context.signal }),
    client.json<ExplainView>('GET', `/v1/tasks/${id}/explain`, { signal: context.signal }),
  ]);
  const outputs = task.status === 'SUCCESS' ? await listTaskOutputs(context, id) : [];
  show(context, options, {
    value: { ...task, explanation, outputs },
    text: renderTask(context, { task, explanation, outputs }),
    next: nextAfter(task, outputs),
  });
}

function nextAfter(task: TaskView, outputs: readonly OutputView[]): string {
  if (outputs.length > 0) return `task output ${task.id}`;
  return task.state === 'running' ? `logs -f ${task.id}` : `logs ${task.id}`;
}

function renderTask(
  context: CommandContext,
  shown: { task: TaskView; explanation: ExplainView; outputs: readonly OutputView[] },
): string {
  const { task, explanation, outputs } = shown;
  const { columns, outColors } = context.terminal;
  const layout = { columns, colors: outColors };
  const times = { isRelative: columns !== null, nowMs: context.nowMs() };
  const bytes = (value: number | null): string | null =>
    value === null || value === 0 ? null : formatBytes(value);
  const parts = [
    `${paint(oneLine(explanation.sentence), 'bold', outColors)}\n`,
    ...explanation.reasons.map((reason) => `  ${oneLine(reason)}\n`),
    renderFields(
      [
        ['task', task.id],
        ['group', `${task.group}  ${task.groupName}`],
        ['state', taskWord(task)],
        ['node', task.node === null ? null : shortNodeId(task.node)],
        ['submitted', formatTime(task.submittedAt, times)],
        ['started', task.startedAt === null ? null : formatTime(task.startedAt, times)],
        ['finished', task.finishedAt === null ? null : formatTime(task.finishedAt, times)],
        ['runtime', task.runtimeSeconds === null ? null : formatSeconds(task.runtimeSeconds)],
        ['peak memory', bytes(task.peakMemoryBytes)],
        ['result', bytes(task.resultBytes)],
        ['log', bytes(task.logBytes)],
        [
          'error',
          task.exception === null && task.message === null
            ? null
            : [task.exception, task.message].filter(Boolean).join(': '),
        ],
      ],
      layout,
    ),
  ];
  if (task.attempts.length > 0) {
    parts.push('\n', renderTable(task.attempts, attemptColumns(times), layout));
  }
  if (outputs.length > 0) parts.push('\n', renderTable(outputs, outputColumns, layout));
  if (task.traceback !== null && task.traceback !== '') {
    parts.push('\n', plainLines(task.traceback).replace(/\n*$/, '\n'));
  }
  return parts.join('');
}

function attemptColumns(times: { isRelative: boolean; nowMs: number }): Column<AttemptView>[] {
  return [
    { title: 'attempt', text: (attempt) => String(attempt.attempt), align: 'right' },
    { title: 'node', text: (attempt) => shortNodeId(attempt.node) },
    { title: 'granted', text: (attempt) => formatTime(attempt.grantedAt, times) },
    { title: 'ended', text: (attempt) => formatTime(attempt.endedAt, times) },
    { title: 'end', text: (attempt) => attempt.end ?? 'stands' },
    { title: 'charged', text: (attempt) => (attempt.charged ? 'yes' : 'no') },
    { title: 'message', text: (attempt) => attempt.message },
  ];
}
