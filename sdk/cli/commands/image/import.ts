import { once } from 'node:events';
import type { Command } from 'commander';
import { PerigeeError } from '../../../../protocol/base/errors.ts';
import type { ImageDetailView } from '../../../../protocol/wire/api.ts';
import { type CommandContext, type ShowOptions, show } from '../../context.ts';
import { describeCommand, withJson } from '../../describe-command.ts';
import { formatBytes } from '../../output/units.ts';

interface ImportOptions extends ShowOptions {
  wait: boolean;
}

interface Imported {
  digest: string;
  name: string;
  state: 'building' | 'ready';
}

/** `image import REF`. */
export function imageImport(context: CommandContext): Command {
  const command = describeCommand('import', {
    summary: 'Pull an image from a registry, so that functions may run in it.',
    details:
      'The coordinator pulls, with the credentials of its own user (`skopeo login`, `docker login`). ' +
      'What it prints goes to standard error as it comes.',
    examples: [
      'image import docker.io/library/python:3.11-slim',
      'image import registry.example/team/image@sha256:…',
    ],
  })
    .argument('<reference>', 'with its registry; a tag means what it means now')
    .option('--no-wait', 'return at once; `images` shows when it is ready');
  return withJson(command).action(async (reference: string, options: ImportOptions) => {
    const client = await context.client();
    const { signal } = context;
    const begun = await client.json<Imported>('POST', '/v1/images/import', {
      body: { reference },
      signal,
    });
    if (options.wait) await followLog(context, begun.digest);
    const path = `/v1/images/${encodeURIComponent(begun.digest)}`;
    const image = await client.json<ImageDetailView>('GET', path, { signal });
    if (image.failure !== null) {
      throw new PerigeeError('build_failed', image.failure.message, { fix: image.failure.fix });
    }
    const { python, state, name, sizeBytes } = image;
    const ready = `${name}: ${python.implementation} ${python.version}, ${formatBytes(sizeBytes)}\n`;
    show(context, options, {
      value: image,
      text: state === 'ready' ? ready : `${name} is being pulled.\n`,
      next: 'images',
    });
  });
}

async function followLog(context: CommandContext, digest: string): Promise<void> {
  const client = await context.client();
  const { stderr } = context.terminal;
  const path = `/v1/images/${encodeURIComponent(digest)}/log?follow=true`;
  const answer = await client.stream('GET', path, { signal: context.signal });
  for await (const bytes of answer.chunks) {
    if (!stderr.write(bytes)) await once(stderr, 'drain', { signal: context.signal });
  }
}
