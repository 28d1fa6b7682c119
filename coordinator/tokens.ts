/**
 * What tokens look like. `pgt_` (access) or `pgj_` (join), a short public id, and a secret of 190
 * bits, so that a hash without salt keeps it safe at rest and a look-up by hash leaks nothing by time.
 */
import { createHash, randomInt } from 'node:crypto';

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const idChars = 10;
const secretChars = 32;
const pattern = /^pg([tj])_([0-9A-Za-z]{10})_[0-9A-Za-z]{32}$/;

export type TokenPurpose = 'access' | 'join';

/** A token at the moment of its making: the only time that its text is known here. */
export interface NewToken {
  id: string;
  /** What the holder presents. */
  text: string;
  /** What the store keeps (`StoredToken.secretHash`). */
  secretHash: string;
}

/** Makes a token of fresh randomness. */
export function makeToken(purpose: TokenPurpose): NewToken {
  const id = randomText(idChars);
  const text = `pg${purpose === 'access' ? 't' : 'j'}_${id}_${randomText(secretChars)}`;
  return { id, text, secretHash: hashToken(text) };
}

/** SHA-256, hexadecimal, of a token's whole text: what `Store.findTokenByHash` looks up. */
export function hashToken(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** The purpose of a token by its form; undefined for what is not a token at all. */
export function findTokenPurpose(text: string): TokenPurpose | undefined {
  const letter = pattern.exec(text)?.[1];
  if (letter === undefined) return undefined;
  return letter === 't' ? 'access' : 'join';
}

function randomText(chars: number): string {
  let text = '';
  for (let index = 0; index < chars; index += 1) text += alphabet[randomInt(alphabet.length)];
  return text;
}
