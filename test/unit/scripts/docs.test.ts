import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { generatedDocuments } from '../../../scripts/docs/generated-documents.ts';

const root = resolve(import.meta.dirname, '../../..');

describe('documents made from the code', () => {
  it.each(generatedDocuments())(
    '$path is up to date (else: node scripts/docs/main.ts)',
    (document) => {
      expect(readFileSync(join(root, document.path), 'utf8')).toBe(document.text);
    },
  );

  it('name every command once', () => {
    const [manual] = generatedDocuments();
    const headings = [...(manual?.text ?? '').matchAll(/^## (.*)$/gm)].map((match) => match[1]);
    expect(new Set(headings).size).toBe(headings.length);
    for (const command of [
      'up',
      'status',
      'nodes',
      'tasks',
      'logs',
      'cancel',
      'join-token create',
    ]) {
      expect(headings).toContain(command);
    }
  });
});
