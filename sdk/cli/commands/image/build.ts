import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { PerigeeError, toError } from '../../../../protocol/base/errors.ts';
import type { ImageDetailView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { formatBytes } from '../../output/units.ts';

interface BuildOptions extends ShowOptions {
  python?: string;
  requirements: string;
  base?: string;
}

const lookMs = 300;

/** `image build NAME`: an image with a user's requirements. */
export function imageBuild(context: CommandContext): Command {
  const command = describeCommand('build', {
    summary: 'Build an image with packages of the package index.',
    details:
      'The coordinator builds it once, with its own pip settings; the log goes to standard error. ' +
      'The same requirements on the same base are there at once.',
    examples: ['image build zonal --python 2.7 --requirements requirements.txt'],
  })
    .argument('<name>', 'what to call it')
    .requiredOption('--requirements <file>', 'one requirement a line')
    .option('--python <version>', 'the interpreter of the image, for example 2.7')
    .option('--base <image>', 'the image to build on; by default the one with that interpreter');
  return withJson(command).action(async (name: string, options: BuildOptions) => {
    const client = await context.client();
    const requirements = (await readLines(options.requirements)).split(/\r?\n/);
    let image = await client.json<ImageDetailView>('POST', '/v1/images', {
      body: { name, requirements, python: options.python ?? null, base: options.base ?? null },
      signal: context.signal,
    });
    if (image.state === 'building') await printLog(context, image.digest);
    // The log ends a moment before the state is known, or when the coordinator went away.
    while (image.state === 'building') {
      await delay(lookMs, undefined, { signal: context.signal });
      image = await client.json<ImageDetailView>('GET', imageUrl(image.digest), {
        signal: context.signal,
      });
    }
    if (image.state === 'build_failed') {
      throw new PerigeeError('build_failed', image.failure?.message, {
        ...(image.failure === null ? {} : { fix: image.failure.fix }),
      });
    }
    show(context, options, {
      value: image,
      text: `${name} is ready: ${image.digest.slice(0, 19)}, ${formatBytes(image.sizeBytes)} on ${image.baseName ?? image.base}.\n`,
      next: `image show ${name}`,
    });
  });
}

/** The path of an image; slashes of names are escaped. */
export function imageUrl(id: string): string {
  return `/v1/images/${encodeURIComponent(id)}`;
}

/** Prints the log of a build on standard error until the build is over. */
export async function printLog(context: CommandContext, id: string): Promise<void> {
  const client = await context.client();
  const answer = await client.stream('GET', `${imageUrl(id)}/log`, {
    query: { follow: true },
    signal: context.signal,
  });
  const decoder = new TextDecoder();
  for await (const bytes of answer.chunks) {
    context.terminal.stderr.write(decoder.decode(bytes, { stream: true }));
  }
}

async function readLines(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (caught) {
    const error = toError(caught);
    throw new PerigeeError('invalid_request', `${file} cannot be read: ${error.message}`, {
      cause: error,
      fix: 'Give the path of a requirements file with --requirements.',
    });
  }
}
