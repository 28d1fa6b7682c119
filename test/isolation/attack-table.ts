/** All attacks, and the table of docs/isolation.md that is made from them. */
import type { Attack } from './attack.ts';
import { everyLevel } from './attack.ts';
import { fileAttacks } from './attacks-files.ts';
import { gvisorAttacks } from './attacks-gvisor.ts';
import { kernelAttacks } from './attacks-kernel.ts';
import { limitAttacks } from './attacks-limits.ts';

export const attacks: readonly Attack[] = [
  ...fileAttacks,
  ...kernelAttacks,
  ...limitAttacks,
  ...gvisorAttacks,
];

/** The table as Markdown. */
export function renderAttackTable(): string {
  const head = `| a task that… | ${everyLevel.join(' | ')} | stopped as |`;
  const line = `| --- |${everyLevel.map(() => ' --- |').join('')} --- |`;
  const rows = attacks.map((attack) => {
    const marks = everyLevel.map((level) => (attack.levels.includes(level) ? 'yes' : 'no'));
    return `| ${attack.title} | ${marks.join(' | ')} | ${attack.stoppedAs} |`;
  });
  return [head, line, ...rows].join('\n');
}
