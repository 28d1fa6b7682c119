import type { Command } from 'commander';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { imageUrl } from './build.ts';

/** `image rm NAME`: takes a built image away. */
export function imageRemove(context: CommandContext): Command {
  const command = describeCommand('rm', {
    summary: 'Remove an image that was built or brought in.',
    details: 'Refused while groups that are not terminated use it.',
    examples: ['image rm zonal'],
  }).argument('<id>', 'name, digest, or its beginning');
  return withJson(command).action(async (id: string, options: ShowOptions) => {
    const client = await context.client();
    const removed = await client.json<{ digest: string }>('DELETE', imageUrl(id), {
      signal: context.signal,
    });
    show(context, options, { value: removed, text: `${id} is removed.\n`, next: 'images' });
  });
}
