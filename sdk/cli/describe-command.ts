/** How a command is declared: what commander does not keep, the manual needs. */
import { Command } from 'commander';
import { programName } from './terminal.ts';

/** What help and docs/cli.md say of a command besides its options. */
export interface CommandStory {
  summary: string;
  /** Without the program's name. */
  examples: readonly string[];
  /** Sentences below the summary; none by default. */
  details?: string;
}

const stories = new WeakMap<Command, CommandStory>();

/** A command with its story, examples first in its help. */
export function describeCommand(name: string, story: CommandStory): Command {
  const command = new Command(name).summary(story.summary).helpOption('-h, --help', 'Show help.');
  command.description(
    story.details === undefined ? story.summary : `${story.summary}\n\n${story.details}`,
  );
  if (story.examples.length > 0) {
    const lines = story.examples.map((example) => `  ${programName} ${example}`);
    command.addHelpText('before', `Examples:\n${lines.join('\n')}\n`);
  }
  stories.set(command, story);
  return command;
}

/** The story of a command made by `describeCommand`. */
export function findStory(command: Command): CommandStory | undefined {
  return stories.get(command);
}

/** Adds `--json`. */
export function withJson(command: Command): Command {
  return command.option('--json', 'Print one JSON document, whole and uncut.');
}
