/** Writes the documents that are made from the code; a test holds those in docs/ to the same text. */
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { generatedDocuments } from './generated-documents.ts';

const root = resolve(import.meta.dirname, '../..');

for (const { path, text } of generatedDocuments()) {
  writeFileSync(join(root, path), text);
  process.stdout.write(`${path}\n`);
}
