/** docs/cli.md, made from the tree of commands, so that the two cannot differ. */
import type { Command } from 'commander';
import { findStory } from './describe-command.ts';
import { listExitCodes } from './exit-codes.ts';
import { programName } from './terminal.ts';

/** The whole manual as Markdown. */
export function renderManual(program: Command): string {
  const sections = leavesOf(program, []).map(({ path, command }) => renderCommand(path, command));
  const exits = listExitCodes().map(
    ({ code, name, meaning }) => `| ${code} | ${name} | ${meaning} |`,
  );
  return `${[
    '# The command line',
    `Made from the commands themselves (\`${programName} help manual\` prints it); a test holds the two together.`,
    introduction,
    launcher,
    ...sections,
    '## Exit codes',
    ['| code | name | meaning |', '| --- | --- | --- |', ...exits].join('\n'),
    environment,
  ].join('\n\n')}\n`;
}

const introduction = `Data goes to standard output, everything else to standard error. Every command that shows something takes \`--json\` and
prints one JSON document then, uncut and without colours. Without it, tables are cut to the terminal, and never when piped.
Ids may be shortened as long as they are unique; \`@last\` is the newest task or group. A failed command says what happened, why,
and the fix, in three lines on standard error; with \`--json\` it is one problem object there instead, and standard output stays empty.`;

const launcher = `The launcher adds what needs no tree of commands:

| command | |
| --- | --- |
| \`${programName} python [--py3\\|--py3.MINOR] SCRIPT …\` | runs a script with the SDK, in Python 2.7, with --py3 in 3.11, or in another minor whose image was set up (--py3.13); it finds the mesh as the commands below do |
| \`${programName} coordinator …\`, \`${programName} agent …\` | a mesh over several machines; \`--help\` and [settings.md](settings.md) list their flags |
| \`${programName} setup\`, \`${programName} clean\` | make and remove what the rest needs |`;

const environment = `## Environment

| variable | meaning |
| --- | --- |
| \`PERIGEE_URL\`, \`PERIGEE_TOKEN\` | the mesh to talk to, and the token for it |
| \`PERIGEE_CONFIG\` | the config file that says both when the two are not set (default \`$XDG_CONFIG_HOME/perigee/config.json\`); mode 0600; \`up\` writes it |
| \`PERIGEE_HOME\` | where images and \`up\`'s data are (default \`/var/lib/perigee\` for root, else \`~/.local/share/perigee\`) |
| \`NO_COLOR\`, \`FORCE_COLOR\` | no colours; colours even when piped |
| \`PERIGEE_FORCE_TTY\` | a width: behave as on a terminal of so many columns |
| \`CI\` | never ask |`;

interface Leaf {
  path: readonly string[];
  command: Command;
}

/** Commands that do something themselves, in the order of the tree. */
function leavesOf(command: Command, path: readonly string[]): Leaf[] {
  return command.commands.flatMap((sub) => {
    const subPath = [...path, sub.name()];
    const isNounOnly = sub.commands.length > 0 && sub.registeredArguments.length === 0;
    const own = isNounOnly ? [] : [{ path: subPath, command: sub }];
    return [...own, ...leavesOf(sub, subPath)];
  });
}

function renderCommand(path: readonly string[], command: Command): string {
  const story = findStory(command);
  const words = command.registeredArguments.map((argument) => {
    const name = argument.variadic ? `${argument.name()}...` : argument.name();
    return argument.required ? ` <${name}>` : ` [${name}]`;
  });
  const options = command.options.map(
    (option) =>
      `| \`${option.flags.replaceAll('|', '\\|')}\` | ${[
        option.description,
        option.argChoices === undefined ? '' : `one of ${option.argChoices.join(', ')}`,
        option.defaultValue === undefined ? '' : `default ${String(option.defaultValue)}`,
      ]
        .filter((part) => part !== '')
        .join('; ')} |`,
  );
  const parts = [
    `## ${path.join(' ')}`,
    [story?.summary, story?.details].filter((part) => part !== undefined).join(' '),
    `\`\`\`\n${programName} ${path.join(' ')}${words.join('')}${options.length > 0 ? ' [options]' : ''}\n\`\`\``,
  ];
  const described = command.registeredArguments.filter((argument) => argument.description !== '');
  if (described.length > 0) {
    parts.push(
      described.map((argument) => `- \`${argument.name()}\`: ${argument.description}`).join('\n'),
    );
  }
  if (options.length > 0) parts.push(['| option | |', '| --- | --- |', ...options].join('\n'));
  if (story !== undefined && story.examples.length > 0) {
    const lines = story.examples.map((example) => `${programName} ${example}`);
    parts.push(`\`\`\`sh\n${lines.join('\n')}\n\`\`\``);
  }
  return parts.join('\n\n');
}
