/** What `perigee agent --help` prints. */
import type { Entry } from './setting-entry.ts';
import { agentSettingsTable } from './settings.ts';

/** One line for each flag and variable. */
export function agentHelp(): string {
  const lines = Object.values(agentSettingsTable as Record<string, Entry>).map((entry) => {
    const value =
      entry.type === 'switch' ? '' : entry.type === 'number' ? ` ${entry.unit}` : ' TEXT';
    const env = 'env' in entry && entry.env !== null ? entry.env : '';
    const flag = entry.flag === null ? '' : `--${entry.flag}${value}`;
    const byDefault =
      'default' in entry && entry.default !== null ? ` Default: ${entry.default}.` : '';
    return `  ${[flag, env].filter((part) => part !== '').join(', ')}\n      ${entry.doc}${byDefault}`;
  });
  return `Usage: perigee agent --join ADDRESS [options]\n\n${lines.join('\n')}\n`;
}
