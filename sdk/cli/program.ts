/** The tree of commands. */
import type { Command } from 'commander';
import { fleetExplain } from './commands/fleet/explain.ts';
import { fleetView } from './commands/fleet/view.ts';
import { groupExport } from './commands/group/export.ts';
import { groupList } from './commands/group/ls.ts';

import { groupOutputs } from './commands/group/outputs.ts';

import { groupRemove } from './commands/group/rm.ts';

import { groupTerminate } from './commands/group/terminate.ts';
import { viewGroup } from './commands/group/view.ts';
import { helpTopic } from './commands/help/help.ts';
import { versionCommand } from './commands/help/version.ts';
import { imageBuild } from './commands/image/build.ts';
import { imageImport } from './commands/image/import.ts';
import { imageList } from './commands/image/ls.ts';
import { imageRemove } from './commands/image/rm.ts';
import { imageShow } from './commands/image/show.ts';
import { imageryAdd } from './commands/imagery/add.ts';
import { imageryList } from './commands/imagery/ls.ts';
import { imageryRemove } from './commands/imagery/rm.ts';
import { imagerySearch } from './commands/imagery/search.ts';
import { joinTokenCreate } from './commands/join-token/create.ts';
import { joinTokenList } from './commands/join-token/ls.ts';
import { joinTokenRevoke } from './commands/join-token/revoke.ts';
import { meshStatus } from './commands/mesh/status.ts';
import { meshUp } from './commands/mesh/up.ts';
import { namespaceCreate } from './commands/namespace/create.ts';
import { namespaceList } from './commands/namespace/ls.ts';
import { namespaceRemove } from './commands/namespace/rm.ts';
import { nodeDrain } from './commands/node/drain.ts';
import { nodeList } from './commands/node/ls.ts';
import { nodeUndrain } from './commands/node/undrain.ts';
import { taskCancel } from './commands/task/cancel.ts';
import { taskLogs } from './commands/task/logs.ts';
import { taskList } from './commands/task/ls.ts';
import { taskOutput } from './commands/task/output.ts';
import { viewTask } from './commands/task/view.ts';
import { tokenCreate } from './commands/token/create.ts';
import { tokenList } from './commands/token/ls.ts';
import { tokenRevoke } from './commands/token/revoke.ts';
import type { CommandContext, ShowOptions } from './context.ts';
import { describeCommand, withJson } from './describe-command.ts';
import { programName } from './terminal.ts';

/** Every command, ready to parse; help goes to the context's terminal. */
export function createProgram(context: CommandContext): Command {
  const program: Command = describeCommand(programName, {
    summary: 'Runs your Python where the pixels are.',
    examples: ['up', 'python mine.py', 'tasks', 'logs -f @last'],
    details:
      'The launcher adds: python [--py3|--py3.MINOR] SCRIPT (run a script with the SDK), coordinator and ' +
      'agent (the mesh over several machines), clean (remove what set-up made).',
  });
  const add = (heading: string, ...commands: readonly Command[]): void => {
    for (const command of commands) program.addCommand(command.helpGroup(heading));
  };
  add('Mesh:', meshUp(context), meshStatus(context), imageList(context, 'images'));
  add('Mesh:', imageNoun(context));
  add('Nodes:', nodeList(context, 'nodes'), nodeNoun(context));
  add('Nodes:', fleetView(context), explainNoun(context));
  add('Work:', groupList(context, 'groups'), groupNoun(context));
  add('Work:', taskList(context, 'tasks'), taskNoun(context));
  add('Work:', taskLogs(context), taskCancel(context), imageryNoun(context));
  add('Access:', tokenNoun(context), joinTokenNoun(context), namespaceNoun(context));
  add(
    'Help:',
    helpTopic(context, () => program),
    versionCommand(context),
  );
  program.helpCommand(false);
  configureTree(program, context);
  return program;
}

function nodeNoun(context: CommandContext): Command {
  return describeCommand('node', {
    summary: 'List, drain and undrain nodes.',
    examples: [],
  })
    .addCommand(nodeList(context, 'ls'))
    .addCommand(nodeDrain(context))
    .addCommand(nodeUndrain(context));
}

function imageNoun(context: CommandContext): Command {
  return describeCommand('image', {
    summary: 'Build, bring in, show, list and remove images.',
    examples: [],
  })
    .addCommand(imageBuild(context))
    .addCommand(imageImport(context))
    .addCommand(imageList(context, 'ls'))
    .addCommand(imageShow(context))
    .addCommand(imageRemove(context));
}

function imageryNoun(context: CommandContext): Command {
  return describeCommand('imagery', {
    summary: 'Put scenes into the catalogue, list, find and remove them.',
    examples: [],
  })
    .addCommand(imageryAdd(context))
    .addCommand(imageryList(context))
    .addCommand(imagerySearch(context))
    .addCommand(imageryRemove(context));
}

function explainNoun(context: CommandContext): Command {
  return describeCommand('explain', {
    summary: 'Say why things are as they are.',
    examples: [],
  }).addCommand(fleetExplain(context));
}

function groupNoun(context: CommandContext): Command {
  const command = describeCommand('group', {
    summary: 'Show one group, end or remove it, or fetch what its tasks gave out.',
    examples: ['group @last', 'group 3f2a --json'],
  })
    .argument('<id>', 'id, its beginning, or @last')
    .addCommand(groupList(context, 'ls'))
    .addCommand(groupTerminate(context))
    .addCommand(groupRemove(context))
    .addCommand(groupOutputs(context))
    .addCommand(groupExport(context));
  return withJson(command).action((id: string, options: ShowOptions) =>
    viewGroup(context, id, options),
  );
}

function taskNoun(context: CommandContext): Command {
  const command = describeCommand('task', {
    summary:
      'Show one task: why it waits or how it ended, its attempts, its outputs, its traceback.',
    examples: ['task @last', 'task 17-3 --json'],
  })
    .argument('<id>', 'the task, or @last')
    .addCommand(taskList(context, 'ls'))
    .addCommand(taskOutput(context));
  return withJson(command).action((id: string, options: ShowOptions) =>
    viewTask(context, id, options),
  );
}

function tokenNoun(context: CommandContext): Command {
  return describeCommand('token', { summary: 'Make, list and revoke access tokens.', examples: [] })
    .addCommand(tokenCreate(context))
    .addCommand(tokenList(context))
    .addCommand(tokenRevoke(context));
}

function joinTokenNoun(context: CommandContext): Command {
  return describeCommand('join-token', {
    summary: 'Make, list and revoke the tokens with which nodes join.',
    examples: [],
  })
    .addCommand(joinTokenCreate(context))
    .addCommand(joinTokenList(context))
    .addCommand(joinTokenRevoke(context));
}

function namespaceNoun(context: CommandContext): Command {
  return describeCommand('namespace', {
    summary: 'Make, list and remove namespaces.',
    examples: [],
  })
    .addCommand(namespaceCreate(context))
    .addCommand(namespaceList(context))
    .addCommand(namespaceRemove(context));
}

function configureTree(command: Command, context: CommandContext): void {
  const { stdout, stderr, columns, outColors } = context.terminal;
  command
    .exitOverride()
    .helpCommand(false)
    // Otherwise a noun that is a command itself takes its verbs' options.
    .enablePositionalOptions()
    .configureHelp({ subcommandTerm: (sub) => sub.name() })
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      // The three-line complaint replaces commander's own words.
      outputError: () => undefined,
      getOutHelpWidth: () => columns ?? 100,
      getErrHelpWidth: () => columns ?? 100,
      getOutHasColors: () => outColors,
      getErrHasColors: () => false,
    });
  for (const sub of command.commands) configureTree(sub, context);
}
