/** docs/settings.md, made from the tables of settings of both processes. */
import { environmentName, settingsTable } from '../../coordinator/settings.ts';
import { agentSettingsTable } from '../../node-agent/settings.ts';

/** One setting as the document tells it. */
interface Line {
  key: string;
  flag: string | null;
  variable: string | null;
  unit: string;
  /** Empty: none, the description says what happens then. */
  byDefault: string;
  doc: string;
}

/** The whole document. */
export function renderSettingsDocument(): string {
  return `${[
    '# Settings',
    `Made from \`coordinator/settings.ts\` and \`node-agent/settings.ts\` by \`scripts/docs/main.ts\`; a test holds it to them.
A flag wins over the environment, the environment over the default. Times are in milliseconds and sizes in bytes unless
the unit says otherwise. \`scripts/perigee up\` hands its environment to the coordinator, and that to its local nodes.`,
    '## Of the coordinator',
    renderLines(listCoordinatorSettings()),
    '## Of the agent',
    renderLines(listAgentSettings()),
  ].join('\n\n')}\n`;
}

function listCoordinatorSettings(): Line[] {
  return Object.entries(settingsTable).map(([key, setting]) => ({
    key,
    flag: setting.flag,
    variable: environmentName(key),
    unit: setting.unit,
    byDefault: setting.type === 'list' ? '' : String(setting.default),
    doc: setting.doc,
  }));
}

function listAgentSettings(): Line[] {
  return Object.entries(agentSettingsTable).map(([key, setting]) => ({
    key,
    flag: setting.flag === null ? null : `--${setting.flag}`,
    variable: 'env' in setting ? setting.env : null,
    unit: 'unit' in setting ? setting.unit : '',
    byDefault: describeDefault(setting),
    doc: 'words' in setting ? `${setting.doc} One of ${setting.words.join(', ')}.` : setting.doc,
  }));
}

function describeDefault(setting: (typeof agentSettingsTable)[keyof typeof agentSettingsTable]) {
  if (setting.type === 'switch') return 'false';
  return 'default' in setting && setting.default !== null ? String(setting.default) : '';
}

function renderLines(lines: readonly Line[]): string {
  const rows = lines.map(({ key, flag, variable, unit, byDefault, doc }) =>
    [code(key), code(flag), code(variable), unit, code(byDefault), doc.replaceAll('|', '\\|')].join(
      ' | ',
    ),
  );
  return [
    '| setting | flag | variable | unit | default | |',
    '| --- | --- | --- | --- | --- | --- |',
    ...rows.map((row) => `| ${row} |`),
  ].join('\n');
}

function code(text: string | null): string {
  return text === null || text === '' ? '' : `\`${text}\``;
}
