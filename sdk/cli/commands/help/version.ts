import type { Command } from 'commander';
import { protocolVersion } from '../../../../protocol/wire/messages.ts';
import { version } from '../../../ts/version.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';

/** `version`: of this checkout; needs no mesh. */
export function versionCommand(context: CommandContext): Command {
  const command = describeCommand('version', {
    summary: 'Show the version of Perigee, of its protocols, and of Node.',
    examples: ['version'],
  });
  return withJson(command).action((options: ShowOptions) => {
    const node = process.version;
    show(context, options, {
      value: { version, protocol: protocolVersion, node },
      text: `perigee ${version} (protocol ${protocolVersion}, Node ${node})\n`,
      next: 'status',
    });
  });
}
